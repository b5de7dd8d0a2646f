r"""Recovery up to an affine map: how good the map is, and Gaussian moments carried through it."""

from dataclasses import dataclass

import numpy as np

from pyro_ldm.diagnostics.rows import Array, as_array, check_varies
from pyro_ldm.diagnostics.series import paired_series


@dataclass(frozen=True, eq=False)
class AffineMap:
    r"""An affine map from latents to the space of the truth, and what it makes of a Gaussian.

    .. math:: \hat s = z B + b, \qquad
        z \sim N(m, P) \; \Rightarrow \; \hat s \sim N(m B + b, \; B^\top P B)

    Theory leaves the latents open up to such a map. It is fitted on training series; the means and covariances of a
    filter, of other series, then become bands around the true states, for :func:`coverage`, :func:`gaussian_crps` and
    :func:`log_score`. The bands carry the filter's own uncertainty only, not the residual of the fit.

    Fit on posterior means, E[h | x], of latents h. Least squares has no bias there, as a posterior mean is uncorrelated
    with its own error. Where z is a noisy measurement h + e, the map shrinks by the share of noise, and bands with it.

    Args:
        matrix: B, acting on row vectors, (D, K).
        offset: b, (K,), in the units of the truth.

    Shape:
        ``loc``: z (..., D) to (..., K). ``covariance``: (..., D, D) to (..., K, K). ``scale``: (..., D, D) to the
        standard deviations of the coordinates, (..., K). NaN passes through, for a mask to leave out later.

    Raises:
        ValueError: If the last axes are not D, or a covariance has negative variances.

    Example:
        >>> z = np.random.default_rng(0).normal(size=(20, 50, 2))                # 20 series of 50 steps
        >>> affine = AffineMap.fit(z, z @ np.array([[2.0], [0.0]]) + 7)
        >>> affine.loc(np.zeros(2)).round(6), affine.scale(np.eye(2)).round(6)
        (array([7.]), array([2.]))
    """

    matrix: np.ndarray
    offset: np.ndarray

    @classmethod
    def fit(cls, z: Array, truth: Array, *, mask: Array | None = None) -> "AffineMap":
        """Least squares on all rows or steps that count.

        Args:
            z: Estimated latents, (N, D) or series (N, T, D).
            truth: True latents of the same rows or steps, (N, K) or (N, T, K).
            mask: Boolean (N,) or (N, T), True where a row or step counts.

        Raises:
            ValueError: If the shapes do not fit, values are not finite, or there are fewer than D + 2 rows.
        """
        from sklearn.linear_model import LinearRegression

        z_series, truth_series, keep = paired_series(z, truth, mask)
        num_rows, latent_dim = int(keep.sum()), z_series.shape[-1]
        if num_rows <= latent_dim + 1:
            raise ValueError(
                f"{num_rows} rows to fit {latent_dim + 1} coefficients per coordinate are too few, at least "
                f"{latent_dim + 2} are needed: pass more rows or series"
            )
        model = LinearRegression().fit(z_series[keep], truth_series[keep])
        return cls(matrix=model.coef_.T, offset=model.intercept_)

    def loc(self, z: Array) -> np.ndarray:
        """Means in the space of the truth: (..., D) to (..., K)."""
        values = as_array(z)
        if values.shape[-1:] != self.matrix.shape[:1]:
            raise ValueError(f"z has shape {values.shape}: pass latents (..., {len(self.matrix)}), as in the fit")
        return values @ self.matrix + self.offset

    def covariance(self, covariance: Array) -> np.ndarray:
        """Covariances in the space of the truth: (..., D, D) to (..., K, K)."""
        values, dim = as_array(covariance), len(self.matrix)
        if values.shape[-2:] != (dim, dim):
            raise ValueError(
                f"covariance has shape {values.shape}: pass matrices (..., {dim}, {dim}) in the space of the latents"
            )
        return self.matrix.T @ values @ self.matrix

    def scale(self, covariance: Array) -> np.ndarray:
        """Standard deviations of the coordinates of the truth: covariances (..., D, D) to (..., K)."""
        variance = np.diagonal(self.covariance(covariance), axis1=-2, axis2=-1)
        if (variance < 0).any():
            raise ValueError(
                "covariance gives negative variances, so it is not positive semi-definite: pass covariances, not "
                "precisions or Cholesky factors, computed in float64"
            )
        return np.sqrt(variance)


