"""Latents of a density that is learned: a normalising flow."""

from collections.abc import Callable
from typing import Any

import pyro
from pyro import distributions as dist
from torch import Tensor

from pyro_ldm.priors.base import Prior


class Flow(Prior):
    r"""A normalising flow over the latents: any density, learned.

    .. math:: P(z) = \mathcal N(f(z); 0, I) \left| \det \frac{\partial f}{\partial z} \right|

    A learned prior matches whatever the encoder gives: alone it says nothing of the latents, and a decoder, or a second
    view, has to. It needs zuko, ``pip install 'pyro_ldm[flows]'``.

    Args:
        latent_dim: D.
        flow: From D to a zuko flow: the class of one, or a function with settings of its own. By default a neural
            spline flow of 3 transforms.

    Shape:
        z (N, D), N the length of the batch.

    Raises:
        ImportError: If there is no zuko.
        ValueError: If the flow is of another dimension.

    References:
        Rezende and Mohamed (2015), Variational inference with normalizing flows, eq. 5, https://arxiv.org/abs/1505.05770;
        Durkan et al. (2019), Neural spline flows, https://arxiv.org/abs/1906.04032

    Example:
        >>> Flow(2)(range(5)).shape
        torch.Size([5, 2])
    """

    def __init__(self, latent_dim: int, flow: Callable[[int], Any] | None = None):
        super().__init__(latent_dim)
        self.flow = _spline_flow(latent_dim) if flow is None else flow(latent_dim)
        if not hasattr(self.flow, "transform") or not hasattr(self.flow, "base"):
            raise TypeError(f"flow makes a zuko flow of D dims, such as zuko.flows.MAF, got {type(self.flow).__name__}")
        if tuple(self.distribution().event_shape) != (latent_dim,):
            got = tuple(self.distribution().event_shape)
            raise ValueError(f"the flow is of event shape {got}, and latent_dim is {latent_dim}: make it of as many")

    def distribution(self) -> dist.TorchDistribution:
        """The density, as Pyro takes it."""
        return dist.TransformedDistribution(self.flow.base(), [self.flow.transform().inv])

    def forward(self, *batch) -> Tensor:
        """Sample z (N, D); the first tensor of the batch gives N."""
        density = self.distribution()
        with pyro.plate("batch", len(batch[0])):
            return pyro.sample("z", density)


def _spline_flow(latent_dim: int) -> Any:
    try:
        import zuko
    except ImportError as error:
        raise ImportError("priors.Flow needs zuko: pip install 'pyro_ldm[flows]'") from error
    return zuko.flows.NSF(latent_dim, transforms=3, hidden_features=(64, 64))
