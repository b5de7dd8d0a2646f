"""Independent generalized-Gaussian sources."""

from pyro import distributions as dist
from pyro.distributions import constraints
from torch import Tensor, nn

from pyro_ldm.distributions.generalized_gaussian import GeneralizedGaussian as GeneralizedGaussianDistribution
from pyro_ldm.priors.base import Sources


class GeneralizedGaussian(Sources):
    r"""Independent generalized-Gaussian sources: heavy-tailed or flat-topped, as each source's exponent says.

    .. math:: p(z_d) = \frac{\beta_d}{2 \alpha_d \Gamma(1 / \beta_d)} \exp(-|z_d / \alpha_d|^{\beta_d})

    Exponent 1 is Laplace, 2 Gaussian, infinity uniform. A free exponent runs off towards the uniform density:
    a learned one is bounded to (0.25, 8); a Bayesian one has its prior.

    Args:
        latent_dim: D.
        power: beta, () or (D,): a number (fixed), an ``nn.Parameter`` (learned) or a
            distribution (Bayesian).
        scale: alpha, in units of z, likewise.

    Shape:
        z (N, D), N the length of the batch.

    References:
        Subbotin (1923), On the law of frequency of error.

    Example:
        >>> GeneralizedGaussian(3, power=torch.nn.Parameter(torch.ones(3)))(range(5)).shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        latent_dim: int,
        power: float | Tensor | nn.Parameter | dist.Distribution = 1.0,
        scale: float | Tensor | nn.Parameter | dist.Distribution = 1.0,
    ):
        super().__init__(latent_dim)
        learned = isinstance(power, nn.Parameter)
        self.hyperparameter("power", power, constraints.interval(0.25, 8.0) if learned else constraints.positive)
        self.hyperparameter("scale", scale)

    def source(self) -> dist.TorchDistribution:
        """Generalized-Gaussian densities, one per dim."""
        scale = self.read("scale")
        return GeneralizedGaussianDistribution(scale.new_zeros(self.latent_dim), scale, self.read("power"))
