"""One encoder on several views of each datum, as an amortized guide."""

import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_ldm.entropy import Entropy
from pyro_ldm.guides.sample_views import sample_views


class Views(PyroModule):
    r"""Two sites (or more), :math:`z = f(x), z' = f(x')`, under one joint estimate.

    Args:
        encoder: Any module that maps a view (N, ...) to (N, D). The views go through it as one batch of N V rows,
            so that batch normalisation sees them together.
        entropy: An arrangement: ``Joint``, ``Separate`` or ``Pooled`` around an estimator; or ``Zero``.
        sites: Names of the sites, one per view.
        target: Encoder of all views but the first, where it is another:
            ``ExponentialMovingAverage(encoder)`` for BYOL, ``nn.Sequential(encoder, Normalize())`` for SimSiam. Such
            priors stand under :func:`pyro_ldm.stop_gradient`.

    Shape:
        One tensor (N, ...) per view, to a dict of z (N, D).

    Example:
        >>> guide = Views(torch.nn.Linear(8, 2), ldm.entropy.Separate(ldm.entropy.LogDet()))
        >>> guide(torch.randn(10, 8), torch.randn(10, 8))["z_prime"].shape
        torch.Size([10, 2])
    """

    def __init__(
        self,
        encoder: nn.Module,
        entropy: Entropy,
        *,
        sites: tuple[str, ...] = ("z", "z_prime"),
        target: nn.Module | None = None,
    ):
        super().__init__()
        self.encoder, self.entropy, self.sites, self.target = encoder, entropy, tuple(sites), target

    def forward(self, *views: Tensor) -> dict[str, Tensor]:
        """Encode the views and sample their sites."""
        if len(views) != len(self.sites) or len({v.shape for v in views}) != 1:
            raise ValueError(
                f"expected {len(self.sites)} views of one shape, for sites {list(self.sites)}, "
                f"got {[tuple(v.shape) for v in views]}"
            )
        if self.target is None:
            z = self.encoder(torch.cat(views)).chunk(len(views))
        else:
            z = (self.encoder(views[0]), *self.target(torch.cat(views[1:])).chunk(len(views) - 1))
        with pyro.plate("batch", len(views[0])):
            return sample_views(dict(zip(self.sites, z, strict=True)), self.entropy)
