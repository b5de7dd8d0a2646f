import dataclasses
import math

import numpy as np
import pytest
import torch

from pyro_ldm.diagnostics import AffineMap, affine_r2, coverage


def slow_series(num, *, steps=50, dim=2, rho=0.98, seed=0):
    """Stationary autoregressive series of variance 1, whose neighbouring steps nearly repeat."""
    rng = np.random.default_rng(seed)
    series = [rng.normal(size=(num, dim))]
    for _ in range(steps - 1):
        series.append(rho * series[-1] + math.sqrt(1 - rho**2) * rng.normal(size=(num, dim)))
    return np.stack(series, axis=1)


# --- affine R2 of rows


def test_affine_r2_is_one_up_to_an_affine_map():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(200, 3))
    assert affine_r2(truth @ rng.normal(size=(3, 5)) - 4, truth) == pytest.approx(1.0, abs=1e-10)


def test_affine_r2_averages_over_coordinates_without_weights():
    # Coordinate 0 is known, coordinate 1, of ten times the scale, is not: (1 + 0) / 2.
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20_000, 2)) * [1.0, 10.0]
    assert affine_r2(truth[:, :1], truth) == pytest.approx(0.5, abs=0.01)


def test_affine_r2_of_noisy_latents():
    # z = s + e with variances 1 and 1/3: the best linear map explains 1 / (1 + 1/3) = 0.75.
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(40_000, 1))
    z = truth + rng.normal(size=truth.shape) / math.sqrt(3)
    assert affine_r2(z, truth) == pytest.approx(0.75, abs=0.01)


def test_affine_r2_is_scored_on_rows_that_were_not_fitted():
    # 40 useless latents on 100 rows: fitted and scored on the same rows, R2 would be about 40 / 99.
    rng = np.random.default_rng(0)
    scores = [affine_r2(rng.normal(size=(100, 40)), rng.normal(size=(100, 2)), seed=seed) for seed in range(10)]
    assert np.mean(scores) < 0


def test_affine_r2_of_collapsed_latents_is_not_positive():
    truth = np.random.default_rng(0).normal(size=(100, 2))
    assert affine_r2(np.full((100, 3), 0.1), truth) <= 0


def test_affine_r2_sees_no_nonlinear_recovery():
    truth = np.random.default_rng(0).normal(size=(2000, 1))
    assert affine_r2(truth**2, truth) < 0.05


def test_affine_r2_of_tensors_and_its_seed():
    truth = torch.randn(60, 2, dtype=torch.float32)
    z = (truth + torch.randn(60, 2, dtype=torch.float32)).requires_grad_()
    assert affine_r2(z, truth) == affine_r2(z.detach().numpy(), truth.numpy()) != affine_r2(z, truth, seed=1)
    assert type(affine_r2(z, truth)) is float


@pytest.mark.parametrize(
    "z, truth, kwargs, message",
    [
        (np.eye(10), np.eye(9), {}, "z has 10 rows and truth has 9: pass the same samples"),
        (np.eye(10), np.eye(10), {}, "5 rows to fit 11 coefficients .* too few.*: pass more rows"),
        (np.ones((10, 1)), np.ones((10, 1)), {}, "truth is constant in coordinate 0 .*: drop it"),
        (np.ones((1, 1)), np.ones((1, 1)), {}, "at least 2 rows, got 1"),
        (np.ones((10, 1)), np.arange(10.0), {}, r"truth must be a matrix.*reshape\(-1, 1\)"),
        (np.ones((10, 1)), np.full((10, 1), np.inf), {}, "truth has NaN or infinite values"),
        (np.ones((10, 1)), np.ones((10, 1)), {"test_size": 1.0}, r"test_size must be a share in \(0, 1\)"),
        (np.ones((10, 1)), np.ones((10, 1)), {"test_size": 0.01}, "9 rows to fit .* and 1 to score are too few"),
    ],
)
def test_affine_r2_errors(z, truth, kwargs, message):
    with pytest.raises(ValueError, match=message):
        affine_r2(z, truth, **kwargs)


def test_affine_r2_of_rows_as_before_series():
    # The number of the version that knew rows only.
    z = np.random.default_rng(0).normal(size=(100, 3))
    truth = z[:, :2] + np.random.default_rng(1).normal(size=(100, 2))
    assert affine_r2(z, truth, seed=3) == pytest.approx(0.6145626638431656, abs=1e-12)


# --- affine R2 of series


def test_affine_r2_of_series_is_one_up_to_an_affine_map():
    truth = slow_series(10)
    assert affine_r2(truth @ np.array([[1.0, 2.0, 0.0], [0.0, 3.0, 1.0]]) - 4, truth) == pytest.approx(1.0, abs=1e-10)


def test_affine_r2_splits_series_not_steps():
    # Latents that only name the series, one column for each: they explain nothing of series that were not fitted, and
    # most of the variance of slow series where steps of the same ones are on both sides.
    truth = slow_series(20, rho=0.999)
    names = np.broadcast_to(np.eye(20)[:, None], (20, 50, 20))
    assert affine_r2(names, truth) < 0.1
    assert affine_r2(names.reshape(1000, 20), truth.reshape(1000, 2)) > 0.9


