"""A guide of series that knows their future, and its own last state."""

from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_ldm.baselines.deep_markov import located_and_scaled
from pyro_ldm.distributions.autoregressive import Autoregressive
from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.entropy import Conditional, Entropy


class StructuredGuide(PyroModule):
    r"""States given the whole series, as the posterior of a Markov model has them: by the last one, and what follows.

    .. math:: q(z_{1:T} \mid x) = \prod_t \mathcal N\bigl(z_t;\, \mu(c_t), \mathrm{diag}\, \sigma^2(c_t)\bigr),
        \qquad c_t = \tfrac12 \bigl(\tanh(z_{t-1} W + b) + r_t\bigr), \qquad
        r_{1:T} = \mathrm{GRU}^{\leftarrow}(\mathrm{encoder}(x_{1:T}))

    Args:
        encoder: From one datum of a series (N, ...) to features (N, F).
        latent_dim: D.
        features: F.
        hidden: Width of the recurrent network, which runs from the last step to the first.
        entropy: How the series of states is scored; by its conditional by default, as a VAE's guide is.
        site: Name of the site.

    Shape:
        x (N, T, ...), and optionally a boolean mask (N, T), to z (N, T, D). What is masked is not looked at.

    References:
        Krishnan, Shalit and Sontag (2017), Structured inference networks for nonlinear state space models, section 4
        (there "DKS"), https://arxiv.org/abs/1609.09869

    Example:
        >>> guide = StructuredGuide(torch.nn.Linear(8, 16), 2, features=16)
        >>> guide(torch.randn(5, 10, 8)).shape
        torch.Size([5, 10, 2])
    """

    def __init__(
        self,
        encoder: nn.Module,
        latent_dim: int,
        *,
        features: int,
        hidden: int = 64,
        entropy: Entropy | None = None,
        site: str = "z",
    ):
        super().__init__()
        self.encoder, self.latent_dim, self.site = encoder, latent_dim, site
        self.entropy = Conditional() if entropy is None else entropy
        self.backward_network = nn.GRU(features, hidden, batch_first=True)
        self.combiner = Combiner(latent_dim, hidden)

    def conditional(self, x: Tensor, mask: Tensor | None = None) -> "States":
        """q(z | x), of batch shape (N,) and event shape (T, D)."""
        if mask is not None:
            x = x.masked_fill(~mask.reshape(*mask.shape, *[1] * (x.dim() - mask.dim())), 0)
        features = self.encoder(x.flatten(0, 1)).unflatten(0, x.shape[:2])
        if mask is not None:
            features = features.masked_fill(~mask.reshape(len(x), -1, 1), 0.0)
        future = self.backward_network(features.flip(1))[0].flip(1)
        return States(self.combiner, located_and_scaled, x.shape[1], self.latent_dim, inputs=future)

    def forward(self, x: Tensor, *others: Tensor) -> Tensor:
        """Sample the states of each series."""
        mask = next((other for other in others if other.dtype == torch.bool), None)
        pushforward = Pushforward(self.conditional(x, mask), self.entropy)
        with pyro.plate("batch", len(x)):
            return pyro.sample(self.site, pushforward)


class Combiner(nn.Module):
    """From the last state and what follows, (..., D + H), to mean and scale before a softplus, (..., 2 D)."""

    def __init__(self, latent_dim: int, hidden: int):
        super().__init__()
        self.latent_dim = latent_dim
        self.last, self.head = nn.Linear(latent_dim, hidden), nn.Linear(hidden, 2 * latent_dim)

    def forward(self, last_and_future: Tensor) -> Tensor:
        """Parameters of each state."""
        last, future = last_and_future.split([self.latent_dim, last_and_future.shape[-1] - self.latent_dim], -1)
        return self.head(0.5 * (self.last(last).tanh() + future))


class States(Autoregressive):
    """Series of states, each given the one before it and no other: drawn in time linear in their number."""

    @property
    def mean(self) -> Tensor:
        """The path of means: of each state, given the mean before it."""
        return self._path(self._empty(()), self.event_shape[0], self.inputs, lambda fn: fn.mean)

    def _extend(self, past: Tensor, steps: int, inputs: Tensor | None) -> Tensor:
        return self._path(past, steps, inputs, lambda fn: fn())

    def _path(self, past: Tensor, steps: int, inputs: Any, choose: Callable) -> Tensor:
        """The states so far, and as many more, each chosen from its distribution given the last."""
        lead, length = past.shape[:-2], past.shape[-2]
        last = past[..., -1, :] if length else self.start.expand(*lead, -1)
        path = [past]
        for future in inputs.expand(*lead, *inputs.shape[-2:])[..., length : length + steps, :].unbind(-2):
            parameters = self.predictor(torch.cat([last, future], -1))
            parameters = parameters.to(torch.promote_types(parameters.dtype, torch.float32))  # half under autocast
            last = choose(self.noise(parameters))
            path.append(last.unsqueeze(-2))
        return torch.cat(path, -2)
