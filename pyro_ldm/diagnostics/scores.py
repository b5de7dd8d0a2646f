r"""Proper scores: how good Gaussian predictions are, their calibration and their sharpness in one number."""

import math

import numpy as np

from pyro_ldm.diagnostics.predictions import broadcast_spread, prediction_pairs, standardised
from pyro_ldm.diagnostics.rows import Array, as_array
from pyro_ldm.diagnostics.series import counted

ASYMMETRY = 1e-4  # of the largest entry: above what float32 filters leave


def gaussian_crps(loc: Array, scale: Array | float, value: Array, *, mask: Array | None = None) -> float:
    r"""Mean continuous ranked probability score of Gaussian predictions, in units of the value; smaller is better.

    .. math:: \operatorname{mean} \, \sigma \bigl[ u (2 \Phi(u) - 1) + 2 \varphi(u) - \pi^{-1/2} \bigr], \qquad
        u = (s - \mu) / \sigma

    It is the absolute error of a prediction without spread, and proper: in expectation the true distribution is best.
    The mean runs over steps and coordinates, so that those of a large scale weigh more.

    Args:
        loc: Predicted means.
        scale: Predicted standard deviations, positive; anything that broadcasts to value.
        value: What came true.
        mask: Boolean, True where a step counts; the numbers of the others may be NaN.

    Shape:
        loc and value (..., K), mask (...), to a number >= 0.

    Raises:
        ValueError: If shapes do not fit, a number that counts is not finite, or a scale is not positive.

    References:
        Gneiting, Raftery, Westveld and Goldman (2005), Calibrated probabilistic forecasting using ensemble model output
        statistics and minimum CRPS estimation, https://doi.org/10.1175/MWR2904.1 (the closed form).
        Gneiting and Raftery (2007), Strictly proper scoring rules, prediction, and estimation, section 4.2,
        https://doi.org/10.1198/016214506000001437 (with the opposite sign: larger is better there).

    Example:
        >>> round(gaussian_crps(np.zeros((1, 1)), 1.0, np.zeros((1, 1))), 4)      # (sqrt(2) - 1) / sqrt(pi)
        0.2337
    """
    from scipy.stats import norm

    u, sigma = standardised(loc, scale, value, mask)
    return float((sigma * (u * (2 * norm.cdf(u) - 1) + 2 * norm.pdf(u) - 1 / math.sqrt(math.pi))).mean())


def log_score(
    loc: Array,
    value: Array,
    *,
    scale: Array | float | None = None,
    covariance: Array | None = None,
    mask: Array | None = None,
) -> float:
    r"""Mean negative log-density of the values under Gaussian predictions; smaller is better.

    .. math:: \operatorname{mean} \tfrac12 \bigl[ K \log 2 \pi + \log |\Sigma|
        + (s - \mu)^\top \Sigma^{-1} (s - \mu) \bigr]

    Args:
        loc: Predicted means.
        value: What came true.
        scale: Predicted standard deviations of independent coordinates, positive; broadcasts to value.
        covariance: Predicted covariances, positive definite, in place of scale; their first axes broadcast.
        mask: Boolean, True where a step counts; the numbers of the others may be NaN.

    Shape:
        loc and value (..., K), covariance (..., K, K), mask (...), to a number: nats per step, the sum over K.

    Raises:
        ValueError: If shapes do not fit, a number that counts is not finite, a scale is not positive, a covariance is
            not symmetric and positive definite, or not exactly one of scale and covariance is passed.

    Example:
        >>> round(log_score(np.zeros((1, 2)), np.zeros((1, 2)), covariance=np.eye(2)), 4)      # log(2 pi)
        1.8379
    """
    if scale is not None and covariance is None:
        u, sigma = standardised(loc, scale, value, mask)
        log_volume, distance = np.log(sigma).sum(axis=-1), (u**2).sum(axis=-1)
    elif covariance is not None and scale is None:
        mean, truth, keep = prediction_pairs(loc, value, mask)
        shape, matrices = (truth.shape[-1],) * 2, as_array(covariance)
        if matrices.shape[-2:] != shape:  # variances alone would broadcast to matrices
            raise ValueError(
                f"covariance has shape {matrices.shape}: pass matrices (..., {shape[0]}, {shape[0]}), or standard "
                "deviations as scale"
            )
        matrices = counted(broadcast_spread(matrices, keep.shape + shape), keep, name="covariance")
        cholesky = _cholesky(matrices)
        u = np.linalg.solve(cholesky, (truth - mean)[..., None])[..., 0]
        log_volume = np.log(np.diagonal(cholesky, axis1=-2, axis2=-1)).sum(axis=-1)
        distance = (u**2).sum(axis=-1)
    else:
        raise ValueError("pass either scale, standard deviations, or covariance, full matrices, by its name")
    return float((0.5 * (u.shape[-1] * math.log(2 * math.pi) + distance) + log_volume).mean())


def _cholesky(matrices: np.ndarray) -> np.ndarray:
    transposed = matrices.swapaxes(-1, -2)
    if np.abs(matrices - transposed).max() > ASYMMETRY * np.abs(matrices).max():
        raise ValueError("covariance is not symmetric: pass covariances, not their Cholesky factors")
    try:
        return np.linalg.cholesky((matrices + transposed) / 2)
    except np.linalg.LinAlgError:
        raise ValueError(
            "covariance is not positive definite at some step: pass covariances of full rank (after an affine map to "
            "more coordinates than latents they are not), computed in float64"
        ) from None
