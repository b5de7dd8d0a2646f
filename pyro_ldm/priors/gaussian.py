"""Independent Gaussian sources."""

from pyro import distributions as dist
from torch import Tensor, nn

from pyro_ldm.priors.base import Sources


class Gaussian(Sources):
    r"""Independent Gaussian sources, with a scale for all or one per dim.

    .. math:: p(z_d) = \mathcal N(z_d; 0, \sigma_d^2)

    Equal scales are blind to rotations; known, unequal ones are not: with a fixed invertible encoder's volume they
    separate sources (second-order ICA).

    Args:
        latent_dim: D.
        scale: sigma, in units of z, () or (D,): a number (fixed), an ``nn.Parameter`` (learned) or a
            distribution (Bayesian).

    Shape:
        z (N, D), N the length of the batch.

    Example:
        >>> Gaussian(3, scale=torch.tensor([1.0, 2.0, 3.0]))(range(5)).shape
        torch.Size([5, 3])
    """

    def __init__(self, latent_dim: int, scale: float | Tensor | nn.Parameter | dist.Distribution = 1.0):
        super().__init__(latent_dim)
        self.hyperparameter("scale", scale)

    def source(self) -> dist.TorchDistribution:
        """Gaussian densities, one per dim."""
        scale = self.read("scale")
        return dist.Normal(scale.new_zeros(self.latent_dim), scale)
