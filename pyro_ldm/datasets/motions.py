r"""How the dot of `dots` moves: one function per world.

.. math:: p_{t+1} = g(p_t) + \text{noise}

A motion takes a generator and the numbers of series and steps, and returns a `Motion`. Positions in the plane are
complex numbers while they are computed: a turn is a product.
"""

import math
from typing import NamedTuple

import numpy as np

from pyro_ldm.datasets.runge_kutta import rk4_step

VIEW = 2.5  # the wobbly dot stays within this distance of the center, so that all of it is seen


class Motion(NamedTuple):
    """Where a dot is; what is to be decoded, where that is not its position; and labels of the steps.

    Shape:
        position (N, T, 2); truth (N, T, 2); labels (N, T), integers.
    """

    position: np.ndarray
    truth: np.ndarray | None = None
    labels: np.ndarray | None = None


def circle(rng: np.random.Generator, num: int, num_steps: int) -> Motion:
    """Radius 1, 20 steps a turn; noise of variance .05 a step and coordinate, then back onto the circle."""
    turns = np.full((num, num_steps), np.exp(2j * math.pi * 0.1 / 2))
    return Motion(_pairs(_around(rng, turns)))


def jumps(rng: np.random.Generator, num: int, num_steps: int) -> Motion:
    """The circle, but before 1 % of the steps the dot jumps ahead by 135 degrees; labels are 1 where it has."""
    labels = rng.random((num, num_steps)) < 0.01
    labels[:, 0] = False  # nothing to jump from
    turns = np.exp(1j * (2 * math.pi * 0.1 / 2 + 0.75 * math.pi * labels))
    return Motion(_pairs(_around(rng, turns)), labels=labels.astype(np.int64))


def figure_eight(rng: np.random.Generator, num: int, num_steps: int) -> Motion:
    """(cos a, sin a cos a) with a from a random start ahead by pi / 10 a step, without noise."""
    angle = _angle(rng, num, num_steps, turn=math.pi * 0.1)
    return Motion(np.stack([np.cos(angle), np.sin(angle) * np.cos(angle)], -1))


def square(rng: np.random.Generator, num: int, num_steps: int) -> Motion:
    """Along a square of side 2 at constant speed, 20 steps a turn; the truth is the phase, as a point of the circle."""
    angle = _angle(rng, num, num_steps, turn=2 * math.pi * 0.2 / 4)
    phase = np.stack([np.cos(angle), np.sin(angle)], -1)
    return Motion(on_square(phase), truth=phase)


def wobbly(rng: np.random.Generator, num: int, num_steps: int) -> Motion:
    """The polar flow r' = a k cos(k (angle - b)), angle' = 1, with noise of variance .1 a step and coordinate.

    a = .5, k = 4, b = -3 pi / 8, from a random point of the unit circle, by steps of .3. The flow pulls to no orbit, so
    that the noise alone would take a third of the positions out of view: a dot that leaves the disc of radius 2.5 is
    reflected at its edge, which befalls 8 % of the steps.
    """

    def flow(state: np.ndarray) -> np.ndarray:
        rate = 0.5 * 4 * np.cos(4 * (state[..., 1] + 3 * math.pi / 8))
        return np.stack([rate, np.ones_like(rate)], -1)

    dots = np.exp(1j * rng.uniform(0, 2 * math.pi, num))
    path = np.empty((num, num_steps), complex)
    for t in range(num_steps):
        path[:, t] = dots
        radius, angle = rk4_step(flow, np.stack([np.abs(dots), np.angle(dots)], -1), 0.3).T
        dots = radius * np.exp(1j * angle) + _noise(rng, num, variance=0.1)
        distance = np.abs(dots)
        dots *= np.where(distance > VIEW, np.maximum(2 * VIEW - distance, 0) / distance, 1)
    return Motion(_pairs(path))


def on_square(phase: np.ndarray) -> np.ndarray:
    """The points of the square with corners (+-1, +-1) that lie as far around it as points of the circle do.

    The truth of the world `square` to its dot's position.

    Shape:
        (..., 2) to (..., 2).

    Example:
        >>> import numpy as np
        >>> on_square(np.array([[1.0, 0.0], [0.5**0.5, 0.5**0.5], [0.0, -2.0]])).round(6).tolist()
        [[1.0, 0.0], [1.0, 1.0], [0.0, -1.0]]
    """
    turns = np.arctan2(phase[..., 1], phase[..., 0]) / (2 * math.pi)
    # Each coordinate falls from 1 to -1 and rises again, and rests for a quarter of a turn at either end.
    distances = (np.abs(turns - lag - np.round(turns - lag)) for lag in (0, 0.25))
    return np.stack([np.clip(2 - 8 * distance, -1, 1) for distance in distances], -1)


def _around(rng: np.random.Generator, turns: np.ndarray) -> np.ndarray:
    """Points of the circle that each step turns, blurs, and puts back onto it; the first turn is of the start."""
    dots = np.exp(1j * rng.uniform(0, 2 * math.pi, len(turns)))
    path = np.empty(turns.shape, complex)
    for t in range(turns.shape[1]):
        path[:, t] = dots
        if t + 1 < turns.shape[1]:
            dots = dots * turns[:, t + 1] + _noise(rng, len(turns), variance=0.05)
            dots /= np.abs(dots)
    return path


def _angle(rng: np.random.Generator, num: int, num_steps: int, *, turn: float) -> np.ndarray:
    return rng.uniform(0, 2 * math.pi, (num, 1)) + turn * np.arange(num_steps)


def _noise(rng: np.random.Generator, num: int, *, variance: float) -> np.ndarray:
    real, imaginary = rng.standard_normal((2, num))
    return math.sqrt(variance) * (real + 1j * imaginary)


def _pairs(path: np.ndarray) -> np.ndarray:
    return np.stack([path.real, path.imag], -1)
