r"""The aggregated posterior: the mean of the encoder's own conditionals over the batch."""

import math

import torch
from torch import Tensor
from torch.distributions import Independent, Normal

from pyro_ldm.entropy.base import Entropy
from pyro_ldm.entropy.gather import gather_rows
from pyro_ldm.entropy.pairwise import logsumexp_inner


class Mixture(Entropy):
    r"""Log-density of the mixture of the encoder's conditionals q(z | x_j) over the batch.

    .. math:: \log \hat R(z_i) = \log \tfrac1N \sum_j q(z_i \mid x_j)

    Bias and bound: with ``include_self=True`` the expected entropy is a lower bound, at most log N above the
    conditional entropy; leave-one-out it is an upper bound (in expectation over batches). For categorical encoders
    the value is exact for the batch; as an estimate for all data the entropy is biased downwards by about
    (K - 1) / 2N nats. Exploited by: a learned scale under leave-one-out, whose scores run to minus infinity as the
    conditionals narrow. So train with ``include_self=True``, and report both.

    Args:
        include_self: Whether a row's own conditional counts. Leave it so for training.

    Shape:
        z (..., N, *event) with its conditional of batch shape (..., N), to (..., N), nats.

    Raises:
        ValueError: If the encoder is deterministic, or N < 2 leave-one-out.

    References:
        Hoffman and Johnson (2016), ELBO surgery (the aggregated posterior).
        Poole et al. (2019), On variational bounds of mutual information, eq. 12 and 13. https://arxiv.org/abs/1905.06922

    Example:
        >>> q = dist.Normal(torch.randn(100, 2), 0.5).to_event(1)
        >>> z = q.sample()
        >>> bool(Mixture()(z, q).mean() > Mixture(include_self=False)(z, q).mean())
        True
    """

    event_dim = None
    reads_conditional = True

    def __init__(self, *, include_self: bool = True):
        super().__init__()
        self.include_self = include_self

    def extra_repr(self) -> str:
        """Whether a row's own conditional counts."""
        return f"include_self={self.include_self}"

    def forward(self, z: Tensor, conditional=None, mask: Tensor | None = None) -> Tensor:
        """Log of the mean conditional, (..., N), nats; masked rows score 0 and count in no mixture."""
        if conditional is None or hasattr(conditional, "log_density") or len(conditional.batch_shape) != 1:
            raise ValueError(
                "Mixture needs a stochastic encoder with one batch dimension: sample the site from a distribution "
                "q(z | x) of batch shape (N,), such as Normal(loc, scale).to_event(1)"
            )
        (n,) = conditional.batch_shape
        if mask is not None and (mask.dtype != torch.bool or mask.shape != (n,)):
            raise ValueError(f"mask must be boolean of shape ({n},), got {mask.dtype} {tuple(mask.shape)}")
        if n < 2 and not self.include_self:
            raise ValueError("a leave-one-out Mixture needs N >= 2 rows: enlarge the batch")
        with torch.autocast(z.device.type, enabled=False):
            rows, start = gather_rows(z)
            if rows is not z and (mask is not None or not z.is_floating_point()):
                raise NotImplementedError("across processes, Mixture takes real-valued latents without a mask")
            log_sum = self._log_sum(rows, conditional, mask, None if self.include_self else -start)
            total = n if mask is None else int(mask.sum())
            if rows is not z:  # other ranks hold other conditionals: add them up, and keep this rank's rows
                parts, _ = gather_rows(log_sum.unsqueeze(-2))
                log_sum, total = parts.logsumexp(-2).narrow(-1, start, n), log_sum.shape[-1]
        log_prob = log_sum - math.log(total - (not self.include_self))
        return log_prob if mask is None else torch.where(mask, log_prob, 0.0)

    def _log_sum(self, z: Tensor, conditional, mask: Tensor | None, skip: int | None) -> Tensor:
        """Log-sum over the conditionals of their density at each row; row i leaves out conditional ``skip + i``."""
        if isinstance(conditional, Independent) and isinstance(conditional.base_dist, Normal) and z.dim() > 1:
            return self._normal_log_sum(z, conditional, mask, skip)
        pairs = conditional.log_prob(z.unsqueeze(z.dim() - conditional.event_dim))  # row i under q(. | x_j)
        if mask is not None:
            pairs = pairs.masked_fill(~mask, -torch.inf)
        if skip is not None:
            pairs = pairs.clone()
            pairs.diagonal(offset=skip, dim1=-2, dim2=-1).fill_(-torch.inf)
        return pairs.logsumexp(-1)

    def _normal_log_sum(self, z: Tensor, conditional, mask: Tensor | None, skip: int | None) -> Tensor:
        # Inner products of (z, z^2) with each conditional's natural parameters. In float64: narrow conditionals make
        # large terms that cancel.
        event_dim = conditional.event_dim
        rows = z.flatten(z.dim() - event_dim).double()
        loc, scale = (
            t.expand(conditional.shape()).flatten(-event_dim).double()
            for t in (conditional.base_dist.loc, conditional.base_dist.scale)
        )
        precision = scale.square().reciprocal()
        bias = -0.5 * (loc.square() * precision).sum(-1) - scale.log().sum(-1)
        bias = bias - 0.5 * loc.shape[-1] * math.log(2 * math.pi)
        if mask is not None:
            bias = bias.masked_fill(~mask, -torch.inf)
        queries = torch.cat([rows, rows.square()], dim=-1)
        keys = torch.cat([loc * precision, -0.5 * precision], dim=-1)
        batch = queries.shape[:-2]
        keys, bias = keys.expand(*batch, *keys.shape), bias.expand(*batch, *bias.shape)
        return logsumexp_inner(queries, keys, bias, skip=skip).to(z.dtype)
