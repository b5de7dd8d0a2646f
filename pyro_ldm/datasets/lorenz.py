r"""The Lorenz attractor behind a fixed, smooth and invertible network.

.. math:: \dot a = 10 (b - a), \qquad \dot b = a (28 - c) - b, \qquad \dot c = a b - \tfrac83 c, \qquad
    x_t = \tanh(2 y_t B + \beta) \, C + \sigma \epsilon_t

with y_t = (a, b, c) brought to about unit variance, B and C orthogonal, and y_t B of about unit variance as well.
"""

import numpy as np
import torch

from pyro_ldm.datasets.data import Data, DataError
from pyro_ldm.datasets.runge_kutta import rk4_step

_MEAN, _SCALE = np.array([0.0, 0.0, 23.5]), np.array([7.9, 9.0, 8.6])  # of the attractor, in the long run
_DT = 0.01  # of the integration; finer sampling than this takes one step each


def lorenz(
    num: int = 500,
    *,
    num_steps: int = 100,
    dt: float = 0.05,
    observed_dim: int = 10,
    noise: float = 0.05,
    seed: int = 0,
    world_seed: int = 0,
) -> Data:
    """The Lorenz attractor seen through a fixed network, 10 numbers a step (500 series of 100 steps).

    A linear map of x recovers the state with an R2 of about 0.97.

    Args:
        num: Number of series. Each begins on the attractor, at a place of its own.
        num_steps: Steps of each.
        dt: Time between two steps.
        observed_dim: Observed dims, at least 3.
        noise: Standard deviation sigma of the observations' noise; the signal's is about 0.65.
        seed: Seed of the series.
        world_seed: Seed of the network, so that several sets can be drawn from one world.

    Shape:
        x (num, num_steps, observed_dim); truth (num, num_steps, 3), the state (a, b, c).

    Raises:
        DataError: If a number is out of its range.

    References:
        E. N. Lorenz (1963), https://doi.org/10.1175/1520-0469(1963)020<0130:DNF>2.0.CO;2, equations 25 to 27.

    Example:
        >>> lorenz(num=10)
        Data('lorenz', 10 x (100, 10), truth)
    """
    if num < 2 or num_steps < 1 or not dt > 0 or observed_dim < 3 or not noise >= 0:
        raise DataError(
            f"lorenz: {num} series of {num_steps} steps, dt {dt}, observed_dim {observed_dim}, noise {noise}: "
            "give at least 2 series, 1 step and 3 observed dims, positive dt and noise of 0 or more"
        )
    world, rng = np.random.default_rng([0, world_seed]), np.random.default_rng([1, seed])
    state = _MEAN + _SCALE * rng.standard_normal((num, 3))
    state = _advanced(state, 10.0)  # by then it is on the attractor
    path = np.empty((num, num_steps, 3))
    for t in range(num_steps):
        path[:, t] = state
        state = _advanced(state, dt)
    first = np.linalg.qr(world.standard_normal((observed_dim, 3)))[0].T * 2 * np.sqrt(observed_dim / 3)
    last = np.linalg.qr(world.standard_normal((observed_dim, observed_dim)))[0]
    x = np.tanh((path - _MEAN) / _SCALE @ first + 0.5 * world.standard_normal(observed_dim)) @ last
    x += noise * rng.standard_normal(x.shape)
    return Data(torch.from_numpy(x), truth=torch.from_numpy(path), name="lorenz")


def _flow(state: np.ndarray) -> np.ndarray:
    a, b, c = np.moveaxis(state, -1, 0)
    return np.stack([10 * (b - a), a * (28 - c) - b, a * b - 8 / 3 * c], -1)


def _advanced(state: np.ndarray, time: float) -> np.ndarray:
    pieces = max(1, round(time / _DT))
    for _ in range(pieces):
        state = rk4_step(_flow, state, time / pieces)
    return state
