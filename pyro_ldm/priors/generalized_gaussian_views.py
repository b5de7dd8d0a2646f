"""A pair of views whose difference has a p-norm for its energy."""

from pyro import distributions as dist
from torch import Tensor, nn

from pyro_ldm.distributions.generalized_gaussian import GeneralizedGaussian
from pyro_ldm.priors.plane_views import PlaneViews


class GeneralizedGaussianViews(PlaneViews):
    r"""Two views of one latent on the plane: alignment is the p-norm of their difference, to the power p.

    .. math:: z \sim \mathcal N(0, \sigma^2 I), \qquad
        \log p(z' \mid z) = -\|(z' - h(z)) / s\|_\beta^\beta + \text{const}, \qquad h(z) = z \text{ by default}

    Power 1 (Laplace) lets a few dims change much and holds the others still; power 2 is Gaussian with variance s^2 / 2.

    Args:
        latent_dim: D.
        noise: s, in units of z, () or (D,): a number (fixed), an ``nn.Parameter`` (learned) or a
            distribution (Bayesian).
        scale: sigma, in units of z, likewise; ``None`` is a flat prior over z, which cannot be sampled.
        power: beta, likewise.
        predictor: h, a module from (N, D) to (N, D); ``None`` is the identity.

    Shape:
        z and z_prime (N, D), N the length of the batch.

    Example:
        >>> z, z_prime = GeneralizedGaussianViews(3, noise=0.1, power=1.0)(range(5))
        >>> z_prime.shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        latent_dim: int,
        noise: float | Tensor | nn.Parameter | dist.Distribution = 0.5,
        scale: float | Tensor | nn.Parameter | dist.Distribution | None = 1.0,
        *,
        power: float | Tensor | nn.Parameter | dist.Distribution = 1.0,
        predictor: nn.Module | None = None,
    ):
        super().__init__(latent_dim, scale, predictor)
        self.hyperparameter("noise", noise)
        self.hyperparameter("power", power)

    def coupling(self, loc: Tensor) -> dist.TorchDistribution:
        """Generalized-Gaussian noise about ``loc``."""
        return GeneralizedGaussian(loc, self.read("noise"), self.read("power"))
