"""Independent logistic sources."""

from pyro import distributions as dist
from torch import Tensor, nn

from pyro_ldm.priors.base import Sources


class Logistic(Sources):
    r"""Independent logistic sources: tails like Laplace's, smooth at zero; Infomax ICA's.

    .. math:: p(z_d) = \tfrac{1}{4 s_d} \operatorname{sech}^2(z_d / 2 s_d)

    Args:
        latent_dim: D.
        scale: s, in units of z, () or (D,): a number (fixed), an ``nn.Parameter`` (learned) or a
            distribution (Bayesian).

    Shape:
        z (N, D), N the length of the batch.

    References:
        Bell and Sejnowski (1995), An information-maximization approach to blind separation.

    Example:
        >>> Logistic(3)(range(5)).shape
        torch.Size([5, 3])
    """

    def __init__(self, latent_dim: int, scale: float | Tensor | nn.Parameter | dist.Distribution = 1.0):
        super().__init__(latent_dim)
        self.hyperparameter("scale", scale)

    def source(self) -> dist.TorchDistribution:
        """Logistic densities, one per dim."""
        scale = self.read("scale")
        return dist.Logistic(scale.new_zeros(self.latent_dim), scale)