def test_affine_r2_scores_series_left_out_of_the_fit():
    # Re-implemented: half of the series, drawn by scikit-learn's split, least squares by the normal equations.
    from sklearn.model_selection import train_test_split

    truth = slow_series(12)
    z = truth + np.random.default_rng(1).normal(size=truth.shape)
    fit, score = train_test_split(np.arange(12), test_size=6, random_state=5)
    design = [np.concatenate([z[part], np.ones((6, 50, 1))], axis=2).reshape(300, 3) for part in (fit, score)]
    solution = np.linalg.solve(design[0].T @ design[0], design[0].T @ truth[fit].reshape(300, 2))
    target = truth[score].reshape(300, 2)
    r2 = 1 - ((target - design[1] @ solution) ** 2).sum(axis=0) / ((target - target.mean(axis=0)) ** 2).sum(axis=0)
    assert affine_r2(z, truth, seed=5) == pytest.approx(r2.mean(), abs=1e-12)


def test_affine_r2_leaves_out_masked_steps():
    truth = slow_series(10)
    mask = np.random.default_rng(1).uniform(size=truth.shape[:2]) < 0.5
    mask[3] = False  # a series without any step that counts
    z = np.where(mask[..., None], 3 * truth, np.nan)
    assert affine_r2(z, truth, mask=mask) == pytest.approx(1.0, abs=1e-10)
    assert affine_r2(torch.tensor(z), torch.tensor(truth), mask=torch.tensor(mask)) == affine_r2(z, truth, mask=mask)
    with pytest.raises(ValueError, match=r"z has NaN or infinite values in .* of 500 steps that count"):
        affine_r2(z, truth)


def test_affine_r2_leaves_out_masked_rows():
    truth = np.random.default_rng(0).normal(size=(40, 2))
    z = np.where(np.arange(40)[:, None] < 30, truth, np.nan)
    keep = np.arange(40) < 30
    assert affine_r2(z, truth, mask=keep) == affine_r2(z[:30], truth[:30]) == pytest.approx(1.0, abs=1e-10)


def test_affine_r2_fits_on_one_set_and_scores_on_another():
    # In test the latents are shifted by 1: the map of the other set is off by 1, the variance of s is 1, R2 = 1 - 1.
    truth, test_truth = slow_series(10), slow_series(400, rho=0.0, seed=1)
    assert affine_r2(2 * truth, truth, test=(2 * test_truth, test_truth)) == pytest.approx(1.0, abs=1e-10)
    assert affine_r2(2 * truth, truth, test=(2 * test_truth + 2, test_truth)) == pytest.approx(0.0, abs=0.02)


def test_affine_r2_scores_one_series_and_its_mask():
    truth = slow_series(3)
    test_mask = np.arange(50)[None] < 20
    test_z = np.where(test_mask[..., None], truth[:1], 100.0)
    assert affine_r2(truth[1:], truth[1:], test=(test_z, truth[:1]), test_mask=test_mask) == pytest.approx(1.0)
    assert affine_r2(truth[1:], truth[1:], test=(test_z, truth[:1])) < 0


SERIES = slow_series(4)


@pytest.mark.parametrize(
    "args, kwargs, message",
    [
        ((SERIES[:1], SERIES[:1]), {}, "1 rows or series cannot be split.*: pass more of them"),
        ((SERIES, SERIES[:3]), {}, "z has 4 series of 50 steps and truth has 3 of 50"),
        ((SERIES, SERIES), {"test_mask": np.ones((4, 50), bool)}, r"pass test=\(z, truth\) with it"),
        ((SERIES, SERIES), {"test": (SERIES[..., :1], SERIES)}, "z has 2 columns and 1 in test"),
        ((SERIES, SERIES), {"test": (SERIES, SERIES[..., :1])}, "truth has 2 columns and 1 in test"),
        (
            (SERIES, SERIES),
            {"test": (SERIES, SERIES[:3])},
            "z of test has 4 series of 50 steps and truth of test has 3",
        ),
        ((SERIES, SERIES), {"test": (SERIES * np.nan, SERIES)}, "z of test has NaN"),
        ((SERIES, SERIES), {"test": (SERIES, SERIES * 0)}, "truth is constant in coordinate 0, 1"),
        ((SERIES[:, :1], SERIES[:, :1]), {}, "2 rows to fit 3 coefficients"),
        ((SERIES, SERIES), {"mask": np.arange(200).reshape(4, 50) == 0}, "rows to fit 3 coefficients"),
    ],
)
def test_affine_r2_of_series_errors(args, kwargs, message):
    with pytest.raises(ValueError, match=message):
        affine_r2(*args, **kwargs)


# --- the map and what it makes of a Gaussian


