r"""Videos of a dot that known actions push and a spring pulls back, with a blur that distracts from it.

.. math:: p_t = \rho \, p_{t-1} + a_t, \qquad
    x_t = \mathrm{dot}(p_t) + b \, \mathrm{blur}(q_t) + \sigma \epsilon_t, \qquad q_t \sim U([-2, 2]^2)
"""

import math

import numpy as np
import torch

from pyro_ldm.datasets.data import Data, DataError
from pyro_ldm.datasets.frames import add_noise, draw_dots

_KEPT = 0.9  # rho: the spring takes the rest


def pushed_dot(
    num: int = 1000,
    *,
    num_steps: int = 20,
    push: float = 0.4,
    distraction: float = 0.5,
    noise: float = 0.1,
    seed: int = 0,
) -> Data:
    """A dot pushed by known actions and pulled back by a spring, 12 x 12 pixels, with its position (1000 series of 20).

    A step keeps 0.9 of the position and adds the action. That alone moves the dot: who knows a position and the actions
    since knows where it is. The dot is a Gaussian of peak 1 and of standard deviation 1 pixel; the frame spans [-3, 3]
    in both directions, which holds 3.3 standard deviations of the position. The blur is a second dot, 2 pixels wide and
    elsewhere in every frame: nothing predicts it. A linear map of one frame recovers the position with an R2 of 0.42,
    without the blur of 0.90: report it beside every figure.

    Args:
        num: Number of series.
        num_steps: Steps of each.
        push: Standard deviation of an action's coordinates, in units of position.
        distraction: Peak b of the blur.
        noise: Standard deviation sigma of a pixel's noise.
        seed: Seed of everything random; the global random state is left as it was.

    Shape:
        x (num, num_steps, 1, 12, 12); inputs (num, num_steps, 2): the actions, of which a_t leads into step t, and the
        first from rest into a start that is stationary; truth (num, num_steps, 2): the position, as in a plot.

    Raises:
        DataError: If a number is out of its range.

    Example:
        >>> pushed_dot(num=10)
        Data('pushed_dot', 10 x (20, 1, 12, 12), truth, inputs)
    """
    if num < 2 or num_steps < 1 or not push > 0 or not distraction >= 0 or not noise >= 0:
        raise DataError(
            f"pushed_dot: {num} series of {num_steps} steps, push {push}, distraction {distraction}, noise {noise}: "
            "give at least 2 series and 1 step, a positive push, and distraction and noise of 0 or more"
        )
    rng = np.random.default_rng(seed)
    actions = push * rng.standard_normal((num, num_steps, 2))
    position = np.empty((num, num_steps, 2))
    position[:, 0] = actions[:, 0] / math.sqrt(1 - _KEPT**2)
    for t in range(1, num_steps):
        position[:, t] = _KEPT * position[:, t - 1] + actions[:, t]
    x = draw_dots(position, size=12, extent=3.0)
    elsewhere = rng.uniform(-2, 2, position.shape)
    x += np.float32(distraction) * draw_dots(elsewhere, size=12, extent=3.0, width=2.0)
    add_noise(x, noise**2, rng)
    return Data(
        torch.from_numpy(x),
        truth=torch.from_numpy(position),
        inputs=torch.from_numpy(actions),
        name="pushed_dot",
    )
