"""Gaussian latents whose variances fall off by a power law."""

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from pyro_ldm.priors.base import Sources


class PowerLaw(Sources):
    r"""Independent Gaussian sources with a power-law spectrum: the i-th dim has 1 / i^a of the first one's variance.

    .. math:: z_i \sim \mathcal N(0, \sigma^2 i^{-a}), \qquad i = 1 .. D

    The latents come ordered by variance, as principal components are; a = 1 is the spectrum of neural populations.

    Args:
        latent_dim: D.
        exponent: a, a number (fixed), an ``nn.Parameter`` (learned) or a distribution (Bayesian); positive.
        scale: sigma, standard deviation of the first dim, in units of z, likewise.

    Shape:
        z (N, D), N the length of the batch.

    References:
        Stringer et al. (2019), High-dimensional geometry of population responses in visual cortex,
        https://doi.org/10.1038/s41586-019-1346-5.

    Example:
        >>> PowerLaw(3).source().variance
        tensor([1.0000, 0.5000, 0.3333])
    """

    def __init__(
        self,
        latent_dim: int,
        exponent: float | Tensor | nn.Parameter | dist.Distribution = 1.0,
        scale: float | Tensor | nn.Parameter | dist.Distribution = 1.0,
    ):
        super().__init__(latent_dim)
        self.hyperparameter("exponent", exponent, shape=())
        self.hyperparameter("scale", scale)

    def source(self) -> dist.TorchDistribution:
        """Gaussian densities, one per dim."""
        scale = self.read("scale")
        rank = torch.arange(1, self.latent_dim + 1, dtype=scale.dtype, device=scale.device)
        return dist.Normal(
            scale.new_zeros(self.latent_dim), scale * rank ** (-0.5 * self.read("exponent").unsqueeze(-1))
        )