def test_affine_map_is_found_exactly():
    rng = np.random.default_rng(0)
    matrix, z = rng.normal(size=(3, 2)), rng.normal(size=(10, 20, 3))
    affine = AffineMap.fit(z, z @ matrix + [1.0, -2.0])
    np.testing.assert_allclose(affine.matrix, matrix, atol=1e-12)
    np.testing.assert_allclose(affine.offset, [1.0, -2.0], atol=1e-12)
    np.testing.assert_allclose(affine.loc(z[0]), z[0] @ matrix + [1.0, -2.0], atol=1e-12)


def test_affine_map_carries_moments_by_hand():
    affine = AffineMap(matrix=np.array([[1.0, 0.0], [1.0, 2.0]]), offset=np.array([0.0, 5.0]))
    # (z0 + z1, 2 z1 + 5) of variances 4 and 9 with covariance 1: 4 + 9 + 2, 4 * 9, and 2 * (1 + 9) between them.
    covariance = np.array([[4.0, 1.0], [1.0, 9.0]])
    assert affine.loc(np.array([1.0, 2.0])).tolist() == [3.0, 9.0]
    assert affine.covariance(covariance).tolist() == [[15.0, 20.0], [20.0, 36.0]]
    np.testing.assert_allclose(affine.scale(covariance), [math.sqrt(15), 6.0])
    many = torch.tensor(covariance, requires_grad=True).expand(3, 7, 2, 2)
    assert affine.covariance(many).shape == (3, 7, 2, 2)
    np.testing.assert_allclose(affine.scale(many)[1, 4], [math.sqrt(15), 6.0])


def test_affine_map_of_draws_has_the_moments_that_it_says():
    rng = np.random.default_rng(0)
    factor = rng.normal(size=(3, 3))
    affine = AffineMap(matrix=rng.normal(size=(3, 2)), offset=np.array([1.0, 2.0]))
    draws = affine.loc(np.array([1.0, 0.0, -1.0]) + rng.normal(size=(100_000, 3)) @ factor.T)
    expected = affine.covariance(factor @ factor.T)
    np.testing.assert_allclose(np.cov(draws.T), expected, atol=0.02 * np.abs(expected).max())
    np.testing.assert_allclose(draws.mean(axis=0), affine.loc(np.array([1.0, 0.0, -1.0])), atol=0.03)


def test_bands_of_a_posterior_hold_the_truth_after_the_map():
    # h ~ N(0, I) measured as x = h + e of variances 0.5 and 2: the posterior is N(x / (1 + v), v / (1 + v)), exactly.
    # The truth is an affine function of h. Fitted on posterior means the bands are right, on the measurements x, which
    # share their rows' scale, the map is shrunk, and the bands with it.
    rng = np.random.default_rng(0)
    noise = np.array([0.5, 2.0])
    h = rng.normal(size=(400, 50, 2))
    x = h + np.sqrt(noise) * rng.normal(size=h.shape)
    truth = h @ np.array([[2.0, 1.0], [-1.0, 3.0]]) + 10
    mean, covariance = x / (1 + noise), np.diag(noise / (1 + noise))
    affine = AffineMap.fit(mean[:200], truth[:200])
    found = coverage(affine.loc(mean[200:]), affine.scale(covariance), truth[200:])
    np.testing.assert_allclose(found.per_dim, np.array([[0.5], [0.8], [0.95]]) * np.ones(2), atol=0.015)
    shrunk = AffineMap.fit(x[:200], truth[:200])
    assert (coverage(shrunk.loc(mean[200:]), shrunk.scale(covariance), truth[200:]).per_dim[2] < 0.85).all()


def test_affine_map_leaves_masked_steps_out_and_lets_nan_through():
    z = slow_series(5)
    mask = np.arange(50)[None].repeat(5, 0) < 30
    truth = np.where(mask[..., None], 2 * z + 1, 50.0)
    affine = AffineMap.fit(z, truth, mask=mask)
    np.testing.assert_allclose(affine.matrix, 2 * np.eye(2), atol=1e-12)
    assert np.isnan(affine.loc(np.full((1, 2), np.nan))).all()
    with pytest.raises(dataclasses.FrozenInstanceError):
        affine.offset = 0.0


AFFINE = AffineMap(matrix=np.eye(2), offset=np.zeros(2))


@pytest.mark.parametrize(
    "call, message",
    [
        (lambda: AffineMap.fit(np.ones((3, 2)), np.ones((3, 1))), "3 rows to fit 3 coefficients .*: pass more rows"),
        (lambda: AffineMap.fit(SERIES, SERIES[:2]), "z has 4 series"),
        (lambda: AFFINE.loc(np.ones((4, 3))), r"z has shape \(4, 3\): pass latents \(..., 2\)"),
        (lambda: AFFINE.covariance(np.ones((4, 2))), r"covariance has shape \(4, 2\): pass matrices \(..., 2, 2\)"),
        (lambda: AFFINE.scale(-np.eye(2)), "negative variances"),
    ],
)
def test_affine_map_errors(call, message):
    with pytest.raises(ValueError, match=message):
        call()
