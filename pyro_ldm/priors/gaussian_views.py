"""A Gaussian pair of views."""

from pyro import distributions as dist
from torch import Tensor, nn

from pyro_ldm.priors.plane_views import PlaneViews


class GaussianViews(PlaneViews):
    r"""Two views of one latent on the plane: the second is the first plus noise.

    .. math:: z \sim \mathcal N(0, \sigma^2 I), \qquad z' \mid z \sim \mathcal N(h(z), s^2 I), \qquad
        h(z) = z \text{ by default}

    With ``Joint(LogDet())`` the objective is KL(R || P); with ``Separate(LogDet())`` it is VICReg's, with the mutual
    information.

    Args:
        latent_dim: D.
        noise: s, in units of z, () or (D,): a number (fixed), an ``nn.Parameter`` (learned) or a
            distribution (Bayesian).
        scale: sigma, in units of z, likewise; ``None`` is a flat prior over z, which cannot be sampled.
        predictor: h, a module from (N, D) to (N, D); ``None`` is the identity.

    Shape:
        z and z_prime (N, D), N the length of the batch.

    References:
        Bardes, Ponce and LeCun (2022), VICReg. https://arxiv.org/abs/2105.04906

    Example:
        >>> z, z_prime = GaussianViews(3, noise=0.1)(range(5))
        >>> z_prime.shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        latent_dim: int,
        noise: float | Tensor | nn.Parameter | dist.Distribution = 0.5,
        scale: float | Tensor | nn.Parameter | dist.Distribution | None = 1.0,
        *,
        predictor: nn.Module | None = None,
    ):
        super().__init__(latent_dim, scale, predictor)
        self.hyperparameter("noise", noise)

    def coupling(self, loc: Tensor) -> dist.TorchDistribution:
        """Gaussian noise about ``loc``."""
        return dist.Normal(loc, self.read("noise"))
