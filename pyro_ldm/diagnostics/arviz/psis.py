"""Pareto-smoothed importance sampling, by the ArviZ that is there."""

import math

import numpy as np

from pyro_ldm.diagnostics.arviz.adapter import pareto_smooth
from pyro_ldm.diagnostics.rows import Array, as_array

MIN_WEIGHTS = 30  # a fifth of them is the tail, and arviz 1.x fits a Pareto distribution to six at least
EQUAL = 1e-8  # nats: weights that differ by less are the same


def psis(log_weights: Array) -> tuple[np.ndarray, np.ndarray]:
    """Pareto-smoothed importance weights, and their k-hat: below 0.7 they can be relied on.

    Args:
        log_weights: Log of target over proposal at draws of the proposal, nats, up to a constant. Minus infinity is a
            weight of zero.

    Shape:
        (..., N), N >= 30, to log-weights (..., N) that sum to one, and k-hat (...). Where the largest weights
        are all equal there is no tail: k-hat is minus infinity. Where no Pareto distribution fits, as where all weight
        is on a few draws, it is infinity.

    Raises:
        ValueError: If there are fewer than 30 weights, or a log-weight is NaN or plus infinity, or all are zero.

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling,
        https://jmlr.org/papers/v25/19-556.html

    Example:
        >>> log_weights, k_hat = psis(0.1 * torch.randn(1000))
        >>> bool(k_hat < 0.5)
        True
    """
    from scipy.special import logsumexp

    weights = as_array(log_weights)
    if weights.ndim < 1 or weights.shape[-1] < MIN_WEIGHTS:
        raise ValueError(
            f"log_weights has shape {weights.shape}: k-hat takes at least {MIN_WEIGHTS} weights, in the last dim; "
            "take more draws"
        )
    if np.isnan(weights).any() or (weights.max(axis=-1) == np.inf).any():
        raise ValueError("log_weights has NaN or infinite values: look for draws outside the support of the proposal")
    if (weights.max(axis=-1) == -np.inf).any():
        raise ValueError("all weights are zero: no draw of the proposal lies in the support of the target")
    num = weights.shape[-1]
    tail = np.sort(weights, axis=-1)[..., -math.ceil(min(0.2 * num, 3 * num**0.5)) :]
    uneven = np.ptp(tail, axis=-1) >= EQUAL  # else a Pareto distribution cannot be fitted
    smoothed, k_hat = weights.copy(), np.full(weights.shape[:-1], -np.inf)
    if uneven.any():
        with np.errstate(over="ignore"):  # of a fit to a tail that is bounded
            smoothed[uneven], k_hat[uneven] = pareto_smooth(weights[uneven])
    k_hat = np.where(np.isnan(k_hat), np.inf, k_hat)
    return smoothed - logsumexp(smoothed, axis=-1, keepdims=True), k_hat[()]
