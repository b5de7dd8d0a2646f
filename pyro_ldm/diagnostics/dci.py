r"""Disentanglement, completeness, informativeness: one factor in each latent, one latent for each factor?"""

from dataclasses import dataclass
from typing import Any

import numpy as np

from pyro_ldm.diagnostics.rows import Array, check_varies
from pyro_ldm.diagnostics.series import paired_series


@dataclass(frozen=True, eq=False)
class DCI:
    """What :func:`dci` found.

    Args:
        disentanglement: 1 if every latent serves to predict one factor only, 0 if all factors alike.
        completeness: 1 if every factor is predicted from one latent only, 0 if from all latents alike.
        informativeness: R2 of the predictions, mean over factors, on rows or series left out of the fit; at most 1.
        importance: Share of each latent in the prediction of each factor, (D, K); columns sum to 1, or are 0 where
            nothing was of use.
    """

    disentanglement: float
    completeness: float
    informativeness: float
    importance: np.ndarray


def dci(
    z: Array,
    truth: Array,
    *,
    mask: Array | None = None,
    regressor: Any = None,
    test_size: float = 0.5,
    seed: int = 0,
) -> DCI:
    r"""DCI scores of latents against true factors.

    .. math:: \sum_d \rho_d \Bigl(1 + \tfrac{1}{\log K} \sum_k p_{dk} \log p_{dk}\Bigr), \qquad
        \tfrac1K \sum_k \Bigl(1 + \tfrac{1}{\log D} \sum_d q_{dk} \log q_{dk}\Bigr)

    with the importance of latent d for factor k, :math:`R_{dk}`, normalised over factors (p) and over latents (q), and
    :math:`\rho_d` the share of latent d in all of it. The importances are those of a regression of each factor on all
    latents: by default gradient boosting, which sees a factor through any monotone map (Eastwood and Williams use lasso
    and random forests, measure importance after each factor, and give informativeness as an error; here it is R2). With
    one factor disentanglement is 1, with one latent completeness is. Unrelated latents have both near 0; rotated ones
    are above that (0.35 at D = 8), as trees cut along axes.

    Args:
        z: Estimated latents.
        truth: True factors of the same rows or steps.
        mask: Boolean, True where a row or step counts.
        regressor: A scikit-learn regressor with ``feature_importances_`` or ``coef_``, unfitted, such as
            ``LassoCV()``; z and truth come standardised.
        test_size: Share of the rows or series to score informativeness on, in (0, 1).
        seed: Of the split.

    Shape:
        z (N, D) and truth (N, K), or series z (N, T, D) and truth (N, T, K), with mask (N,) or (N, T); N >= 4, to a
        :class:`DCI`.

    Raises:
        ValueError: If shapes do not fit, values are not finite, there are too few rows or series, a factor is constant,
            or the regressor has no importances.

    References:
        Eastwood and Williams (2018), A framework for the quantitative evaluation of disentangled representations,
        https://openreview.net/forum?id=By-7dz-AZ.

    Example:
        >>> truth = np.random.default_rng(0).uniform(size=(500, 2))
        >>> found = dci(np.exp(truth[:, ::-1]), truth)
        >>> bool(found.disentanglement > 0.98), bool(found.informativeness > 0.98)
        (True, True)
    """
    from sklearn.base import clone
    from sklearn.ensemble import GradientBoostingRegressor
    from sklearn.model_selection import train_test_split

    if not 0 < test_size < 1:
        raise ValueError(f"test_size must be a share in (0, 1), got {test_size}: for a half pass 0.5")
    z_series, truth_series, keep = paired_series(z, truth, mask)
    if len(z_series) < 4:
        raise ValueError(f"{len(z_series)} rows or series are too few to fit on some and score on others: pass more")
    fit, test = train_test_split(np.arange(len(z_series)), test_size=test_size, random_state=seed)
    fit_z, fit_truth = z_series[fit][keep[fit]], truth_series[fit][keep[fit]]
    test_z, test_truth = z_series[test][keep[test]], truth_series[test][keep[test]]
    if min(len(fit_z), len(test_z)) < 2:
        raise ValueError(
            f"{len(fit_z)} rows to fit on and {len(test_z)} to score are too few: pass more rows or series"
        )
    check_varies(fit_truth)
    check_varies(test_truth)
    mean, scale = fit_z.mean(0), fit_z.std(0)
    fit_z, test_z = ((rows - mean) / np.where(scale > 0, scale, 1.0) for rows in (fit_z, test_z))
    model = GradientBoostingRegressor(random_state=0) if regressor is None else regressor
    importance, scores = [], []
    for k in range(fit_truth.shape[1]):
        centre, spread = fit_truth[:, k].mean(), fit_truth[:, k].std()
        fitted = clone(model).fit(fit_z, (fit_truth[:, k] - centre) / spread)
        importance.append(_importance(fitted))
        scores.append(fitted.score(test_z, (test_truth[:, k] - centre) / spread))
    shares = _normalised(np.array(importance).T, axis=0)
    weight = _normalised(shares.sum(axis=1), axis=0)
    return DCI(
        disentanglement=float((weight * _concentration(_normalised(shares, axis=1), axis=1)).sum()),
        completeness=float(_concentration(shares, axis=0).mean()),
        informativeness=float(np.mean(scores)),
        importance=shares,
    )


def _importance(fitted: Any) -> np.ndarray:
    for name in ("feature_importances_", "coef_"):
        if hasattr(fitted, name):
            return np.abs(np.asarray(getattr(fitted, name), dtype=np.float64)).ravel()
    raise ValueError(
        f"{type(fitted).__name__} has neither feature_importances_ nor coef_, so that it cannot say which latents it "
        "uses: pass a linear regressor or one of trees"
    )


def _normalised(values: np.ndarray, *, axis: int) -> np.ndarray:
    """Shares along an axis; zeros where all are zero."""
    total = values.sum(axis=axis, keepdims=True)
    return np.divide(values, total, out=np.zeros_like(values), where=total > 0)


def _concentration(shares: np.ndarray, *, axis: int) -> np.ndarray:
    """1 less the entropy of shares in units of its maximum; 0 where there are no shares."""
    size = shares.shape[axis]
    entropy = -(shares * np.log(np.where(shares > 0, shares, 1.0))).sum(axis=axis)
    concentration = 1 - entropy / np.log(size) if size > 1 else np.ones_like(entropy)
    return np.where(shares.sum(axis=axis) > 0, concentration, 0.0)
