import dataclasses
import itertools
import math

import numpy as np
import pytest
import torch

from pyro_ldm.diagnostics import affine_r2, amari_distance, mcc


def amari_by_loops(unmixing, mixing):
    """The 1996 formula, entry by entry, over its largest value 2 D (D - 1)."""
    p, d, total = unmixing @ mixing, len(mixing[0]), 0.0
    for i in range(d):
        total += sum(abs(p[i, j]) for j in range(d)) / max(abs(p[i, j]) for j in range(d)) - 1
        total += sum(abs(p[j, i]) for j in range(d)) / max(abs(p[j, i]) for j in range(d)) - 1
    return total / (2 * d * (d - 1))


# --- Amari distance


def test_amari_by_hand():
    # Rows: 3/2 - 1 + 7/4 - 1 = 1.25; columns: 4/3 - 1 + 6/4 - 1 = 5/6; over 2 * 2 * 1 = 4.
    assert amari_distance(np.array([[1.0, -2.0], [3.0, 4.0]]), np.eye(2)) == pytest.approx((1.25 + 5 / 6) / 4)


@pytest.mark.parametrize("dim", [2, 3, 6])
def test_amari_equals_the_formula(dim):
    rng = np.random.default_rng(dim)
    unmixing, mixing = rng.normal(size=(dim, dim)), rng.normal(size=(dim, dim))
    assert amari_distance(unmixing, mixing) == pytest.approx(amari_by_loops(unmixing, mixing), abs=1e-12)


def test_amari_is_zero_up_to_permutation_and_scale_only():
    rng = np.random.default_rng(0)
    mixing = rng.normal(size=(4, 4))
    ambiguity = np.diag([2.0, -0.5, 10.0, -3.0])[[2, 0, 3, 1]]
    unmixing = ambiguity @ np.linalg.inv(mixing)
    assert amari_distance(unmixing, mixing) == pytest.approx(0, abs=1e-12)
    assert amari_distance(unmixing + 0.1 * rng.normal(size=(4, 4)), mixing) > 0.01
    rotation = np.linalg.qr(rng.normal(size=(4, 4)))[0]
    assert amari_distance(rotation @ np.linalg.inv(mixing), mixing) > 0.1


def test_amari_is_invariant_to_permutation_sign_and_common_scale():
    rng = np.random.default_rng(0)
    unmixing, mixing = rng.normal(size=(3, 3)), rng.normal(size=(3, 3))
    value = amari_distance(unmixing, mixing)
    for permutation in itertools.permutations(range(3)):
        other = 4 * np.diag([1.0, -1.0, -1.0])[list(permutation)] @ unmixing
        assert amari_distance(other, mixing) == pytest.approx(value, abs=1e-12)
        assert amari_distance(unmixing, -3 * mixing[:, list(permutation)]) == pytest.approx(value, abs=1e-12)


def test_amari_is_one_where_every_entry_has_the_same_size():
    hadamard = np.array([[1, 1, 1, 1], [1, -1, 1, -1], [1, 1, -1, -1], [1, -1, -1, 1]])
    assert amari_distance(hadamard, np.eye(4)) == pytest.approx(1.0)


def test_amari_of_more_observations_than_sources():
    mixing = np.random.default_rng(0).normal(size=(5, 3))
    assert amari_distance(np.linalg.pinv(mixing), mixing) == pytest.approx(0, abs=1e-12)


def test_amari_of_one_source_is_zero():
    assert amari_distance(torch.tensor([[3.0]]), np.array([[2.0]])) == 0.0


@pytest.mark.parametrize(
    "unmixing, mixing, message",
    [
        (np.eye(3), np.eye(2), r"\(3, 3\).*\(2, 2\).*transpose"),
        (np.ones((2, 3)), np.ones((2, 3)), "transpose"),
        (np.diag([1.0, 0.0]), np.eye(2), "zeros, so a source is lost: pass matrices of full rank"),
        (np.diag([1.0, np.nan]), np.eye(2), "unmixing has NaN"),
        (np.eye(2), np.ones(2), "mixing must be a matrix"),
    ],
)
def test_amari_errors(unmixing, mixing, message):
    with pytest.raises(ValueError, match=message):
        amari_distance(unmixing, mixing)


