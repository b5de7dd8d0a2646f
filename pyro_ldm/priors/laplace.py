"""Independent Laplace sources."""

from pyro import distributions as dist
from torch import Tensor, nn

from pyro_ldm.priors.base import Sources


class Laplace(Sources):
    r"""Independent Laplace sources: heavy-tailed, sparse; the classical prior of ICA on natural signals.

    .. math:: p(z_d) = \tfrac{1}{2 b_d} \exp(-|z_d| / b_d)

    Args:
        latent_dim: D.
        scale: b, in units of z, () or (D,): a number (fixed), an ``nn.Parameter`` (learned) or a
            distribution (Bayesian).

    Shape:
        z (N, D), N the length of the batch.

    Example:
        >>> Laplace(3)(range(5)).shape
        torch.Size([5, 3])
    """

    def __init__(self, latent_dim: int, scale: float | Tensor | nn.Parameter | dist.Distribution = 1.0):
        super().__init__(latent_dim)
        self.hyperparameter("scale", scale)

    def source(self) -> dist.TorchDistribution:
        """Laplace densities, one per dim."""
        scale = self.read("scale")
        return dist.Laplace(scale.new_zeros(self.latent_dim), scale)
