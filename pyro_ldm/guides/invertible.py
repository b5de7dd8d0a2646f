"""An invertible encoder as an amortized guide: ICA, linear or not."""

from collections.abc import Callable

import pyro
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.encoders.encode import encode
from pyro_ldm.entropy import Entropy, Jacobian


class Invertible(PyroModule):
    r"""One site, :math:`z = f(x)` with f invertible, scored by default by its exact change of variables.

    Args:
        encoder: A square map: a linear layer, any ``torch.distributions`` or Pyro transform, a zuko flow, or any square
            module; see :func:`pyro_ldm.encode`.
        entropy: Estimator of log R; :class:`~pyro_ldm.entropy.Jacobian` by default.
        site: Name of the site.
        reduce: A fixed map that goes first, such as :class:`~pyro_ldm.encoders.PCA`. Its volume does not count: the
            likelihood is that of the reduced data.

    Example:
        >>> guide = Invertible(torch.nn.Linear(2, 2))
        >>> guide(torch.randn(10, 2)).shape
        torch.Size([10, 2])
    """

    def __init__(
        self, encoder: Callable, entropy: Entropy | None = None, *, site: str = "z", reduce: nn.Module | None = None
    ):
        super().__init__()
        self.encoder, self.site, self.reduce = encoder, site, reduce
        self.entropy = Jacobian() if entropy is None else entropy

    def forward(self, x: Tensor, mask: Tensor | None = None) -> Tensor:
        """Encode the batch and sample the site."""
        x = x if self.reduce is None else self.reduce(x)
        pushforward = Pushforward(encode(self.encoder, x), self.entropy, mask=mask)
        with pyro.plate("batch", len(x)):
            return pyro.sample(self.site, pushforward)
