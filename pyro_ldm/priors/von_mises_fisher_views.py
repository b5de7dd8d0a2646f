"""A pair of views on the sphere."""

import pyro
import torch.nn.functional as F
from pyro import distributions as dist
from torch import Tensor, nn

from pyro_ldm.distributions.von_mises_fisher import VonMisesFisher
from pyro_ldm.priors.base import Prior


class VonMisesFisherViews(Prior):
    r"""Two views on the unit sphere: the first uniform, the second scattered around it.

    .. math:: z \sim \mathrm{Uniform}(S^{D-1}), \qquad z' \mid z \sim \mathrm{vMF}(z, \kappa)

    With ``Pooled(KDE(VonMisesFisherKernel(kappa / 2)))`` the objective is NT-Xent's, at temperature 2 / kappa.

    With a predictor h, the first view is any vector, under a flat prior that cannot be sampled, and the second is on
    the sphere: :math:`z' \sim \mathrm{vMF}(h(z) / \|h(z)\|, \kappa)`, as in SimSiam and BYOL.

    Args:
        latent_dim: D, at least 2.
        concentration: kappa: a number (fixed), an ``nn.Parameter`` (learned) or a distribution (Bayesian).
        predictor: h, a module from (N, D) to (N, D), or ``None``.

    Shape:
        z and z_prime (N, D), of unit norm, N the length of the batch.

    Raises:
        ValueError: If D < 2. Under validation, while running, if a view is not of unit norm: end the encoder with
            :class:`pyro_ldm.encoders.Normalize`.

    References:
        Chen et al. (2020), SimCLR, https://arxiv.org/abs/2002.05709; Chen and He (2021), SimSiam,
        https://arxiv.org/abs/2011.10566; Wang and Isola (2020), https://arxiv.org/abs/2005.10242.

    Example:
        >>> z, z_prime = VonMisesFisherViews(3, concentration=100.0)(range(5))
        >>> bool(((z * z_prime).sum(-1) > 0.8).all())
        True
    """

    def __init__(
        self,
        latent_dim: int,
        concentration: float | Tensor | nn.Parameter | dist.Distribution = 10.0,
        *,
        predictor: nn.Module | None = None,
    ):
        super().__init__(latent_dim)
        if latent_dim < 2:
            raise ValueError(f"a sphere has latent_dim >= 2, got {latent_dim}")
        self.predictor = predictor
        self.hyperparameter("concentration", concentration, shape=())

    def forward(self, *batch) -> tuple[Tensor, Tensor]:
        """Sample both views; the first tensor of the batch gives N."""
        concentration = self.read("concentration")
        if self.predictor is None:
            first = VonMisesFisher(
                F.one_hot(concentration.new_tensor(0).long(), self.latent_dim).to(concentration), 0.0
            )
        else:
            first = dist.ImproperUniform(dist.constraints.real_vector, (), (self.latent_dim,))
        with pyro.plate("batch", len(batch[0])):
            z = pyro.sample("z", first)
            loc = z if self.predictor is None else F.normalize(self.predictor(z), dim=-1)
            return z, pyro.sample("z_prime", VonMisesFisher(loc, concentration))
