"""A multilayer perceptron that decodes."""

import math
from collections.abc import Sequence

from torch import nn

from pyro_ldm.encoders import MLP


class MLPDecoder(nn.Sequential):
    """Multilayer perceptron from latents to data of any shape: the mirror image of :class:`pyro_ldm.encoders.MLP`.

    Without batch normalisation: what a latent is decoded to depends on no other.

    Args:
        latent_dim: Latent dims.
        out_shape: Shape of a datum, such as (1, 28, 28).
        hidden: Width of each hidden layer.
        activation: Class of the nonlinearity.

    Shape:
        z (N, latent_dim) to (N, *out_shape).

    Example:
        >>> MLPDecoder(2, (1, 8, 8), hidden=[32])(torch.randn(5, 2)).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        latent_dim: int,
        out_shape: Sequence[int],
        *,
        hidden: Sequence[int] = (512, 512),
        activation: type[nn.Module] = nn.ReLU,
    ):
        body = MLP(latent_dim, math.prod(out_shape), hidden=hidden, activation=activation, batch_norm=False)
        super().__init__(body, nn.Unflatten(1, tuple(out_shape)))
