r"""Are values uniform on (0, 1)? The empirical distribution function, within a band that holds all of it at once.

With n values, the count below t is binomial, :math:`B(n, t)`, if they are. The departure of a sample is the least
two-sided tail probability of its counts over a grid of t; its distribution, for uniform samples, is simulated.

References:
    Säilynoja, Bürkner and Vehtari (2022), Graphical test for discrete uniformity and its applications in goodness of
    fit evaluation and multiple sample comparison, https://arxiv.org/abs/2103.10522 (their band by simulation).
"""

from functools import lru_cache

import numpy as np

POINTS = 100  # of the grid, at most
SIMULATED = 20_000  # uniform samples


def ecdf_p_value(values: np.ndarray) -> float:
    """p-value of the largest departure of an ECDF from the diagonal.

    Args:
        values: In (0, 1), independent, (n,).

    Example:
        >>> values = np.random.default_rng(0).uniform(size=200)
        >>> ecdf_p_value(values) > 0.05, ecdf_p_value(values**2) < 0.001
        (True, True)
    """
    grid, tails, null = _departure(len(values))
    counts = np.searchsorted(np.sort(values), grid, side="right")
    least = tails[counts, np.arange(len(grid))].min()
    simulated = (np.searchsorted(null, least, side="right") + 1) / (len(null) + 1)
    return float(min(simulated, len(grid) * least))  # Bonferroni's is sharper beyond what was simulated


def ecdf_band(num: int, level: float) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Band that the ECDF of uniform values leaves anywhere with probability ``level``.

    Args:
        num: n.
        level: In (0, 1).

    Shape:
        Grid in (0, 1), lowest and highest share, (points,) each.

    Example:
        >>> grid, low, high = ecdf_band(100, 0.05)
        >>> float(low[49]), float(high[49])          # at t = 1/2
        (0.36, 0.64)
    """
    grid, tails, null = _departure(num)
    inside = tails > np.quantile(null, level)
    return grid, inside.argmax(axis=0) / num, (num - inside[::-1].argmax(axis=0)) / num


@lru_cache(maxsize=8)
def _departure(num: int) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Grid, tail probability of each count at each point (n + 1, points), and sorted departures of uniform samples."""
    from scipy.stats import binom

    points = min(POINTS, num)
    grid = np.arange(1, points) / points
    count = np.arange(num + 1)[:, None]
    tails = np.minimum(1.0, 2 * np.minimum(binom.cdf(count, num, grid), binom.sf(count - 1, num, grid)))
    counts = np.random.default_rng(0).multinomial(num, np.full(points, 1 / points), size=SIMULATED).cumsum(axis=1)
    return grid, tails, np.sort(tails[counts[:, :-1], np.arange(points - 1)].min(axis=1))
