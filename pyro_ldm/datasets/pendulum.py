r"""Videos of a swinging pendulum, of which a single frame shows the angle and only several the velocity.

.. math:: \dot \theta = \omega, \qquad \dot \omega = -\sin \theta, \qquad
    x_t = \mathrm{dot}(\sin \theta_t, -\cos \theta_t) + \sigma \epsilon_t
"""

import math

import numpy as np
import torch

from pyro_ldm.datasets.data import Data, DataError
from pyro_ldm.datasets.frames import add_noise, draw_dots
from pyro_ldm.datasets.runge_kutta import rk4_step


def pendulum(
    num: int = 500,
    *,
    num_steps: int = 50,
    dt: float = 0.3,
    amplitude: float = 2.5,
    noise: float = 0.05,
    seed: int = 0,
) -> Data:
    """A swinging pendulum without friction, 16 x 16 pixels, with the angle and its rate (500 series of 50 steps).

    Time is in units of sqrt(length / gravity): a small swing takes 2 pi. The bob is a Gaussian dot of peak 1 and of
    standard deviation 1 pixel; the frame spans [-1.5, 1.5] in units of the length, the pivot at its center.

    Args:
        num: Number of series.
        num_steps: Steps of each.
        dt: Time between two frames.
        amplitude: Largest angle that any of them may reach, in radians, below pi: none goes over the top.
        noise: Standard deviation sigma of a pixel's noise.
        seed: Seed of everything random.

    Shape:
        x (num, num_steps, 1, 16, 16); truth (num, num_steps, 2): the angle in radians, 0 at the bottom, and its rate.

    Raises:
        DataError: If a number is out of its range.

    Example:
        >>> pendulum(num=10)
        Data('pendulum', 10 x (50, 1, 16, 16), truth)
    """
    if num < 2 or num_steps < 1 or not dt > 0 or not 0 < amplitude < math.pi or not noise >= 0:
        raise DataError(
            f"pendulum: {num} series of {num_steps} steps, dt {dt}, amplitude {amplitude}, noise {noise}: give at "
            "least 2 series and 1 step, positive dt, an amplitude between 0 and pi, and noise of 0 or more"
        )
    rng = np.random.default_rng(seed)
    angle = rng.uniform(-amplitude, amplitude, num)
    fastest = np.sqrt(2 * (np.cos(angle) - math.cos(amplitude)))  # at this angle, with the energy of the amplitude
    state = np.stack([angle, rng.uniform(-1, 1, num) * fastest], -1)
    path = np.empty((num, num_steps, 2))
    pieces = math.ceil(dt / 0.1)
    for t in range(num_steps):
        path[:, t] = state
        for _ in range(pieces):
            state = rk4_step(_flow, state, dt / pieces)
    x = draw_dots(np.stack([np.sin(path[..., 0]), -np.cos(path[..., 0])], -1), size=16, extent=1.5)
    add_noise(x, noise**2, rng)
    return Data(torch.from_numpy(x), truth=torch.from_numpy(path), name="pendulum")


def _flow(state: np.ndarray) -> np.ndarray:
    return np.stack([state[..., 1], -np.sin(state[..., 0])], -1)
