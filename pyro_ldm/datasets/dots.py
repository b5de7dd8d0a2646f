r"""Videos of a moving dot: five worlds with known positions, from a noisy circle to a swirled random walk.

.. math:: x_t = \mathrm{dot}(p_t) + \sqrt{v_t} \, \epsilon_t, \qquad p_{t+1} = g(p_t) + \text{process noise}

To add a world, write its motion in `motions.py` and add a line to the table and a name to the signature here.
"""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np
import torch

from pyro_ldm.datasets import motions
from pyro_ldm.datasets.data import Data, DataError
from pyro_ldm.datasets.frames import add_noise, draw_dots, swirl


@dataclass(frozen=True)
class World:
    """A motion and what the camera makes of it: the mean variance of a pixel's noise, and whether frames differ in it.

    Noise that varies has the variance max(0, E - 0.3 noise) in a frame, E exponential with mean `noise`.
    """

    motion: Callable[[np.random.Generator, int, int], motions.Motion]
    noise: float = 0.0
    varying: bool = False
    swirled: bool = False


_WORLDS = {
    "circle": World(motions.circle, noise=0.3, varying=True),
    "figure_eight": World(motions.figure_eight, noise=0.01),
    "square": World(motions.square, noise=0.1),
    "jumps": World(motions.jumps, noise=0.15),
    "wobbly": World(motions.wobbly, swirled=True),
}


def dots(
    world: Literal["circle", "figure_eight", "square", "jumps", "wobbly"] = "circle",
    *,
    num: int = 1000,
    num_steps: int = 100,
    seed: int = 0,
) -> Data:
    """Videos of a dot on a circle or another path, 10 x 10 pixels, with its position (1000 series of 100 steps).

    The dot is a Gaussian of peak 1 and of standard deviation 1 pixel on 0. The centers of the pixels span [-3, 3] in
    both directions, so that a pixel is 2/3 of a unit of position wide; row 0 is at the top, y = 3.

    ==============  ================================================  ================================================
    world           motion (variances per step and coordinate)        variance of the pixels' noise
    ==============  ================================================  ================================================
    circle          radius 1, 20 steps a turn, noise of variance      one per frame, max(0, E - 0.09), E exponential
                    .05, then put back onto the circle                with mean 0.3
    figure_eight    (cos a, sin a cos a), 20 steps a turn             .01
    square          side 2, constant speed, 20 steps a turn           .1
    jumps           the circle; before 1 % of the steps it jumps      .15
                    ahead by 135 degrees
    wobbly          r' = 2 cos(4 (a + 3 pi / 8)), a' = 1, steps of    none, but the frame is swirled by 10 radians at
                    .3, noise of variance .1                          the center and 8 in the corners
    ==============  ================================================  ================================================

    Each series starts at a random phase. The wobbly dot is kept in view: at the distance 2.5 it is reflected. A linear
    map of one frame recovers the position with an R2 of 0.75, 0.97, 0.87, 0.82 and 1.00 (in the table's order): the
    centroid of a frame without noise is linear in it, swirled or not. Report it beside every figure.

    Args:
        world: One of the five.
        num: Number of series.
        num_steps: Steps of each.
        seed: Seed of everything random; the global random state is left as it was.

    Shape:
        x (num, num_steps, 1, 10, 10). truth (num, num_steps, 2): the position, but of `square` its phase as a point of
        the unit circle (`motions.on_square` takes it to the position). y (num, num_steps), of `jumps` only: 1 at the
        first step after a jump, else 0.

    Raises:
        DataError: If there is no such world, or fewer than 2 series or 1 step.

    References:
        F. A. Mikulasch and F. Zenke (2026), https://arxiv.org/abs/2605.03517, for the worlds. That the variances are
            per step, the scale of the frame, the sign of the jumps and the reflection are our reading.

    Example:
        >>> dots("jumps", num=10)
        Data('dots:jumps', 10 x (100, 1, 10, 10), y, truth)
    """
    if world not in _WORLDS:
        raise DataError(f"dots: there is no world {world!r}: give one of {', '.join(_WORLDS)}")
    if num < 2 or num_steps < 1:
        raise DataError(f"dots: {num} series of {num_steps} steps: give at least 2 series and 1 step")
    chosen, rng = _WORLDS[world], np.random.default_rng(seed)
    position, truth, labels = chosen.motion(rng, num, num_steps)
    x = draw_dots(position, size=10, extent=3.0)
    if chosen.swirled:
        x = swirl(x)
    if chosen.noise:
        variance: np.ndarray | float = chosen.noise
        if chosen.varying:
            variance = np.maximum(0, rng.exponential(chosen.noise, (num, num_steps)) - 0.3 * chosen.noise)
        add_noise(x, variance, rng)
    return Data(
        torch.from_numpy(x),
        y=None if labels is None else torch.from_numpy(labels),
        truth=torch.from_numpy(position if truth is None else truth),
        name=f"dots:{world}",
    )
