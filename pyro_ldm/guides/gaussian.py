"""A Gaussian encoder as an amortized guide."""

import pyro
import torch.nn.functional as F
from pyro.distributions import Normal
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.entropy import Entropy


class Gaussian(PyroModule):
    r"""One site, :math:`z \sim \mathcal N(\mu(x), \mathrm{diag}\, \sigma^2(x))`, scored by its pushforward.

    Args:
        encoder: Any module that maps x (N, ...) to (N, 2 D): means, and scales before a softplus.
        entropy: Estimator of log R; :class:`~pyro_ldm.entropy.Mixture` reads these conditionals.
        site: Name of the site.
        min_scale: Added to the scale, in units of z, which an estimator may otherwise reward for narrowing.

    Example:
        >>> guide = Gaussian(torch.nn.Linear(8, 4), ldm.entropy.Mixture())
        >>> guide(torch.randn(10, 8)).shape
        torch.Size([10, 2])
    """

    def __init__(self, encoder: nn.Module, entropy: Entropy, *, site: str = "z", min_scale: float = 1e-3):
        super().__init__()
        self.encoder, self.entropy, self.site, self.min_scale = encoder, entropy, site, min_scale

    def conditional(self, x: Tensor) -> Normal:
        """q(z | x), of batch shape (N,) and event shape (D,)."""
        output = self.encoder(x)
        if output.shape[-1] % 2:
            raise ValueError(f"a Gaussian encoder has 2 D outputs, means and scales, got {output.shape[-1]}")
        loc, scale = output.chunk(2, dim=-1)
        return Normal(loc, F.softplus(scale) + self.min_scale).to_event(1)

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode the batch and sample the site."""
        pushforward = Pushforward(self.conditional(x), self.entropy, mask=mask)
        with pyro.plate("batch", len(x)):
            return pyro.sample(self.site, pushforward)
