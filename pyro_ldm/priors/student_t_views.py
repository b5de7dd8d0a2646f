"""A pair of views that may differ a lot, now and then."""

from pyro import distributions as dist
from torch import Tensor, nn

from pyro_ldm.priors.plane_views import PlaneViews


class StudentTViews(PlaneViews):
    r"""Two views of one latent on the plane: the second is the first plus heavy-tailed noise.

    .. math:: z \sim \mathcal N(0, \sigma^2 I), \qquad z'_d \mid z \sim t_\nu(h(z)_d, s), \qquad
        h(z) = z \text{ by default}

    An augmentation that now and then changes a latent a lot costs a logarithm of the change, not its square.

    Args:
        latent_dim: D.
        noise: s, in units of z, () or (D,): a number (fixed), an ``nn.Parameter`` (learned) or a
            distribution (Bayesian).
        scale: sigma, in units of z, likewise; ``None`` is a flat prior over z, which cannot be sampled.
        df: nu, degrees of freedom, likewise.
        predictor: h, a module from (N, D) to (N, D); ``None`` is the identity.

    Shape:
        z and z_prime (N, D), N the length of the batch.

    Example:
        >>> z, z_prime = StudentTViews(3, noise=0.1, df=2.0)(range(5))
        >>> z_prime.shape
        torch.Size([5, 3])
    """

    def __init__(
        self,
        latent_dim: int,
        noise: float | Tensor | nn.Parameter | dist.Distribution = 0.5,
        scale: float | Tensor | nn.Parameter | dist.Distribution | None = 1.0,
        *,
        df: float | Tensor | nn.Parameter | dist.Distribution = 4.0,
        predictor: nn.Module | None = None,
    ):
        super().__init__(latent_dim, scale, predictor)
        self.hyperparameter("noise", noise)
        self.hyperparameter("df", df)

    def coupling(self, loc: Tensor) -> dist.TorchDistribution:
        """Student-t noise about ``loc``."""
        return dist.StudentT(self.read("df"), loc, self.read("noise"))
