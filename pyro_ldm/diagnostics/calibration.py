r"""Calibration: do the bands of Gaussian predictions hold the values as often as they say?

For predictions :math:`N(\mu, \sigma^2)` of values s, with :math:`u = (s - \mu) / \sigma`:

.. math:: \text{coverage}_p = \operatorname{mean} 1\bigl[|u| \le \Phi^{-1}(\tfrac{1 + p}{2})\bigr], \qquad
    \text{PIT} = \Phi(u)

The last axis is that of coordinates; a mask says which entries of the axes before it count.
"""

from collections.abc import Sequence
from typing import NamedTuple

import numpy as np

from pyro_ldm.diagnostics.predictions import standardised
from pyro_ldm.diagnostics.rows import Array


class Coverage(NamedTuple):
    """What :func:`coverage` found.

    Args:
        levels: Nominal probabilities of the central bands, (L,).
        share: Share of the values within each band, over steps and coordinates, (L,).
        per_dim: The same for every coordinate, (L, K).
    """

    levels: np.ndarray
    share: np.ndarray
    per_dim: np.ndarray


class PIT(NamedTuple):
    """What :func:`pit` found.

    Args:
        values: Probability integral transforms in [0, 1] of the steps that count, in order, (M, K).
        distance: Kolmogorov-Smirnov distance of each coordinate's values from the uniform distribution, (K,).
    """

    values: np.ndarray
    distance: np.ndarray


def coverage(
    loc: Array,
    scale: Array | float,
    value: Array,
    *,
    levels: Sequence[float] = (0.5, 0.8, 0.95),
    mask: Array | None = None,
) -> Coverage:
    """Share of the values within the central bands of Gaussian predictions.

    A share below its level says that the bands are too narrow, one above that they are too wide. Wide bands cover too:
    compare predictions by :func:`gaussian_crps` or :func:`log_score`. Over n independent steps a calibrated share has a
    standard error of sqrt(p (1 - p) / n); the steps of one series are dependent, and theirs is larger.

    Args:
        loc: Predicted means.
        scale: Predicted standard deviations, positive; anything that broadcasts to value.
        value: What came true.
        levels: Probabilities of the bands, in (0, 1).
        mask: Boolean, True where a step counts; the numbers of the others may be NaN.

    Shape:
        loc and value (..., K), mask (...), to a :class:`Coverage`.

    Raises:
        ValueError: If shapes do not fit, a number that counts is not finite, a scale is not positive, or a level is
            not in (0, 1).

    Example:
        >>> value = np.random.default_rng(0).normal(size=(400, 50, 2))
        >>> coverage(np.zeros_like(value), 1.0, value).share.round(2)
        array([0.5 , 0.8 , 0.95])
    """
    from scipy.stats import norm

    nominal = np.atleast_1d(np.asarray(levels, dtype=np.float64))
    if not (len(nominal) and ((nominal > 0) & (nominal < 1)).all()):
        raise ValueError(f"levels must be probabilities in (0, 1), got {levels}: for 95 % pass 0.95")
    u, _ = standardised(loc, scale, value, mask)
    width = norm.ppf((1 + nominal) / 2)
    per_dim = np.stack([(np.abs(u) <= w).mean(axis=0) for w in width])
    return Coverage(levels=nominal, share=per_dim.mean(axis=1), per_dim=per_dim)


def pit(loc: Array, scale: Array | float, value: Array, *, mask: Array | None = None) -> PIT:
    """Probability integral transforms: uniform on [0, 1] where Gaussian predictions are calibrated.

    A histogram of them shows what is wrong: a hump, bands too wide; high ends, too narrow; a slope, bias. The distance
    comes without a p-value, as the steps of a series are dependent; over n independent steps 0.95 of calibrated ones
    are below 1.36 / sqrt(n).

    Args:
        loc: Predicted means.
        scale: Predicted standard deviations, positive; anything that broadcasts to value.
        value: What came true.
        mask: Boolean, True where a step counts; the numbers of the others may be NaN.

    Shape:
        loc and value (..., K), mask (...), to a :class:`PIT`.

    Raises:
        ValueError: If shapes do not fit, a number that counts is not finite, or a scale is not positive.

    References:
        Gneiting, Balabdaoui and Raftery (2007), Probabilistic forecasts, calibration and sharpness, section 3.1,
        https://doi.org/10.1111/j.1467-9868.2007.00587.x.

    Example:
        >>> value = np.random.default_rng(0).normal(size=(1000, 1))
        >>> pit(np.zeros_like(value), 1.0, value).distance < 0.043, pit(value * 0, 3.0, value).distance > 0.2
        (array([ True]), array([ True]))
    """
    from scipy.stats import kstest, norm

    u, _ = standardised(loc, scale, value, mask)
    values = norm.cdf(u)
    # The asymptotic method only skips the exact p-value, which is slow and not used.
    distance = [kstest(column, "uniform", method="asymp").statistic for column in values.T]
    return PIT(values=values, distance=np.array(distance))
