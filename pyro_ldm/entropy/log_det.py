r"""The log-determinant: the entropy of the Gaussian with the batch's mean and covariance."""

import math
from functools import lru_cache
from typing import Literal

import torch
from torch import Tensor

from pyro_ldm.entropy.base import SampleEntropy
from pyro_ldm.entropy.gaussian import (
    covariance,
    less_their_mean,
    log_det_and_distances,
    log_det_and_inverse,
    self_product,
)


class LogDet(SampleEntropy):
    r"""Log-density of the Gaussian fitted to the batch; its entropy is the log-determinant of the covariance.

    .. math:: \hat H[z] = \tfrac{D}{2} \log 2 \pi e + \tfrac12 \log\det \hat\Sigma
        - \tfrac12 \sum_{i=1}^{D} \left[ \psi\!\left(\tfrac{N-i}{2}\right) - \log \tfrac{N-1}{2} \right]

    The sum removes the exact bias of the log-determinant of a Gaussian sample. A row's value is minus this entropy,
    less half its centred squared Mahalanobis distance.

    Bias: none for Gaussian rows, at any N > D. Bound: an upper bound on the entropy of non-Gaussian rows, as N grows.
    Exploited by: a flexible encoder under a non-Gaussian prior, which gains what the Gaussian overestimates. As a
    loss it wants a Gaussian prior; :class:`~pyro_ldm.Objective` warns otherwise.

    Args:
        shrinkage: ``None``, a weight in (0, 1] of the spherical target :math:`(\mathrm{tr}\,\hat\Sigma / D) I`, or
            the weight of Chen et al. (``"oas"``) or Ledoit and Wolf (``"ledoit-wolf"``). Allows N <= D, where the
            determinant is taken through the N x N Gram matrix. The finite-sample correction then does not apply.
        order: ``None`` for the determinant; 2 for its second-order expansion about the identity,
            :math:`\log\det \Sigma \approx \mathrm{tr}(\Sigma - I) - \tfrac12 \|\Sigma - I\|_F^2`, whose off-diagonal
            part is VICReg's covariance penalty. Not equivariant to scale; needs no N > D.
        correct: Whether to remove the finite-sample bias (by default, where it applies).

    Shape:
        z (..., N, D) to (..., N), nats.

    Raises:
        ValueError: If N < D + 1 without shrinkage or ``order=2``.

    References:
        Misra, Singh and Demchuk (2005), Estimation of the entropy of a multivariate normal distribution, eq. 2.3.
        Chen et al. (2010), Shrinkage algorithms for MMSE covariance estimation, eq. 23. https://arxiv.org/abs/0907.4698
        Ledoit and Wolf (2004), A well-conditioned estimator for large-dimensional covariance matrices.
        Bardes, Ponce and LeCun (2022), VICReg. https://arxiv.org/abs/2105.04906

    Example:
        >>> entropy = -LogDet()(torch.randn(4000, 8)).mean()   # true value 4 log(2 pi e) = 11.352
        >>> bool(abs(entropy - 11.352) < 0.2)
        True
    """

    gaussian = True

    def __init__(
        self,
        *,
        shrinkage: float | Literal["oas", "ledoit-wolf"] | None = None,
        order: Literal[2] | None = None,
        correct: bool = True,
    ):
        super().__init__()
        if order not in (None, 2):
            raise ValueError(f"order must be None (the determinant) or 2 (its second-order expansion), got {order!r}")
        if isinstance(shrinkage, str) and shrinkage not in ("oas", "ledoit-wolf"):
            raise ValueError(f"shrinkage must be a number in (0, 1], 'oas' or 'ledoit-wolf', got {shrinkage!r}")
        if isinstance(shrinkage, int | float) and not 0 < shrinkage <= 1:
            raise ValueError(f"shrinkage must lie in (0, 1], got {shrinkage}")
        if shrinkage is not None and order is not None:
            raise ValueError("shrinkage and order=2 exclude each other: the expansion needs no inverse")
        self.shrinkage, self.order, self.correct = shrinkage, order, correct

    def extra_repr(self) -> str:
        """The settings that differ from the default."""
        settings = {"shrinkage": self.shrinkage, "order": self.order, "correct": None if self.correct else False}
        return ", ".join(f"{k}={v!r}" for k, v in settings.items() if v is not None)

    def log_prob(self, z: Tensor, support: Tensor, start: int) -> Tensor:
        """Gaussian log-density of each row, (..., N), nats."""
        n, dim = support.shape[-2:]
        constant = 0.5 * dim * math.log(2 * math.pi * math.e)
        centered = support - support.mean(-2, keepdim=True)
        if self.order == 2:
            excess = covariance(centered) - torch.eye(dim, dtype=z.dtype, device=z.device)
            log_det = excess.diagonal(dim1=-2, dim2=-1).sum(-1) - 0.5 * excess.square().sum((-2, -1))
            return (-constant - 0.5 * log_det).unsqueeze(-1).expand(z.shape[:-1])
        if self.shrinkage is None and n < dim + 1:
            raise ValueError(
                f"LogDet needs N >= D + 1 rows for a covariance of full rank, got N = {n} and D = {dim}: "
                "enlarge the batch, or shrink the covariance, as in LogDet(shrinkage='oas')"
            )
        log_det, squared = self._gaussian(centered)
        if self.correct and self.shrinkage is None:
            log_det = log_det - log_det_bias(n, dim)
        log_prob = -(constant + 0.5 * log_det).unsqueeze(-1) - 0.5 * less_their_mean(squared)
        return log_prob.narrow(-1, start, z.shape[-2])

    def _gaussian(self, centered: Tensor) -> tuple[Tensor, Tensor]:
        """Log-determinant (...) of the (shrunk) covariance and squared Mahalanobis distance (..., N) of each row."""
        n, dim = centered.shape[-2:]
        if self.shrinkage is None:
            log_det, squared = log_det_and_distances(centered)
            return log_det, squared * (n / (n - 1))  # of the maximum-likelihood covariance: they average D exactly
        # Sigma = (1 - w) S + w m I. The smaller of Sigma and the Gram matrix is factored: they share the eigenvalues
        # that are not w m.
        smaller = self_product(centered if dim < n else centered.mT)
        mean_variance = smaller.diagonal(dim1=-2, dim2=-1).sum(-1) / (n - 1) / dim
        weight = self._weight(centered, smaller.detach(), mean_variance.detach())
        floor = (weight * mean_variance).clamp_min(torch.finfo(centered.dtype).tiny)[..., None, None]
        eye = torch.eye(min(n, dim), dtype=centered.dtype, device=centered.device)
        shrunk = smaller * ((1 - weight) / (n - 1)).clamp_min(0)[..., None, None] + floor * eye
        log_det, inverse = log_det_and_inverse(shrunk)
        if dim < n:
            return log_det, (centered @ inverse * centered).sum(-1)
        # X' (a X X' + floor I)^-1 = (a X'X + floor I)^-1 X': the distances are the diagonal of inverse times X X'.
        return log_det + (dim - n) * floor.squeeze((-2, -1)).log(), (inverse * smaller).sum(-1)

    def _weight(self, centered: Tensor, smaller: Tensor, mean_variance: Tensor) -> Tensor:
        n, dim = centered.shape[-2:]
        if isinstance(self.shrinkage, int | float):
            return torch.full_like(mean_variance, self.shrinkage)
        rows = centered.detach()
        variance = (mean_variance * (n - 1) / n).clamp_min(torch.finfo(rows.dtype).tiny)
        frobenius = (smaller / n).square().sum((-2, -1))  # tr(S^2), whichever way round
        if self.shrinkage == "oas":
            trace_squared = (dim * variance) ** 2
            numerator = (1 - 2 / dim) * frobenius + trace_squared
            weight = numerator / ((n + 1 - 2 / dim) * (frobenius - trace_squared / dim)).clamp_min(
                torch.finfo(rows.dtype).tiny
            )
        else:
            distance = (frobenius - dim * variance**2).clamp_min(torch.finfo(rows.dtype).tiny)
            spread = rows.square().sum(-1).square().mean(-1) - frobenius
            weight = spread / (n * distance)
        return weight.clamp(torch.finfo(rows.dtype).eps, 1.0)


@lru_cache
def log_det_bias(num_samples: int, dim: int) -> float:
    """Expected log-determinant of a Gaussian sample's unbiased covariance, less the true one, nats."""
    half = (num_samples - torch.arange(1, dim + 1, dtype=torch.float64)) / 2
    return float((torch.digamma(half) - math.log((num_samples - 1) / 2)).sum())
