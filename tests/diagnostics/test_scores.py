import math

import numpy as np
import pytest
import torch

from pyro_ldm.diagnostics import gaussian_crps, log_score


def crps_by_integration(loc, scale, value):
    """The definition: the squared distance of the distribution function from the step at the value, integrated."""
    from scipy.integrate import quad

    def below(t):
        return 0.5 * (1 + math.erf((t - loc) / scale / math.sqrt(2)))

    far = 12 * scale + abs(value - loc)
    left = quad(lambda t: below(t) ** 2, loc - far, value, points=[loc], limit=200)[0]
    return left + quad(lambda t: (1 - below(t)) ** 2, value, loc + far, points=[loc], limit=200)[0]


def test_crps_of_a_standard_normal_at_zero():
    assert gaussian_crps(np.zeros((1, 1)), 1.0, np.zeros((1, 1))) == pytest.approx(
        (math.sqrt(2) - 1) / math.sqrt(math.pi)
    )


@pytest.mark.parametrize("loc, scale, value", [(0, 1, 0.3), (2, 0.5, -1), (-1, 4, 5), (3, 2, 3)])
def test_crps_equals_its_definition(loc, scale, value):
    found = gaussian_crps(np.array([[loc]]), float(scale), np.array([[value]]))
    assert found == pytest.approx(crps_by_integration(loc, scale, value), abs=1e-7)


def test_crps_without_spread_is_the_absolute_error():
    assert gaussian_crps(np.zeros((2, 1)), 1e-9, np.array([[1.0], [-3.0]])) == pytest.approx(2.0, abs=1e-8)


def test_crps_has_the_units_of_the_value():
    rng = np.random.default_rng(0)
    loc, scale, value = rng.normal(size=(50, 2)), rng.uniform(1, 2, size=(50, 2)), rng.normal(size=(50, 2))
    expected = 10 * gaussian_crps(loc, scale, value)
    assert gaussian_crps(10 * loc + 3, 10 * scale, 10 * value + 3) == pytest.approx(expected, rel=1e-12)


def test_scores_are_best_at_the_true_spread():
    # Expected CRPS of the truth N(0, 1) about itself: 1 / sqrt(pi); expected log score: 0.5 log(2 pi e).
    value = np.random.default_rng(0).normal(size=(40_000, 1))
    crps = [gaussian_crps(value * 0, scale, value) for scale in (0.7, 1.0, 1.4)]
    log = [log_score(value * 0, value, scale=scale) for scale in (0.7, 1.0, 1.4)]
    assert np.argmin(crps) == np.argmin(log) == 1
    assert crps[1] == pytest.approx(1 / math.sqrt(math.pi), abs=0.01)
    assert log[1] == pytest.approx(0.5 * math.log(2 * math.pi * math.e), abs=0.02)


def test_log_score_equals_torch():
    rng = np.random.default_rng(0)
    loc, value, factor = rng.normal(size=(5, 7, 3)), rng.normal(size=(5, 7, 3)), rng.normal(size=(5, 7, 3, 3))
    covariance = factor @ factor.swapaxes(-1, -2) + np.eye(3)
    tensors = [torch.tensor(array) for array in (loc, covariance, value)]
    expected = -torch.distributions.MultivariateNormal(*tensors[:2]).log_prob(tensors[2]).mean().item()
    assert log_score(loc, value, covariance=covariance) == pytest.approx(expected, rel=1e-12)
    assert log_score(tensors[0], tensors[2], covariance=tensors[1]) == log_score(loc, value, covariance=covariance)
    scale = rng.uniform(0.5, 2, size=(7, 3))
    expected = -torch.distributions.Normal(tensors[0], torch.tensor(scale)).log_prob(tensors[2]).sum(-1).mean().item()
    assert log_score(loc, value, scale=scale) == pytest.approx(expected, rel=1e-12)


def test_log_score_of_a_diagonal_covariance_is_that_of_its_scale():
    rng = np.random.default_rng(0)
    loc, value = rng.normal(size=(2, 4, 10, 3))
    scale = np.array([0.5, 1.0, 2.0])
    assert log_score(loc, value, covariance=np.diag(scale**2)) == pytest.approx(log_score(loc, value, scale=scale))


def test_log_score_leaves_out_masked_steps():
    rng = np.random.default_rng(0)
    loc, value = rng.normal(size=(2, 4, 10, 2))
    covariance = np.broadcast_to(np.array([[2.0, 1.0], [1.0, 2.0]]), (4, 10, 2, 2)).copy()
    mask = rng.uniform(size=(4, 10)) < 0.5
    expected = log_score(loc[mask], value[mask], covariance=covariance[mask])
    loc[~mask], covariance[~mask], value[~mask] = np.nan, np.nan, 1e300
    assert log_score(loc, value, covariance=covariance, mask=mask) == expected


ONES = np.ones((3, 2))


@pytest.mark.parametrize(
    "kwargs, message",
    [
        ({}, "pass either scale, .* or covariance"),
        ({"scale": 1.0, "covariance": np.eye(2)}, "pass either scale, .* or covariance"),
        ({"covariance": np.ones((3, 2))}, r"covariance has shape \(3, 2\): pass matrices \(..., 2, 2\), or standard"),
        ({"covariance": np.ones((4, 1, 1)) * np.eye(2)}, r"\(4, 2, 2\) does not broadcast to \(3, 2, 2\)"),
        ({"covariance": np.array([[1.0, 0.0], [0.9, 0.4]])}, "not symmetric: pass covariances, not their Cholesky"),
        (
            {"covariance": np.ones((2, 2)) - 2 * np.eye(2)},
            "not positive definite at some step: pass covariances of full",
        ),
        ({"covariance": np.eye(2) * np.nan}, "covariance has NaN"),
    ],
)
def test_log_score_errors(kwargs, message):
    with pytest.raises(ValueError, match=message):
        log_score(ONES, ONES, **kwargs)
