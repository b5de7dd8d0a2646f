"""The deep Markov model: series whose next state is a nonlinear function of the last, noise included."""

import torch
import torch.nn.functional as F
from pyro import distributions as dist
from torch import Tensor, nn

from pyro_ldm.distributions.autoregressive import Autoregressive
from pyro_ldm.priors import Series


class DeepMarkov(Series):
    r"""Series of states under a gated transition: between a linear map and a network, dim by dim.

    .. math:: z_t \mid z_{t-1} \sim \mathcal N\bigl(g \odot n(z_{t-1}) + (1 - g) \odot (z_{t-1} W + b),\;
        \mathrm{softplus}(n(z_{t-1}) V + c)^2\bigr), \qquad g = \sigma(m(z_{t-1}))

    with z_0, and the networks n and m, learned. With a decoder (:class:`Generative`) and a :class:`StructuredGuide` it
    is a deep Markov model; with a deterministic encoder and an entropy, its latent distribution matching.

    Args:
        latent_dim: D.
        hidden: Width of the networks.
        num_steps: T; by default that of the batch, ``x.shape[1]``. ``prior(range(n))`` needs it.

    Shape:
        Called with x (N, T, ...); z (N, T, D). A mask beside x is the likelihood's: states are there at every step.

    References:
        Krishnan, Shalit and Sontag (2017), Structured inference networks for nonlinear state space models, section 5,
        https://arxiv.org/abs/1609.09869

    Example:
        >>> DeepMarkov(2, num_steps=10)(range(5)).shape
        torch.Size([5, 10, 2])
    """

    def __init__(self, latent_dim: int, *, hidden: int = 64, num_steps: int | None = None):
        super().__init__(latent_dim, num_steps)
        self.start = nn.Parameter(torch.zeros(latent_dim))
        self.transition = GatedTransition(latent_dim, hidden)

    def distribution(self, *batch) -> Autoregressive:
        """The distribution of z for this batch: ``prior.distribution(x).rollout(z, steps, num_samples)`` forecasts."""
        steps = self.parts(batch).num_steps
        return Autoregressive(self.transition, located_and_scaled, steps, self.latent_dim, start=self.start)


class GatedTransition(nn.Module):
    """From a state (..., D) to the next one's mean, and its scale before a softplus, (..., 2 D)."""

    def __init__(self, latent_dim: int, hidden: int):
        super().__init__()
        self.gate = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, latent_dim), nn.Sigmoid())
        self.proposal = nn.Sequential(nn.Linear(latent_dim, hidden), nn.ReLU(), nn.Linear(hidden, latent_dim))
        self.linear, self.scale = nn.Linear(latent_dim, latent_dim), nn.Linear(latent_dim, latent_dim)
        with torch.no_grad():  # from a random walk
            self.linear.weight.copy_(torch.eye(latent_dim))
            self.linear.bias.zero_()

    def forward(self, state: Tensor) -> Tensor:
        """Mean and scale of the next state."""
        gate, proposal = self.gate(state), self.proposal(state)
        loc = gate * proposal + (1 - gate) * self.linear(state)
        return torch.cat([loc, self.scale(proposal.relu())], -1)


def located_and_scaled(parameters: Tensor) -> dist.TorchDistribution:
    """Gaussians (..., D) of means and scales before a softplus, (..., 2 D)."""
    loc, scale = parameters.chunk(2, -1)
    return dist.Normal(loc, F.softplus(scale) + 1e-3).to_event(1)