# --- MCC


def test_mcc_finds_permutation_and_signs():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(300, 4))
    z = truth[:, [2, 0, 3, 1]] * [1.0, -2.0, 3.0, -4.0] + 5
    found = mcc(z, truth)
    assert found.score == pytest.approx(1.0, abs=1e-12)
    assert found.permutation.tolist() == [1, 3, 0, 2]
    assert found.signs.tolist() == [-1.0, -1.0, 1.0, 1.0]
    aligned = found.signs * z[:, found.permutation]
    for k in range(4):
        assert np.corrcoef(aligned[:, k], truth[:, k])[0, 1] == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize("num_z", [3, 5])
def test_mcc_equals_the_best_over_all_matchings(num_z):
    rng = np.random.default_rng(num_z)
    truth = rng.normal(size=(50, 3))
    z = truth @ rng.normal(size=(3, num_z)) + rng.normal(size=(50, num_z))
    pairs = [[abs(np.corrcoef(truth[:, k], z[:, d])[0, 1]) for d in range(num_z)] for k in range(3)]
    best = max(np.mean([pairs[k][p[k]] for k in range(3)]) for p in itertools.permutations(range(num_z), 3))
    found = mcc(z, truth)
    assert found.score == pytest.approx(best, abs=1e-12)
    np.testing.assert_allclose(found.correlations, [pairs[k][found.permutation[k]] for k in range(3)], atol=1e-12)


def test_mcc_matches_one_to_one():
    # One column that follows both true coordinates counts for one of them only: not 1 / sqrt(2) but half of it.
    signs = np.array([[1, 1], [1, -1], [-1, 1], [-1, -1]], dtype=float)
    z = np.column_stack([signs.sum(axis=1), np.zeros(4)])
    found = mcc(z, signs)
    assert found.score == pytest.approx(0.5 / math.sqrt(2), abs=1e-12)
    assert sorted(found.permutation) == [0, 1]


def test_mcc_ignores_columns_left_over():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(100, 2))
    found = mcc(np.column_stack([rng.normal(size=100), truth[:, 1], np.full(100, 0.1), truth[:, 0]]), truth)
    assert found.permutation.tolist() == [3, 1]
    assert found.score == pytest.approx(1.0, abs=1e-12)


def test_mcc_of_collapsed_latents_is_zero():
    assert mcc(np.full((100, 2), 0.1), np.random.default_rng(0).normal(size=(100, 2))).score == 0.0


def test_mcc_of_a_rotation_is_below_one():
    # Two independent coordinates turned by 45 degrees correlate 1 / sqrt(2) with either: identified only linearly.
    truth = np.random.default_rng(0).uniform(size=(20_000, 2))
    z = truth @ np.array([[1.0, 1.0], [1.0, -1.0]])
    assert mcc(z, truth).score == pytest.approx(1 / math.sqrt(2), abs=0.02)
    assert affine_r2(z, truth) == pytest.approx(1.0, abs=1e-10)


def test_mcc_spearman_is_invariant_to_monotone_maps():
    truth = np.random.default_rng(0).normal(size=(500, 2))
    z = np.exp(-4 * truth[:, ::-1])
    found = mcc(z, truth, spearman=True)
    assert found.score == pytest.approx(1.0, abs=1e-12)
    assert (found.permutation.tolist(), found.signs.tolist()) == ([1, 0], [-1.0, -1.0])
    assert mcc(z, truth).score < 0.7


def test_mcc_spearman_by_hand():
    # Rank differences 0, 1, 1, 0 of four: 1 - 6 * 2 / (4 * 15) = 0.8.
    z, truth = np.array([[1.0], [3.0], [2.0], [100.0]]), np.array([[1.0], [2.0], [3.0], [4.0]])
    assert mcc(z, truth, spearman=True).score == pytest.approx(0.8, abs=1e-12)


