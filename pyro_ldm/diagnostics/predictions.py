"""Gaussian predictions as the diagnostics read them: means, spreads and values of the steps that count."""

import numpy as np

from pyro_ldm.diagnostics.rows import Array, as_array
from pyro_ldm.diagnostics.series import as_mask, counted


def standardised(loc: Array, scale: Array | float, value: Array, mask: Array | None) -> tuple[np.ndarray, np.ndarray]:
    """Errors in units of the scale, and the scale, of the steps that count.

    Args:
        loc: Means, (..., K).
        scale: Standard deviations, what broadcasts to (..., K).
        value: Values, (..., K).
        mask: Boolean (...), or None.

    Shape:
        To (M, K) both, M steps that count.

    Raises:
        ValueError: If shapes do not fit, a number that counts is not finite, or a scale is not positive.
    """
    mean, truth, keep = prediction_pairs(loc, value, mask)
    sigma = counted(broadcast_spread(scale, (*keep.shape, truth.shape[-1])), keep, name="scale")
    if not (sigma > 0).all():
        raise ValueError(
            f"scale must be positive, got {sigma.min()}: pass standard deviations, the roots of a covariance's diagonal"
        )
    return (truth - mean) / sigma, sigma


def prediction_pairs(loc: Array, value: Array, mask: Array | None) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Means and values of the steps that count, and which do.

    Args:
        loc: Means, (..., K).
        value: Values, (..., K).
        mask: Boolean (...), or None.

    Shape:
        To (M, K), (M, K) and boolean (...).

    Raises:
        ValueError: If shapes do not fit, or a number that counts is not finite.
    """
    mean, truth = as_array(loc), as_array(value)
    if mean.shape != truth.shape:
        raise ValueError(
            f"loc has shape {mean.shape} and value {truth.shape}: pass the same steps and coordinates in both"
        )
    if truth.ndim < 2 or truth.size == 0:
        raise ValueError(
            f"value must have steps and a last axis of coordinates, (..., K), got shape {truth.shape}: make one "
            "coordinate an axis with values[..., None]"
        )
    keep = as_mask(mask, truth.shape[:-1])
    return counted(mean, keep, name="loc"), counted(truth, keep, name="value"), keep


def broadcast_spread(spread: Array | float, shape: tuple[int, ...]) -> np.ndarray:
    """Scales or covariances of every step.

    Args:
        spread: What broadcasts to shape.
        shape: (..., K) or (..., K, K).

    Raises:
        ValueError: If it does not broadcast.
    """
    values = as_array(spread)
    try:
        return np.broadcast_to(values, shape)
    except ValueError:
        raise ValueError(
            f"a scale or covariance of shape {values.shape} does not broadcast to {shape}: pass scales (..., K) or "
            "covariances (..., K, K) of the same steps, or one for all"
        ) from None
