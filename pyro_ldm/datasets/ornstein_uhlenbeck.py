r"""Two Ornstein-Uhlenbeck paths, rotated: Gaussian sources that unequal variances alone tell apart.

.. math:: s_{t+1} = (1 - \theta \, dt) \, s_t + \sigma \sqrt{dt} \, \epsilon_t, \qquad x_t = s_t A

This is the Euler-Maruyama step, as in the paper. With a = 1 - theta dt the chain's own stationary variance is
sigma^2 dt / (1 - a^2), which is sigma^2 / (2 theta) only as dt goes to 0, and its autocorrelation at lag k is a^k.
"""

import math

import numpy as np
import torch

from pyro_ldm.datasets.data import Data, DataError


def ornstein_uhlenbeck(
    num: int = 5000,
    *,
    theta: tuple[float, float] = (2.0, 0.2),
    sigma: float = 0.3,
    dt: float = 0.1,
    angle: float = math.pi / 4,
    seed: int = 0,
) -> Data:
    """Two Ornstein-Uhlenbeck paths mixed by a rotation of 45 degrees (5000 time steps, one datum each).

    The paths start in the chain's stationary distribution. Rows are in the order of time.

    Args:
        num: Number of time steps, of length dt each.
        theta: Rates at which the two paths return to 0, in 1 / time.
        sigma: Noise of both, in x / sqrt(time).
        dt: Time step of the Euler-Maruyama scheme.
        angle: Of the rotation, in radians.
        seed: Seed of the noise.

    Shape:
        x (num, 2); truth (num, 2), the paths; mixing (2, 2).

    Raises:
        DataError: If sigma or dt is not positive, or theta * dt is not between 0 and 2, where the chain is stable.

    References:
        F. A. Mikulasch and F. Zenke (2026), https://arxiv.org/abs/2605.03517, for the parameters;
            its T = 5000 is read as the number of steps.

    Example:
        >>> data = ornstein_uhlenbeck()
        >>> [round(scale, 2) for scale in data.truth.std(0).tolist()]  # 0.158 and 0.477 in the long run
        [0.16, 0.52]
    """
    if not (sigma > 0 and dt > 0 and len(theta) == 2 and all(0 < rate * dt < 2 for rate in theta)):
        raise DataError(
            f"ornstein_uhlenbeck: theta {tuple(theta)}, sigma {sigma}, dt {dt} give no stable pair of paths: "
            "give two rates with 0 < theta * dt < 2, and positive sigma and dt"
        )
    if num < 2:
        raise DataError(f"ornstein_uhlenbeck: num is {num}: give at least 2 time steps")
    from scipy.signal import lfilter  # loaded here, so that importing the package stays fast

    noise = sigma * math.sqrt(dt) * np.random.default_rng(seed).standard_normal((2, num))
    paths = []
    for rate, shocks in zip(theta, noise, strict=True):
        a = 1 - rate * dt
        shocks[0] /= math.sqrt(1 - a**2)  # the first step draws from the stationary distribution
        paths.append(lfilter([1.0], [1.0, -a], shocks))
    truth = torch.as_tensor(np.stack(paths, -1))
    cos, sin = math.cos(angle), math.sin(angle)
    mixing = torch.tensor([[cos, sin], [-sin, cos]], dtype=torch.float64)
    return Data(truth @ mixing, truth=truth, mixing=mixing, name="ornstein_uhlenbeck")
