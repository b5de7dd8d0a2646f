import numpy as np
import pytest
import torch
from sklearn.linear_model import LassoCV, LinearRegression
from sklearn.neighbors import KNeighborsRegressor

from pyro_ldm.diagnostics.dci import dci

RNG = np.random.default_rng(0)
TRUTH = RNG.uniform(-1, 1, size=(600, 3))


@pytest.mark.parametrize("regressor", [None, LassoCV(cv=3)])
def test_permuted_and_scaled_factors_are_perfect(regressor):
    found = dci(TRUTH[:, [2, 0, 1]] * [1.0, -5.0, 0.1] + 7, TRUTH, regressor=regressor)
    assert min(found.disentanglement, found.completeness, found.informativeness) > 0.98
    np.testing.assert_allclose(found.importance, np.eye(3)[[2, 0, 1]], atol=0.02)


def test_monotone_maps_are_perfect_for_trees_and_not_for_lasso():
    z = np.exp(3 * TRUTH)
    assert dci(z, TRUTH).informativeness > 0.98
    assert dci(z, TRUTH, regressor=LassoCV(cv=3)).informativeness < 0.9


def test_rotated_factors_are_informative_and_entangled():
    rotation = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
    found = dci(TRUTH @ rotation, TRUTH)
    assert found.informativeness > 0.9
    assert max(found.disentanglement, found.completeness) < 0.6


def test_scores_by_hand():
    # y0 = z0, y1 = z0 + 3 z1 of orthonormal columns: importances, after division by the factors' spread, are
    # (1, 0) and (1, 3) / sqrt(10); shares by factor (1, 0) and (1/4, 3/4).
    z = np.linalg.qr(np.column_stack([np.ones(400), RNG.normal(size=(400, 2))]))[0][:, 1:]
    found = dci(z, np.column_stack([z[:, 0], z[:, 0] + 3 * z[:, 1]]), regressor=LinearRegression())

    def entropy(*p):
        return -sum(q * np.log(q) for q in p if q) / np.log(2)

    np.testing.assert_allclose(found.importance, [[1, 0.25], [0, 0.75]], atol=0.03)
    assert found.completeness == pytest.approx((1 + 1 - entropy(0.25, 0.75)) / 2, abs=0.03)
    expected = 1.25 / 2 * (1 - entropy(0.8, 0.2)) + 0.75 / 2  # rows (1, 1/4) and (0, 3/4), weighted by their sums
    assert found.disentanglement == pytest.approx(expected, abs=0.03)
    assert found.informativeness == pytest.approx(1.0)


def test_latents_that_share_a_factor_are_disentangled_and_it_is_incomplete():
    z = np.linalg.qr(np.column_stack([np.ones(400), RNG.normal(size=(400, 3))]))[0][:, 1:]
    found = dci(z, np.column_stack([z[:, 0], z[:, 1] + z[:, 2]]), regressor=LinearRegression())
    assert found.disentanglement == pytest.approx(1.0, abs=0.01)
    assert found.completeness == pytest.approx((1 + 1 - np.log(2) / np.log(3)) / 2, abs=0.01)  # 0.685


def test_unrelated_and_spare_latents():
    unrelated = dci(RNG.normal(size=(600, 3)), TRUTH)
    assert unrelated.informativeness < 0.05 and unrelated.disentanglement < 0.1
    spare = dci(np.column_stack([TRUTH, RNG.normal(size=600), np.ones(600)]), TRUTH)
    assert spare.disentanglement > 0.97 and spare.completeness > 0.97
    nothing = dci(RNG.normal(size=(600, 3)), TRUTH, regressor=LassoCV(cv=3, alphas=[10.0]))
    assert (nothing.disentanglement, nothing.completeness) == (0.0, 0.0)
    assert not nothing.importance.any()


def test_one_factor_and_one_latent():
    found = dci(TRUTH[:, :1], TRUTH[:, :1])
    assert (found.disentanglement, found.completeness) == (1.0, 1.0)
    assert found.informativeness > 0.99


def test_series_masks_and_tensors():
    series = TRUTH.reshape(60, 10, 3)
    mask = np.ones((60, 10), bool)
    mask[:, 7:] = False
    z = np.where(mask[..., None], series[..., ::-1], np.nan)
    found = dci(torch.tensor(z), torch.tensor(series), mask=torch.tensor(mask))
    assert found.disentanglement > 0.98
    assert found.informativeness == dci(z, series, mask=mask).informativeness


@pytest.mark.parametrize(
    "z, truth, kwargs, message",
    [
        (TRUTH[:3], TRUTH[:3], {}, "3 rows or series are too few"),
        (TRUTH, TRUTH[:5], {}, "z has 600 rows and truth has 5"),
        (TRUTH * np.nan, TRUTH, {}, "z has NaN"),
        (TRUTH, TRUTH * 0, {}, "truth is constant in coordinate 0, 1, 2"),
        (TRUTH, TRUTH, {"test_size": 1.0}, "test_size must be a share"),
        (TRUTH, TRUTH, {"regressor": KNeighborsRegressor()}, "KNeighborsRegressor has neither feature_importances_"),
    ],
)
def test_errors(z, truth, kwargs, message):
    with pytest.raises(ValueError, match=message):
        dci(z, truth, **kwargs)