@pytest.mark.parametrize("size", [1e-200, 1.0, 1e200])
def test_mcc_does_not_depend_on_scale(size):
    truth = np.array([[1.0], [2.0], [3.0], [5.0]])
    assert mcc(size * truth, truth / size).score == pytest.approx(1.0, abs=1e-12)


def test_mcc_of_tensors_is_frozen():
    truth = torch.randn(20, 2, requires_grad=True)
    found = mcc(truth.float(), truth)
    assert type(found.score) is float
    assert found.score <= 1.0
    with pytest.raises(dataclasses.FrozenInstanceError):
        found.score = 1.0


@pytest.mark.parametrize(
    "z, truth, message",
    [
        (np.eye(5), np.eye(4), "z has 5 rows and truth has 4: pass the same samples"),
        (np.eye(5, 2), np.eye(5, 3), "z has 2 columns for the 3 of truth.*: pass the columns of truth"),
        (np.eye(5, 2), np.ones((5, 2)), "truth is constant in coordinate 0, 1 over 5 rows"),
        (np.eye(2), np.eye(2), "at least 3 rows, got 2: pass more samples"),
        (np.full((5, 2), np.nan), np.eye(5, 2), "z has NaN or infinite values in 5 of 5 rows"),
        (np.eye(5, 2), np.zeros((5, 2, 1)), "truth must be a matrix"),
    ],
)
def test_mcc_errors(z, truth, message):
    with pytest.raises(ValueError, match=message):
        mcc(z, truth)


# --- MCC of series


def test_mcc_of_series_equals_that_of_their_steps():
    rng = np.random.default_rng(0)
    truth = rng.normal(size=(20, 15, 2))
    z = truth[..., ::-1] + rng.normal(size=truth.shape)
    mask = rng.uniform(size=(20, 15)) < 0.7
    pooled = mcc(z[mask], truth[mask])
    z[~mask] = np.nan
    truth[~mask] = np.inf
    found = mcc(torch.tensor(z), torch.tensor(truth), mask=torch.tensor(mask))
    assert found.score == pooled.score == mcc(z, truth, mask=mask).score
    assert found.permutation.tolist() == [1, 0]


def test_mcc_leaves_out_masked_rows():
    truth = np.random.default_rng(0).normal(size=(30, 2))
    z = np.where(np.arange(30)[:, None] < 20, truth, np.nan)
    assert mcc(z, truth, mask=np.arange(30) < 20).score == pytest.approx(1.0, abs=1e-12)


@pytest.mark.parametrize(
    "z, truth, mask, message",
    [
        (np.ones((3, 4, 2)), np.ones((3, 5, 2)), None, "z has 3 series of 4 steps and truth has 3 of 5: pass the same"),
        (np.ones((3, 4, 2)), np.ones((3, 4)), None, r"z must be a matrix of rows, as truth is.*values\[..., None\]"),
        (np.ones((3, 4, 0)), np.ones((3, 4, 2)), None, "z is empty"),
        (np.ones((3, 4, 2)), np.full((3, 4, 2), np.nan), None, "truth has NaN .* in 12 of 12 steps.*: pass a mask"),
        (np.ones((3, 4, 2)), np.ones((3, 4, 2)), np.ones((3, 5), bool), r"mask has shape \(3, 5\).*one entry per step"),
        (np.ones((3, 4, 2)), np.ones((3, 4, 2)), np.ones((3, 4)), "mask must be boolean.*: pass mask == 1"),
        (np.ones((3, 4, 2)), np.ones((3, 4, 2)), np.zeros((3, 4), bool), "mask is False everywhere"),
        (np.ones((5, 2)), np.ones((4, 2)), np.ones(5, bool), "z has 5 rows and truth has 4"),
        (np.ones((1, 2, 2)), np.ones((1, 2, 2)), None, "z needs at least 3 rows, got 2"),
    ],
)
def test_mcc_of_series_errors(z, truth, mask, message):
    with pytest.raises(ValueError, match=message):
        mcc(z, truth, mask=mask)
