"""A Gaussian encoder as an amortized guide."""

import pyro
import torch
import torch.nn.functional as F
from pyro.distributions import Normal
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.entropy import Entropy


class Gaussian(PyroModule):
    r"""One site, :math:`z \sim \mathcal N(\mu(x), \mathrm{diag}\, \sigma^2(x))`, scored by its pushforward.

    Args:
        encoder: Any module that maps x (N, ...) to (N, 2 D), or (N, T, 2 D) for series: means, and scales before a
            softplus.
        entropy: Estimator of log R; :class:`~pyro_ldm.entropy.Mixture` reads these conditionals, and
            :class:`~pyro_ldm.entropy.Conditional` scores by them alone, as a VAE does.
        site: Name of the site.
        min_scale: Added to the scale, in units of z, which an estimator may otherwise reward for narrowing.

    Shape:
        x (N, ...), and optionally a boolean mask (N,) or (N, T) of rows or steps that are there, to z (N, D), of series
        (N, T, D).

    Example:
        >>> guide = Gaussian(torch.nn.Linear(8, 4), ldm.entropy.Mixture())
        >>> guide(torch.randn(10, 8)).shape
        torch.Size([10, 2])
    """

    def __init__(self, encoder: nn.Module, entropy: Entropy, *, site: str = "z", min_scale: float = 1e-3):
        super().__init__()
        self.encoder, self.entropy, self.site, self.min_scale = encoder, entropy, site, min_scale

    def conditional(self, x: Tensor) -> Normal:
        """q(z | x), of batch shape (N,) and event shape (D,), or (T, D)."""
        output = self.encoder(x)
        if output.shape[-1] % 2:
            raise ValueError(f"a Gaussian encoder has 2 D outputs, means and scales, got {output.shape[-1]}")
        finite = torch.isfinite(output).flatten(1).all(-1)
        if not finite.all():
            raise ValueError(
                f"the encoder gives NaN or Inf in {int((~finite).sum())} of {len(x)} rows: look at the data, lower the "
                "learning rate or clip gradients"
            )
        output = output.to(torch.promote_types(output.dtype, torch.float32))  # of half precision under autocast
        loc, scale = output.chunk(2, dim=-1)
        return Normal(loc, F.softplus(scale) + self.min_scale).to_event(loc.dim() - 1)

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """Encode the batch and sample the site."""
        mask = next((other for other in others if other.dtype == torch.bool), None)
        pushforward = Pushforward(self.conditional(x), self.entropy, mask=mask)
        with pyro.plate("batch", len(x)):
            return pyro.sample(self.site, pushforward)
