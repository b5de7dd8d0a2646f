"""Draws of a state space: of its noise, and of the series that the noise makes."""

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_ldm.distributions.state_space.filter import Model
from pyro_ldm.distributions.state_space.recurrence import linear_recurrence
from pyro_ldm.distributions.state_space.small import rows, transpose


class Noise(NamedTuple):
    r"""What a series is made of.

    Attributes:
        start: h_0 (\*batch, S).
        process: w (T, \*batch, S).
        observation: v (T, \*batch, L).
    """

    start: Tensor
    process: Tensor
    observation: Tensor


def draw_noise(model: Model, shape: torch.Size, num_steps: int) -> Noise:
    """Draws for as many series as ``shape`` has, reparameterised."""
    like = model.transition

    def draw(steps: int, covariance: Tensor) -> Tensor:
        noise = torch.randn((steps, *shape, covariance.shape[-1]), dtype=like.dtype, device=like.device)
        return rows(noise, transpose(torch.linalg.cholesky(covariance)))

    start = draw(1, model.initial_noise.unsqueeze(0))[0] + model.initial
    return Noise(start, draw(num_steps, model.transition_noise), draw(num_steps, model.observation_noise))


def simulate(model: Model, noise: Noise) -> tuple[Tensor, Tensor]:
    r"""States h_0 to h_T (T + 1, \*batch, S) and observations (T, \*batch, L), less the observations' mean."""
    matrix = model.transition.expand(len(noise.process), *model.transition.shape[1:])
    states = linear_recurrence(matrix, noise.process + model.drift, noise.start)
    observations = rows(states, model.observation) + noise.observation
    return torch.cat([noise.start.unsqueeze(0), states]), observations
