import math

import numpy as np
import pytest
import torch

from pyro_ldm.diagnostics import coverage, gaussian_crps, log_score, pit

LEVELS = np.array([0.5, 0.8, 0.95])


def calibrated(num=200, *, steps=50, dim=2, seed=0):
    """Values drawn from the Gaussians predicted for them."""
    rng = np.random.default_rng(seed)
    loc, scale = rng.normal(size=(num, steps, dim)), rng.uniform(0.5, 3.0, size=(num, steps, dim))
    return loc, scale, loc + scale * rng.normal(size=loc.shape)


def test_coverage_of_calibrated_predictions_is_the_level():
    loc, scale, value = calibrated()
    found = coverage(loc, scale, value)
    error = 3 * np.sqrt(LEVELS * (1 - LEVELS))
    assert found.levels.tolist() == [0.5, 0.8, 0.95]
    assert (np.abs(found.share - LEVELS) < error / math.sqrt(20_000)).all()
    assert (np.abs(found.per_dim - LEVELS[:, None]) < error[:, None] / math.sqrt(10_000)).all()


def test_coverage_by_hand():
    # 0.95 is 1.96 scales, 0.5 is 0.674: of 0, 0.6, 1.9, 2.0 two are in the narrow band and three in the wide one.
    value = np.array([[0.0, 10.0], [-0.6, 10.0], [1.9, 10.0], [-2.0, 10.0]]) * 3 + 7
    found = coverage(np.full((4, 2), 7.0), 3.0, value, levels=(0.5, 0.95))
    assert found.per_dim.tolist() == [[0.5, 0.0], [0.75, 0.0]]
    assert found.share.tolist() == [0.25, 0.375]


@pytest.mark.parametrize("factor, level", [(0.5, 0.5), (2.0, 0.5), (0.5, 0.95), (2.0, 0.95)])
def test_coverage_of_bands_of_the_wrong_width(factor, level):
    # A band of c scales covers erf(c / sqrt(2)) of a Gaussian.
    loc, scale, value = calibrated()
    width = {0.5: 0.6744897501960817, 0.95: 1.959963984540054}[level] * factor
    found = coverage(loc, factor * scale, value, levels=[level])
    assert found.share[0] == pytest.approx(math.erf(width / math.sqrt(2)), abs=0.011)


def test_coverage_does_not_see_sharpness_and_scores_do():
    # The climate, N(0, 1 + 1), covers as well as the conditional forecast N(m, 1).
    rng = np.random.default_rng(0)
    loc = rng.normal(size=(20_000, 1))
    value = loc + rng.normal(size=loc.shape)
    climate = (np.zeros_like(loc), math.sqrt(2))
    np.testing.assert_allclose(coverage(*climate, value).share, LEVELS, atol=0.01)
    assert gaussian_crps(loc, 1.0, value) < 0.8 * gaussian_crps(*climate, value)
    assert log_score(loc, value, scale=1.0) < log_score(climate[0], value, scale=climate[1]) - 0.3


def test_pit_of_calibrated_predictions_is_uniform():
    found = pit(*calibrated())
    assert found.values.shape == (10_000, 2)
    assert (found.distance < 1.63 / math.sqrt(10_000)).all()  # 0.99 of calibrated ones
    np.testing.assert_allclose(np.histogram(found.values, bins=10)[0] / 20_000, 0.1, atol=0.01)


def test_pit_of_biased_predictions_by_closed_form():
    # Values one scale above: PIT = Phi(e + 1), whose distance from uniform is Phi(1/2) - Phi(-1/2) = erf(1 / sqrt(8)).
    loc, scale, value = calibrated()
    assert pit(loc - scale, scale, value).distance == pytest.approx([math.erf(1 / math.sqrt(8))] * 2, abs=0.015)


def test_pit_by_hand():
    # Phi(0) = 0.5 and Phi(1) = 0.8413: the empirical distribution jumps to 1/2 and 1, farthest from u just below 0.5.
    found = pit(np.zeros((2, 1)), 2.0, np.array([[0.0], [2.0]]))
    np.testing.assert_allclose(found.values[:, 0], [0.5, 0.8413447460685429])
    assert found.distance.tolist() == [0.5]


def call_log_score(loc, scale, value, *, mask=None):
    return log_score(loc, value, scale=scale, mask=mask)


MEASURES = [
    lambda *a, **k: coverage(*a, **k).share,
    lambda *a, **k: pit(*a, **k).distance,
    gaussian_crps,
    call_log_score,
]


@pytest.mark.parametrize("measure", MEASURES, ids=["coverage", "pit", "crps", "log"])
def test_masked_steps_are_left_out(measure):
    loc, scale, value = calibrated(20)
    mask = np.random.default_rng(1).uniform(size=(20, 50)) < 0.6
    expected = measure(loc[mask], scale[mask], value[mask])
    for array, rubbish in ((loc, np.nan), (scale, -1.0), (value, np.inf)):
        array[~mask] = rubbish
    np.testing.assert_array_equal(measure(loc, scale, value, mask=mask), expected)
    tensors = [torch.tensor(array, requires_grad=True) for array in (loc, scale, value)]
    np.testing.assert_array_equal(measure(*tensors, mask=torch.tensor(mask)), expected)


@pytest.mark.parametrize("measure", MEASURES, ids=["coverage", "pit", "crps", "log"])
@pytest.mark.parametrize(
    "loc, scale, value, mask, message",
    [
        (
            np.ones((3, 2)),
            1.0,
            np.ones((4, 2)),
            None,
            r"loc has shape \(3, 2\) and value \(4, 2\): pass the same steps",
        ),
        (np.ones(3), 1.0, np.ones(3), None, r"last axis of coordinates.*values\[..., None\]"),
        (np.ones((0, 2)), 1.0, np.ones((0, 2)), None, r"got shape \(0, 2\)"),
        (np.full((3, 2), np.nan), 1.0, np.ones((3, 2)), None, "loc has NaN .* in 3 of 3 steps.*: pass a mask"),
        (np.ones((3, 2)), np.inf, np.ones((3, 2)), None, "scale has NaN or infinite"),
        (np.ones((3, 2)), 1.0, np.full((3, 2), np.inf), None, "value has NaN or infinite"),
        (np.ones((3, 2)), 0.0, np.ones((3, 2)), None, "scale must be positive, got 0.0: pass standard deviations"),
        (np.ones((3, 2)), np.array([1.0, -2.0]), np.ones((3, 2)), None, "scale must be positive, got -2.0"),
        (np.ones((3, 2)), np.ones((4, 2)), np.ones((3, 2)), None, r"\(4, 2\) does not broadcast to \(3, 2\): pass"),
        (np.ones((3, 2)), 1.0, np.ones((3, 2)), np.ones((3, 2), bool), r"mask has shape \(3, 2\) and the steps \(3,\)"),
        (np.ones((3, 2)), 1.0, np.ones((3, 2)), np.zeros(3, bool), "mask is False everywhere"),
    ],
)
def test_errors_name_cause_and_remedy(measure, loc, scale, value, mask, message):
    with pytest.raises(ValueError, match=message):
        measure(loc, scale, value, mask=mask)


@pytest.mark.parametrize("levels", [(), (0.0,), (0.5, 1.0), (95,), (np.nan,)])
def test_coverage_refuses_levels_that_are_no_probabilities(levels):
    with pytest.raises(ValueError, match=r"levels must be probabilities .*: for 95 % pass 0.95"):
        coverage(np.zeros((3, 1)), 1.0, np.zeros((3, 1)), levels=levels)
