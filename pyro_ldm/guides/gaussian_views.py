"""One Gaussian encoder on several views of each datum, as an amortized guide."""

import pyro
import torch
from pyro.distributions import Normal
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_ldm.entropy import Entropy
from pyro_ldm.guides.gaussian import Gaussian
from pyro_ldm.guides.sample_views import sample_views


class GaussianViews(PyroModule):
    r"""Two sites (or more), :math:`z \sim q(z \mid x), z' \sim q(z \mid x')`, Gaussian, under one joint score.

    Args:
        encoder: Any module that maps a view (N, ...) to (N, 2 D): means, and scales before a softplus. The views go
            through it as one batch of N V rows.
        entropy: An arrangement: ``Joint(Mixture())``, ``Joint(LogDet())``, ...; ``Joint(Conditional())`` for a VAE of
            pairs.
        sites: Names of the sites, one per view.
        min_scale: Added to the scale, in units of z.

    Shape:
        One tensor (N, ...) per view, to a dict of z (N, D).

    Example:
        >>> guide = GaussianViews(torch.nn.Linear(8, 4), ldm.entropy.Joint(ldm.entropy.Conditional()))
        >>> guide(torch.randn(10, 8), torch.randn(10, 8))["z_prime"].shape
        torch.Size([10, 2])
    """

    def __init__(
        self,
        encoder: nn.Module,
        entropy: Entropy,
        *,
        sites: tuple[str, ...] = ("z", "z_prime"),
        min_scale: float = 1e-3,
    ):
        super().__init__()
        self.gaussian, self.entropy, self.sites = Gaussian(encoder, entropy, min_scale=min_scale), entropy, tuple(sites)

    def conditional(self, x: Tensor) -> Normal:
        """q(z | x) of one view, of batch shape (N,) and event shape (D,)."""
        return self.gaussian.conditional(x)

    def forward(self, *views: Tensor) -> dict[str, Tensor]:
        """Encode the views and sample their sites."""
        if len(views) != len(self.sites) or len({v.shape for v in views}) != 1:
            raise ValueError(
                f"expected {len(self.sites)} views of one shape, for sites {list(self.sites)}, "
                f"got {[tuple(v.shape) for v in views]}"
            )
        normal = self.conditional(torch.cat(views)).base_dist
        parts = zip(normal.loc.chunk(len(views)), normal.scale.chunk(len(views)), strict=True)
        conditionals = [Normal(loc, scale).to_event(1) for loc, scale in parts]
        with pyro.plate("batch", len(views[0])):
            return sample_views(dict(zip(self.sites, conditionals, strict=True)), self.entropy)
