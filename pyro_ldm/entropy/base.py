r"""What every entropy estimator is: an estimate of :math:`\log R(z_i)` for each row; its negative mean is the entropy.

.. math:: \hat H[z] = -\tfrac{1}{N} \sum_i \log \hat R(z_i)
"""

from abc import ABC, abstractmethod

import torch
from torch import Tensor, nn

from pyro_ldm.entropy.gather import gather_rows


class Entropy(nn.Module, ABC):
    r"""Estimate of :math:`\log R(z_i)`, the log-density of the pushforward at each output of the encoder.

    An estimator is called as ``entropy(z, conditional, mask)``. Most read only the rows ``z``: they subclass
    :class:`SampleEntropy`. A few read the encoder's own conditional q(z | x): they subclass this class.

    Attributes:
        event_dim: Trailing dims of one row: 1 for estimators of vectors, 2 for arrangements of views or steps,
            ``None`` where any will do.
        divergence: What minus (alignment + uniformity) is under this estimator: ``"KL"``, ``"KL - I"`` (marginals in
            place of the joint), ``"KL + I"`` (conditionals in place of the marginal), ``"cross-entropy"`` (known up to
            the entropy of the data) or ``"score"`` (no entropy).
        reads_conditional: Whether it needs the encoder's conditional q(z | x) beside the rows.
        on_sphere: Whether densities are with respect to the sphere's surface, or for several views to the product of
            their surfaces. Where the prior's are and the estimate's are not, or the other way round, the objective is a
            ``"score"``.
        gaussian: Whether the estimate is the entropy of a fitted Gaussian, an upper bound that a non-Gaussian prior
            lets an encoder exploit.

    Shape:
        z (..., N, D) to (..., N), nats.
    """

    event_dim: int | None = 1
    divergence = "KL"
    reads_conditional = False
    on_sphere = False
    gaussian = False

    @abstractmethod
    def forward(self, z: Tensor, conditional=None, mask: Tensor | None = None) -> Tensor:
        """Log R at each row, (..., N), nats; 0 where ``mask`` (N,) is False."""


class SampleEntropy(Entropy):
    """An estimator that reads only the rows: the base class checks them, and leaves :meth:`log_prob` to write.

    It refuses bad rows, leaves masked rows out of the estimate, computes in float32 or better (also under autocast),
    and scores the rows of this process against those of all processes. To add an estimator, write ``log_prob`` in a
    new file: the contract tests find it.
    """

    def forward(self, z: Tensor, conditional=None, mask: Tensor | None = None) -> Tensor:
        """Log R at each row, (..., N), nats; masked rows score 0 and count in no other row's estimate."""
        if mask is not None:
            if mask.dtype != torch.bool or mask.shape != z.shape[-2:-1]:
                got = f"{mask.dtype} {tuple(mask.shape)}"
                raise ValueError(f"mask must be boolean of shape ({z.shape[-2]},), got {got}")
            scores = self(z[..., mask, :])
            return scores.new_zeros(z.shape[:-1]).masked_scatter(mask, scores)
        check_rows(z, type(self).__name__)
        with torch.autocast(z.device.type, enabled=False):
            rows = z.float() if z.dtype in (torch.float16, torch.bfloat16) else z
            support, start = gather_rows(rows)
            return self.log_prob(rows, support, start)

    @abstractmethod
    def log_prob(self, z: Tensor, support: Tensor, start: int) -> Tensor:
        """Log-density at each of ``z`` (..., N, D), estimated from ``support`` (..., M, D).

        Row i of ``z`` is row ``start + i`` of ``support``: a leave-one-out estimate skips it. On one process
        ``support`` is ``z``.
        """


def check_rows(z: Tensor, name: str) -> None:
    """Refuse what no estimate can come from: a wrong rank, one row, NaN or Inf."""
    if z.dim() < 2:
        raise ValueError(f"{name} needs z of shape (..., N, D), a batch of vectors, got {tuple(z.shape)}")
    if not z.is_floating_point():
        raise ValueError(f"{name} needs real-valued z, got {z.dtype}; for discrete latents use Mixture")
    if z.shape[-2] < 2 or z.shape[-1] < 1:
        raise ValueError(
            f"{name} estimates a density from the rows of a batch and needs N >= 2 of them (and D >= 1), "
            f"got {tuple(z.shape)}: enlarge the batch or drop its last, short one"
        )
    # One reduction finds trouble; only then is it looked for row by row.
    if not torch.isfinite(z.detach().sum()) and not torch.isfinite(z).all():
        bad = int((~torch.isfinite(z)).any(-1).sum())
        raise ValueError(
            f"{name} got NaN or Inf in {bad} of {z[..., 0].numel()} rows of z: "
            "look at the data, or lower the learning rate or clip gradients if training diverged"
        )
