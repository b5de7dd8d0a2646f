r"""Kernels of :class:`~pyro_ldm.entropy.KDE`: Gaussian on the plane, von Mises-Fisher on the sphere.

A kernel turns queries z and support y into inner products: :math:`\log k(z_i, y_j) = s \, q_i \cdot y_j + b_j + c_i`.
"""

import math
from abc import ABC, abstractmethod
from typing import NamedTuple

import torch
from torch import Tensor, nn

from pyro_ldm.entropy.gaussian import whiten
from pyro_ldm.entropy.space import Sphere
from pyro_ldm.entropy.sphere import von_mises_fisher_log_normalizer


class InnerProducts(NamedTuple):
    """Queries (..., N, D), keys (..., M, D), scale, bias (..., M) and constant (..., N) of a log-kernel.

    Where rows score each other, queries and keys are to be one tensor: the sums over pairs then take half the work.
    """

    queries: Tensor
    keys: Tensor
    scale: float
    bias: Tensor | None
    constant: Tensor | float


class Kernel(nn.Module, ABC):
    """A normalised kernel in terms of inner products."""

    @abstractmethod
    def forward(self, z: Tensor, support: Tensor) -> InnerProducts:
        """The log-kernel between each of ``z`` (..., N, D) and each of ``support`` (..., M, D)."""


class GaussianKernel(Kernel):
    r"""Gaussian kernel, by default on whitened rows with Scott's bandwidth.

    .. math:: k_h(z - y) = (2 \pi h^2)^{-D/2} \exp(-\|z - y\|^2 / 2 h^2)

    Whitening first (with gradient) makes the estimate equivariant to affine maps. Without it, a bandwidth that is
    small, learned, or proportional to one overall scale lets training lose rank or diverge: a fixed bandwidth belongs
    beside a fixed prior noise that is no larger.

    Args:
        bandwidth: Standard deviation h, in units of whitened z (of z where ``whiten=False``). ``None`` is Scott's
            factor :math:`N^{-1/(D+4)}`.
        whiten: Whether to whiten the rows by the batch's covariance.

    Raises:
        ValueError: If the bandwidth is not positive, or is missing where ``whiten=False``.

    References:
        Scott (1992), Multivariate Density Estimation, section 6.3.

    Example:
        >>> GaussianKernel(0.5, whiten=False)
        GaussianKernel(bandwidth=0.5, whiten=False)
    """

    def __init__(self, bandwidth: float | None = None, *, whiten: bool = True):
        super().__init__()
        if bandwidth is not None and not 0 < bandwidth < math.inf:
            raise ValueError(f"bandwidth must be positive and finite, got {bandwidth}")
        if bandwidth is None and not whiten:
            raise ValueError(
                "GaussianKernel(whiten=False) needs a bandwidth: one taken from the overall scale of the batch lets "
                "training lose rank. Pass bandwidth=... (no smaller than the prior's noise) or whiten"
            )
        self.bandwidth, self.whiten = bandwidth, whiten

    def extra_repr(self) -> str:
        """Bandwidth, and whether rows are whitened."""
        return f"bandwidth={self.bandwidth}, whiten={self.whiten}"

    @classmethod
    def fitted(cls, z: Tensor, *, whiten: bool = True) -> "GaussianKernel":
        """The kernel whose bandwidth maximises the leave-one-out likelihood of ``z`` (N, D), which is detached.

        Fit it on a batch of the size it will meet; it stays fixed while training.
        """
        from pyro_ldm.entropy.kde import KDE

        z = z.detach()
        spread = 1.0 if whiten else float(z.std(0).mean())
        low, high = math.log(0.02 * spread), math.log(2.0 * spread)
        golden = (math.sqrt(5) - 1) / 2
        for _ in range(25):  # golden-section search: the likelihood has one maximum in the bandwidth
            left, right = high - golden * (high - low), low + golden * (high - low)
            score = [KDE(cls(math.exp(log_h), whiten=whiten))(z).mean() for log_h in (left, right)]
            low, high = (low, right) if score[0] > score[1] else (left, high)
        return cls(math.exp((low + high) / 2), whiten=whiten)

    def forward(self, z: Tensor, support: Tensor) -> InnerProducts:
        """The Gaussian log-kernel, nats."""
        if self.whiten:
            z, support, log_density = whiten(z, support, "KDE")
        else:
            mean = support.detach().mean(-2, keepdim=True)  # small inner products: less cancellation
            own = support - mean if z is support else z - mean
            z, support, log_density = own, own if z is support else support - mean, z.new_zeros(z.shape[:-2])
        n, dim = support.shape[-2:]
        bandwidth = n ** (-1 / (dim + 4)) if self.bandwidth is None else self.bandwidth
        precision = bandwidth**-2
        constant = log_density - dim * (math.log(bandwidth) + 0.5 * math.log(2 * math.pi))
        return InnerProducts(
            queries=z,
            keys=support,
            scale=precision,
            bias=-0.5 * precision * support.square().sum(-1),
            constant=constant.unsqueeze(-1) - 0.5 * precision * z.square().sum(-1),
        )


class VonMisesFisherKernel(Kernel):
    r"""Von Mises-Fisher kernel on the unit sphere; NT-Xent's, at concentration 1 / temperature.

    .. math:: k_\kappa(z, y) = C_D(\kappa) \exp(\kappa \, z \cdot y)

    Args:
        concentration: :math:`\kappa`, positive; an inverse temperature.
        num_spheres: How many unit vectors a row holds, as :class:`Joint` strings them together: 2 for two views. The
            kernel is then the product of theirs.

    Raises:
        ValueError: If the concentration is not positive, or rows are not of unit norm.

    References:
        Hall, Watson and Cabrera (1987), Kernel density estimation with spherical data.

    Example:
        >>> VonMisesFisherKernel(10.0)
        VonMisesFisherKernel(concentration=10.0)
    """

    def __init__(self, concentration: float, *, num_spheres: int = 1):
        super().__init__()
        if not 0 < concentration < math.inf:
            raise ValueError(f"concentration must be positive and finite, got {concentration}")
        self.concentration, self.num_spheres = concentration, num_spheres

    def extra_repr(self) -> str:
        """The concentration."""
        spheres = f", num_spheres={self.num_spheres}" if self.num_spheres > 1 else ""
        return f"concentration={self.concentration}{spheres}"

    def forward(self, z: Tensor, support: Tensor) -> InnerProducts:
        """The von Mises-Fisher log-kernel, nats with respect to the sphere's surface measure."""
        Sphere(num_spheres=self.num_spheres).check(support)
        concentration = torch.tensor(self.concentration, dtype=torch.float64)
        return InnerProducts(
            queries=z,
            keys=support,
            scale=self.concentration,
            bias=None,
            constant=self.num_spheres
            * float(von_mises_fisher_log_normalizer(z.shape[-1] // self.num_spheres, concentration)),
        )
