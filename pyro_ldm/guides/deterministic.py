"""A deterministic encoder as an amortized guide."""

import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.entropy import Entropy


class Deterministic(PyroModule):
    r"""One site, :math:`z = f(x)`, scored by its pushforward.

    Args:
        encoder: Any module that maps x (N, ...) to z (N, D), or (N, T, D) under an arrangement.
        entropy: Estimator of log R.
        site: Name of the site.

    Shape:
        x (N, ...), and optionally a boolean mask (N,) or (N, T) of rows or steps that are there, to z. What else the
        batch has, such as actions, is the prior's.

    Example:
        >>> guide = Deterministic(torch.nn.Linear(8, 2), ldm.entropy.LogDet())
        >>> guide(torch.randn(10, 8)).shape
        torch.Size([10, 2])
    """

    def __init__(self, encoder: nn.Module, entropy: Entropy, *, site: str = "z"):
        super().__init__()
        self.encoder, self.entropy, self.site = encoder, entropy, site

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """Encode the batch and sample the site."""
        mask = next((other for other in others if other.dtype == torch.bool), None)
        z = self.encoder(x)
        pushforward = Pushforward(z, self.entropy, event_dim=self.entropy.event_dim or z.dim() - 1, mask=mask)
        with pyro.plate("batch", len(x)):
            return pyro.sample(self.site, pushforward)
