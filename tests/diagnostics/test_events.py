import math

import numpy as np
import pytest
import torch

from pyro_ldm.diagnostics import detection_auc


def jumps(num=50, *, steps=100, share=0.02, seed=0):
    """Series with rare events at random steps."""
    return np.random.default_rng(seed).uniform(size=(num, steps)) < share


def auc_by_pairs(score, events, mask, tolerance):
    """The definition, step by step: the share of pairs in which the event's window scores more; ties are a half."""
    positive, negative = [], []
    for row, event, keep in zip(score, events, mask, strict=True):
        for t in range(len(row)):
            window = [row[u] for u in range(t, min(t + tolerance + 1, len(row))) if keep[u]]
            near = any(event[u] for u in range(max(t - tolerance, 0), min(t + tolerance + 1, len(row))))
            if keep[t] and event[t]:
                positive.append(max(window))
            elif keep[t] and not near:
                negative.append(max(window))
    return np.mean([(p > n) + 0.5 * (p == n) for p in positive for n in negative])


def test_separable_scores():
    events = jumps()
    score = np.random.default_rng(1).uniform(size=events.shape) + 2 * events
    found = detection_auc(score, events)
    assert found.auc == 1.0
    assert (found.fpr[0], found.tpr[0], found.fpr[-1], found.tpr[-1]) == (0.0, 0.0, 1.0, 1.0)
    assert found.thresholds[0] == np.inf
    assert detection_auc(-score, events).auc == 0.0


@pytest.mark.parametrize("tolerance", [0, 1, 3])
def test_scores_without_information_are_at_chance(tolerance):
    # 400 events: three standard errors of the AUC are 3 / sqrt(12 * 400) = 0.043.
    events = jumps(400, share=0.01)
    score = np.random.default_rng(1).normal(size=events.shape)
    assert detection_auc(score, events, tolerance=tolerance).auc == pytest.approx(0.5, abs=0.045)


def test_gaussian_scores_by_closed_form():
    # N(1, 1) at events and N(0, 1) elsewhere: P(event scores more) = Phi(1 / sqrt(2)) = 0.760.
    events = jumps(200, share=0.2)
    score = np.random.default_rng(1).normal(size=events.shape) + events
    assert detection_auc(score, events).auc == pytest.approx(0.5 * (1 + math.erf(0.5)), abs=0.015)


@pytest.mark.parametrize("late", [0, 1, 2, 3])
def test_tolerance_forgives_late_responses(late):
    # Up to two steps late is found without any false alarm, also in the steps whose windows touch the response.
    events = jumps()
    events[:, -3:] = False
    response = np.roll(events, late, axis=1)
    score = np.random.default_rng(1).uniform(size=events.shape) + 2 * response
    assert (detection_auc(score, events, tolerance=2).auc == 1.0) == (late <= 2)
    assert (detection_auc(score, events).auc == 1.0) == (late == 0)


@pytest.mark.parametrize("tolerance", [0, 1, 4, 60])
def test_auc_equals_its_definition(tolerance):
    rng = np.random.default_rng(2)
    events, mask = jumps(10, steps=40, share=0.03), rng.uniform(size=(10, 40)) < 0.8
    events[:2] = False
    score = rng.integers(0, 10, size=(10, 40)) + 3.0 * events  # with ties
    expected = auc_by_pairs(score, events, mask, tolerance)
    assert 0.5 < expected < 1
    assert detection_auc(score, events, mask=mask, tolerance=tolerance).auc == pytest.approx(expected, abs=1e-12)


def test_masked_steps_are_neither_events_nor_responses():
    events = np.array([[0, 1, 0, 0, 0, 1, 0, 0, 0]])
    score = np.array([[0.0, 1.0, 9.0, 0.5, 2.0, np.nan, 0.0, 0.1, 0.0]])
    mask = np.array([[True, True, False, True, True, False, True, True, True]])
    # Event 1 has window (1.0); steps 0, 2, 4, 5 and 6 are near or masked; 3 has (0.5, 2.0), 7 and 8 are below 1.
    assert detection_auc(score, events, mask=mask, tolerance=1).auc == pytest.approx(2 / 3)


def test_curve_follows_from_its_thresholds():
    events = jumps()
    score = np.random.default_rng(1).normal(size=events.shape) + events
    found = detection_auc(score, events)
    for fpr, tpr, threshold in list(zip(found.fpr, found.tpr, found.thresholds, strict=True))[::10]:
        assert (score[events] >= threshold).mean() == pytest.approx(tpr)
        assert (score[~events] >= threshold).mean() == pytest.approx(fpr)
    trapezoids = np.diff(found.fpr) * (found.tpr[1:] + found.tpr[:-1]) / 2
    assert found.auc == pytest.approx(trapezoids.sum(), abs=1e-12)


def test_tensors_and_one_series():
    events = jumps(1)
    score = np.random.default_rng(1).normal(size=events.shape)
    found = detection_auc(torch.tensor(score, requires_grad=True), torch.tensor(events), mask=torch.ones(1, 100) > 0)
    assert type(found.auc) is float
    assert found.auc == detection_auc(score, events.astype(int)).auc


SCORE, EVENTS = np.arange(6.0).reshape(2, 3), np.array([[0, 0, 1], [0, 0, 0]])


@pytest.mark.parametrize(
    "score, events, kwargs, message",
    [
        (SCORE, EVENTS[:1], {}, r"score \(2, 3\) and events \(1, 3\) must both be \(N, T\): pass the same"),
        (SCORE[0], EVENTS[0], {}, r"one series as values\[None\]"),
        (SCORE * np.nan, EVENTS, {}, "score has NaN or infinite values in 6 of 6 steps"),
        (SCORE, EVENTS * 2, {}, "events must be 0 or 1"),
        (SCORE, EVENTS * np.nan, {}, "events must be 0 or 1"),
        (SCORE, EVENTS * 0, {}, "0 events and 6 steps without are left.*: pass more series"),
        (SCORE, EVENTS * 0 + 1, {}, "6 events and 0 steps without"),
        (SCORE[:1], EVENTS[:1], {"tolerance": 2}, "1 events and 0 steps without.*a smaller tolerance"),
        (SCORE, EVENTS, {"tolerance": -1}, "tolerance must be a number of steps >= 0, got -1: for none pass 0"),
        (SCORE, EVENTS, {"tolerance": 0.5}, "tolerance must be a number of steps"),
        (SCORE, EVENTS, {"mask": EVENTS == 0}, "0 events"),
    ],
)
def test_errors_name_cause_and_remedy(score, events, kwargs, message):
    with pytest.raises(ValueError, match=message):
        detection_auc(score, events, **kwargs)
