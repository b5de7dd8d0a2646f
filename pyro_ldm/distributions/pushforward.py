r"""The pushforward: the distribution of an encoder's outputs as the data run through it."""

from typing import ClassVar

import torch
from pyro.distributions import Delta, TorchDistribution
from pyro.distributions.score_parts import ScoreParts
from torch import Tensor
from torch.distributions import constraints

from pyro_ldm.entropy.base import Entropy


class Pushforward(TorchDistribution):
    r"""A guide's site, scored by its *marginal* density R(z), estimated from the batch, in place of q(z | x).

    .. math:: R(z) = \mathbb{E}_x \, q(z \mid x), \qquad
        \text{ELBO} = \mathbb{E}_R[\log P(z)] + H_R[z] = -\mathrm{KL}(R \,\|\, P)

    Sampling draws from the encoder's conditional, reparameterised where it is. The gradient of a discrete conditional
    (by score function or enumeration) is weighted by q(z | x), its log-density by R(z).

    Args:
        z: The encoder's outputs (N, *event), or its conditional q(z | x), a distribution of batch shape (N,); for an
            invertible encoder, what :func:`pyro_ldm.encode` returns.
        entropy: Estimator of log R; an arrangement (:class:`~pyro_ldm.entropy.Joint`,
            :class:`~pyro_ldm.entropy.Separate`, :class:`~pyro_ldm.entropy.Pooled`) where ``event_dim=2``.
        event_dim: Number of event dims of ``z`` where it is a tensor: 1 for vectors, 2 for sequences (N, T, D).
        mask: Boolean (N,), or (N, T) for sequences: rows or steps that are there. The others do not enter the estimate.

    Shape:
        Batch shape (..., N), the batch rightmost; event shape that of ``z``. ``log_prob`` (..., N), nats.

    Raises:
        ValueError: If ``z`` has no batch dimension, or the estimator does not fit it.

    Example:
        >>> z = torch.randn(100, 2)
        >>> Pushforward(z, ldm.entropy.LogDet()).log_prob(z).shape
        torch.Size([100])
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(
        self,
        z: Tensor | TorchDistribution,
        entropy: Entropy,
        *,
        event_dim: int = 1,
        mask: Tensor | None = None,
        validate_args: bool | None = None,
    ):
        if not isinstance(entropy, Entropy):
            raise TypeError(f"entropy must be an estimator from pyro_ldm.entropy, such as LogDet(), got {entropy!r}")
        if isinstance(z, Tensor):
            if entropy.reads_conditional:
                raise ValueError(
                    f"{type(entropy).__name__} reads the encoder's conditional, and got a tensor: pass a distribution "
                    "q(z | x), or ldm.encode(encoder, x) for an invertible encoder"
                )
            if z.dim() <= event_dim:
                raise ValueError(
                    f"z of shape {tuple(z.size())} has no batch dimension to the left of its {event_dim} event dims: "
                    "a pushforward is the distribution of a batch, (N, D) for vectors or (N, T, D) for sequences"
                )
            # Half precision, as autocast leaves it, would be the prior's too.
            z = Delta(z.float() if z.dtype in (torch.float16, torch.bfloat16) else z, event_dim=event_dim)
        elif not len(z.batch_shape):
            raise ValueError(
                f"the conditional {type(z).__name__} has no batch dimension: a pushforward is the mixture of q(z | x) "
                "over a batch; declare event dims with .to_event(1)"
            )
        if entropy.event_dim not in (None, z.event_dim):
            advice = (
                "wrap it in an arrangement: Joint, Separate or Pooled"
                if z.event_dim == 2
                else f"it scores {entropy.event_dim} event dims"
            )
            shape = tuple(z.event_shape)
            raise ValueError(f"{type(entropy).__name__} does not fit a site of event shape {shape}: {advice}")
        self.conditional, self.estimator, self.rows = z, entropy, mask
        super().__init__(z.batch_shape, z.event_shape, validate_args=validate_args)

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the conditional is reparameterised."""
        return self.conditional.has_rsample

    @property
    def has_enumerate_support(self) -> bool:  # type: ignore[override]
        """Whether the conditional is discrete and can be enumerated."""
        return self.conditional.has_enumerate_support

    @constraints.dependent_property
    def support(self):
        """Support of the conditional."""
        return self.conditional.support

    def expand(self, batch_shape, _instance=None) -> "Pushforward":
        """The same pushforward, drawn independently along new dims to the left of the batch."""
        new = self._get_checked_instance(Pushforward, _instance)
        new.conditional, new.estimator, new.rows = self.conditional, self.estimator, self.rows
        super(Pushforward, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def _expanded(self) -> TorchDistribution:
        same = self.batch_shape == self.conditional.batch_shape
        return self.conditional if same else self.conditional.expand(self.batch_shape)

    def rsample(self, sample_shape=()) -> Tensor:
        """Reparameterised draws from the conditional."""
        return self._expanded().rsample(torch.Size(sample_shape))

    def sample(self, sample_shape=()) -> Tensor:
        """Draws from the conditional."""
        return self._expanded().sample(torch.Size(sample_shape))

    def enumerate_support(self, expand: bool = True) -> Tensor:
        """All values of a discrete conditional."""
        return self._expanded().enumerate_support(expand=expand)

    def log_prob(self, value: Tensor) -> Tensor:
        """Estimated log R at each value, nats, expanded to the full batch shape."""
        log_prob = self.estimator(value, self.conditional, self.rows)
        lead = value.shape[: value.dim() - self.event_dim]
        if lead == self.batch_shape == log_prob.shape:
            return log_prob
        return log_prob.expand(torch.broadcast_shapes(lead, self.batch_shape))

    def score_parts(self, value: Tensor) -> ScoreParts:
        """Marginal for the value, conditional for the score function, marginal for the entropy."""
        log_prob = self.log_prob(value)
        if self.has_rsample:
            return ScoreParts(log_prob, 0.0, log_prob)  # type: ignore[arg-type]
        return ScoreParts(log_prob, self._expanded().log_prob(value), log_prob)
