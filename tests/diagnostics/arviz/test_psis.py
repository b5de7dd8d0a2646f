import numpy as np
import pytest

from pyro_ldm.diagnostics.arviz import psis


@pytest.mark.parametrize("shape", [0.2, 0.7, 1.2])
def test_k_hat_of_weights_that_are_pareto_distributed(shape):
    # exp(k E) of a standard exponential E has a Pareto tail of shape k, here of 424 draws: within 3.5 standard errors.
    log_weights = shape * np.random.default_rng(0).exponential(size=(3, 20000))
    smoothed, k_hat = psis(log_weights)
    assert smoothed.shape == (3, 20000) and k_hat.shape == (3,)
    assert k_hat == pytest.approx(shape, abs=3.5 * (1 + shape) / 424**0.5)
    assert np.exp(smoothed).sum(axis=-1) == pytest.approx(1.0)


def test_k_hat_of_a_gaussian_proposal_that_is_too_narrow():
    # p / q of N(0, 1) over N(0, s^2) has a tail of shape 1 - s^2.
    x = 0.5 * np.random.default_rng(0).normal(size=100000)
    k_hat = psis(-(x**2) / 2 + x**2 / (2 * 0.25))[1]
    assert k_hat == pytest.approx(0.75, abs=0.1)


def test_weights_correct_a_shifted_proposal_and_keep_their_order():
    x = np.random.default_rng(0).normal(size=20000)
    log_weights = 0.5 * x  # N(0.5, 1) over N(0, 1), up to a constant
    smoothed, k_hat = psis(log_weights)
    assert k_hat < 0.5
    assert (np.exp(smoothed) * x).sum() == pytest.approx(0.5, abs=0.03)
    assert (np.diff(smoothed[np.argsort(log_weights)]) >= 0).all()


def test_weights_that_are_equal_have_no_tail():
    noise = 1e-12 * np.random.default_rng(0).normal(size=(2, 100))
    smoothed, k_hat = psis(np.array([[7.0], [-3.0]]) + noise)
    assert (k_hat == -np.inf).all()
    assert smoothed == pytest.approx(-np.log(100))


def test_equal_largest_weights_are_no_tail_either():
    smoothed, k_hat = psis(np.where(np.arange(100) < 80, 0.0, -np.inf))
    assert k_hat == -np.inf and smoothed[:80] == pytest.approx(-np.log(80))


def test_weights_of_zero():
    log_weights = 0.5 * np.random.default_rng(0).normal(size=1000)
    log_weights[:100] = -np.inf
    smoothed, k_hat = psis(log_weights)
    assert np.exp(smoothed[:100]).max() < 1e-300 and np.exp(smoothed).sum() == pytest.approx(1.0)
    assert k_hat < 0.7


@pytest.mark.parametrize(
    ("log_weights", "message"),
    [
        (np.zeros(29), "at least 30 weights.*take more draws"),
        (np.zeros(()), "at least 30"),
        (np.full(100, np.nan), "NaN or infinite"),
        (np.r_[np.zeros(100), np.inf], "NaN or infinite"),
        (np.full(100, -np.inf), "all weights are zero"),
    ],
)
def test_what_has_no_k_hat(log_weights, message):
    with pytest.raises(ValueError, match=message):
        psis(log_weights)


def test_the_weights_passed_are_not_changed():
    log_weights = np.random.default_rng(0).normal(size=100)
    before = log_weights.copy()
    psis(log_weights)
    assert (log_weights == before).all()


def test_few_weights_have_a_k_hat():
    assert np.isfinite(psis(np.random.default_rng(0).normal(size=30))[1])


def test_weights_that_no_distribution_fits_are_not_to_be_trusted():
    # Of arviz 1.x k-hat is NaN here, and no comparison with 0.7 would notice.
    for log_weights in (np.r_[0.0, np.full(99, -np.inf)], 1e6 * np.random.default_rng(0).normal(size=100)):
        assert psis(log_weights)[1] == np.inf
