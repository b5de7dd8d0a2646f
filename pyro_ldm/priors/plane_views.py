"""What pairs of views on the plane share: the first view, and where the second is expected."""

from abc import abstractmethod

import pyro
from pyro import distributions as dist
from torch import Tensor, nn

from pyro_ldm.priors.base import Prior


class PlaneViews(Prior):
    r"""Two views on the plane: the first Gaussian or flat, the second around it, or around what is predicted from it.

    .. math:: z \sim \mathcal N(0, \sigma^2 I), \qquad z' \mid z \sim p(z' \mid h(z)), \qquad
        h(z) = z \text{ by default}

    To add one, register the hyperparameters of p and write :meth:`coupling`; the contract tests find it.

    Args:
        latent_dim: D.
        scale: sigma, in units of z, () or (D,): a number (fixed), an ``nn.Parameter`` (learned) or a distribution
            (Bayesian); ``None`` is a flat prior over z, which cannot be sampled.
        predictor: h, a module from (N, D) to (N, D); ``None`` is the identity.
    """

    def __init__(self, latent_dim: int, scale, predictor: nn.Module | None):
        super().__init__(latent_dim)
        self.predictor, self.flat = predictor, scale is None
        if not self.flat:
            self.hyperparameter("scale", scale)

    @abstractmethod
    def coupling(self, loc: Tensor) -> dist.TorchDistribution:
        """Univariate densities of the second view about ``loc`` (..., N, D), of its shape."""

    def forward(self, *batch) -> tuple[Tensor, Tensor]:
        """Sample both views; the first tensor of the batch gives N."""
        for name in self.shapes:  # what is Bayesian is sampled outside the plate; Pyro remembers it during this call
            self.read(name)
        if self.flat:
            first = dist.ImproperUniform(dist.constraints.real_vector, (), (self.latent_dim,))
        else:
            scale = self.read("scale")
            first = dist.Normal(scale.new_zeros(self.latent_dim), scale).to_event(1)
        with pyro.plate("batch", len(batch[0])):
            z = pyro.sample("z", first)
            loc = z if self.predictor is None else self.predictor(z)
            return z, pyro.sample("z_prime", self.coupling(loc).to_event(1))
