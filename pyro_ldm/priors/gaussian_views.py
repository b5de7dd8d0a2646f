"""A Gaussian pair of views."""

import pyro
from pyro import distributions as dist
from torch import Tensor, nn

from pyro_ldm.priors.base import Prior


class GaussianViews(Prior):
    r"""Two views of one latent on the plane: the second is the first plus noise.

    .. math:: z \sim \mathcal N(0, \sigma^2 I), \qquad z' \mid z \sim \mathcal N(z, s^2 I)

    With ``Joint(LogDet())`` the objective is KL(R || P); with ``Separate(LogDet())`` it is VICReg's, with the mutual
    information.

    Args:
        latent_dim: D.
        noise: s, in units of z, () or (D,): a number (fixed), an ``nn.Parameter`` (learned) or a
            distribution (Bayesian).
        scale: sigma, in units of z, likewise; ``None`` is a flat prior over z, which cannot be sampled.

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
    ):
        super().__init__(latent_dim)
        self.hyperparameter("noise", noise)
        self.flat = scale is None
        if scale is not None:
            self.hyperparameter("scale", scale)

    def forward(self, *batch) -> tuple[Tensor, Tensor]:
        """Sample both views; the first tensor of the batch gives N."""
        noise = self.read("noise")
        if self.flat:
            first = dist.ImproperUniform(dist.constraints.real_vector, (), (self.latent_dim,))
        else:
            first = dist.Normal(noise.new_zeros(self.latent_dim), self.read("scale")).to_event(1)
        with pyro.plate("batch", len(batch[0])):
            z = pyro.sample("z", first)
            return z, pyro.sample("z_prime", dist.Normal(z, noise).to_event(1))
