"""Independent Student-t sources."""

from pyro import distributions as dist
from torch import Tensor, nn

from pyro_ldm.priors.base import Sources


class StudentT(Sources):
    r"""Independent Student-t sources: tails as heavy as the degrees of freedom say.

    .. math:: p(z_d) \propto \left(1 + \tfrac{z_d^2}{\nu_d s_d^2}\right)^{-(\nu_d + 1) / 2}

    Args:
        latent_dim: D.
        df: nu, degrees of freedom, () or (D,): a number (fixed), an ``nn.Parameter`` (learned) or a
            distribution (Bayesian).
        scale: s, in units of z, likewise.

    Shape:
        z (N, D), N the length of the batch.

    Example:
        >>> StudentT(3, df=3.0)(range(5)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        latent_dim: int,
        df: float | Tensor | nn.Parameter | dist.Distribution = 4.0,
        scale: float | Tensor | nn.Parameter | dist.Distribution = 1.0,
    ):
        super().__init__(latent_dim)
        self.hyperparameter("df", df)
        self.hyperparameter("scale", scale)

    def source(self) -> dist.TorchDistribution:
        """Student-t densities, one per dim."""
        scale = self.read("scale")
        return dist.StudentT(self.read("df"), scale.new_zeros(self.latent_dim), scale)