def affine_r2(
    z: Array,
    truth: Array,
    *,
    mask: Array | None = None,
    test: tuple[Array, Array] | None = None,
    test_mask: Array | None = None,
    test_size: float = 0.5,
    seed: int = 0,
) -> float:
    r"""How well an affine map of z predicts the true latents, on rows or series that the map was not fitted on.

    .. math:: \frac{1}{K} \sum_{k=1}^{K} \Bigl( 1 -
        \frac{\sum_n (s_{nk} - \hat s_{nk})^2}{\sum_n (s_{nk} - \bar s_k)^2} \Bigr), \qquad \hat s = z B + b

    Least squares on a random part of the rows, the sums over the other. 1 is recovery up to an affine map; 0 is as good
    as the mean, and useless maps fall slightly below. Rows must be independent: neighbouring steps of one series on
    both sides of the split make the score too good. Series are therefore split whole, by the first axis, and the sums
    run over all their steps.

    Args:
        z: Estimated latents.
        truth: True latents of the same samples or steps.
        mask: Boolean, True where a row or step counts; the values of the others may be NaN.
        test: Latents and truth to score on, in place of a random part: the map is then fitted on all of z.
        test_mask: The mask of test.
        test_size: Share of the rows or series to score on, in (0, 1). Not used with test.
        seed: Seed of the random split. Not used with test.

    Shape:
        z (N, D) and truth (N, K), or series z (N, T, D) and truth (N, T, K), with mask (N,) or (N, T); more than
        D + 1 rows or steps to fit on; to a number, at most 1.

    Raises:
        ValueError: If the shapes do not fit, values are not finite, there are too few rows or series for the fit or the
            score, test_size is not in (0, 1), or a coordinate of truth is constant.

    References:
        Hyvärinen and Morioka (2016), Unsupervised feature extraction by time-contrastive learning and nonlinear ICA,
        https://arxiv.org/abs/1605.06336 (identifiability up to a linear map).

    Example:
        >>> truth = np.random.default_rng(0).normal(size=(500, 2))
        >>> round(affine_r2(truth @ np.array([[1.0, 2.0], [0.0, 3.0]]) + 7, truth), 6)
        1.0
    """
    from sklearn.metrics import r2_score

    fit_part = paired_series(z, truth, mask)
    if test is not None:
        test_part = paired_series(*test, test_mask, names=("z of test", "truth of test"))
        for old, new, name in zip(fit_part[:2], test_part[:2], ("z", "truth"), strict=True):
            if old.shape[-1] != new.shape[-1]:
                raise ValueError(
                    f"{name} has {old.shape[-1]} columns and {new.shape[-1]} in test: pass the same encoder's latents "
                    "and the same true coordinates"
                )
    elif test_mask is not None:
        raise ValueError("test_mask belongs to test: pass test=(z, truth) with it, or mask alone")
    else:
        fit_part, test_part = _split(fit_part, test_size=test_size, seed=seed)
    (fit_z, fit_truth, fit_keep), (test_z, test_truth, test_keep) = fit_part, test_part
    num_fit, num_test, latent_dim = int(fit_keep.sum()), int(test_keep.sum()), fit_z.shape[-1]
    if num_test < 2 or num_fit <= latent_dim + 1:
        raise ValueError(
            f"{num_fit} rows to fit {latent_dim + 1} coefficients per coordinate and {num_test} to score are too few, "
            f"at least {latent_dim + 2} and 2 are needed: pass more rows, or another test_size"
        )
    check_varies(test_truth[test_keep])
    prediction = AffineMap.fit(fit_z, fit_truth, mask=fit_keep).loc(test_z[test_keep])
    return float(r2_score(test_truth[test_keep], prediction, multioutput="uniform_average"))


Part = tuple[np.ndarray, np.ndarray, np.ndarray]


def _split(part: Part, *, test_size: float, seed: int) -> tuple[Part, Part]:
    """Whole series to fit on and whole series to score on; rows are series of one step."""
    from sklearn.model_selection import train_test_split

    if not 0 < test_size < 1:
        raise ValueError(f"test_size must be a share in (0, 1), got {test_size}: for a half pass 0.5")
    num_series = len(part[0])
    num_test = int(np.ceil(test_size * num_series))
    if num_test == num_series:
        raise ValueError(
            f"{num_series} rows or series cannot be split into two parts with test_size {test_size}, and steps of one "
            "series are not independent: pass more of them, a smaller test_size, or others to score on as test"
        )
    fit, score = train_test_split(np.arange(num_series), test_size=num_test, random_state=seed)
    return tuple(array[fit] for array in part), tuple(array[score] for array in part)  # type: ignore[return-value]
