import dataclasses
import subprocess
import sys

import numpy as np
import pytest
import torch

from pyro_ldm.diagnostics import Probe, knn_probe, linear_probe

PROBES = [linear_probe, knn_probe]


def blobs(num_rows, *, seed=0, distance=2.0, num_classes=3):
    """Unit Gaussians around the corners of a simplex."""
    rng = np.random.default_rng(seed)
    y = np.arange(num_rows) % num_classes
    return distance * np.eye(num_classes)[y] + rng.normal(size=(num_rows, num_classes)), y


@pytest.mark.parametrize("probe", PROBES)
def test_separated_classes(probe):
    found = probe(blobs(90, distance=20.0), blobs(60, seed=1, distance=20.0))
    assert (found.accuracy, found.validation_accuracy) == (1.0, 1.0)


@pytest.mark.parametrize("probe", PROBES)
def test_accuracy_is_near_that_of_the_bayes_rule(probe):
    train, test = blobs(1000, distance=2.0), blobs(1000, seed=1, distance=2.0)
    bayes = (test[0].argmax(axis=1) == test[1]).mean()  # equal shares, unit covariances: the nearest corner
    assert 0.75 < bayes < 0.9
    assert probe(train, test).accuracy == pytest.approx(bayes, abs=0.03)


@pytest.mark.parametrize("probe", PROBES)
def test_latents_without_information_score_at_chance(probe):
    rng = np.random.default_rng(0)
    y = np.arange(1000) % 4
    found = probe((rng.normal(size=(1000, 5)), y), (rng.normal(size=(1000, 5)), y))
    assert found.accuracy == pytest.approx(0.25, abs=0.06)


@pytest.mark.parametrize("probe", PROBES)
def test_setting_is_chosen_without_the_test_rows(probe):
    train, (test_z, test_y) = blobs(200), blobs(100, seed=1)
    honest = probe(train, (test_z, test_y))
    inverted = probe(train, (test_z, (test_y + 1) % 3))
    assert (honest.setting, honest.validation_accuracy) == (inverted.setting, inverted.validation_accuracy)
    assert honest.accuracy > 0.6 > 0.4 > inverted.accuracy


def test_linear_probe_sees_no_circle_and_knn_does():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1000, 2))
    y = (np.linalg.norm(z, axis=1) > np.sqrt(2 * np.log(2))).astype(int)  # the median radius: half inside
    train, test = (z[:500], y[:500]), (z[500:], y[500:])
    assert linear_probe(train, test).accuracy < 0.65
    assert knn_probe(train, test).accuracy > 0.9


def test_linear_probe_does_not_depend_on_the_scale_of_columns():
    (train_z, train_y), (test_z, test_y) = blobs(200), blobs(200, seed=1)
    scale, shift = np.array([1e-6, 1.0, 1e6]), np.array([5.0, -3.0, 1e7])
    found = linear_probe((train_z * scale + shift, train_y), (test_z * scale + shift, test_y))
    assert found.accuracy == pytest.approx(linear_probe((train_z, train_y), (test_z, test_y)).accuracy, abs=0.011)


def test_linear_probe_standardises_test_rows_by_training_rows():
    # Every test row lies on class 1's side; standardised by their own mean, half of them would not.
    z = np.linspace(-1, 1, 100)[:, None]
    train = (z, (z[:, 0] > 0).astype(int))
    assert linear_probe(train, (z + 2, np.ones(100, dtype=int))).accuracy == 1.0


@pytest.mark.parametrize(
    "transform",
    [
        lambda z: np.hstack([z, z, 1e3 * z + 1e6]),  # collinear
        lambda z: np.hstack([z, np.full((len(z), 2), 0.1)]),  # constant columns
        lambda z: z[:, :1] > 0,  # few values
        lambda z: np.hstack([z, np.random.default_rng(2).normal(size=(len(z), 150))]),  # more columns than rows
        lambda z: 1e8 * z**5,  # heavy tails
    ],
    ids=["collinear", "constant", "binary", "wide", "heavy"],
)
def test_linear_probe_converges_without_warnings(transform):
    (train_z, train_y), (test_z, test_y) = blobs(120, distance=5.0), blobs(60, seed=1, distance=5.0)
    assert 0 <= linear_probe((transform(train_z), train_y), (transform(test_z), test_y)).accuracy <= 1


def test_linear_probe_prefers_strong_regularisation_with_many_useless_columns():
    rng = np.random.default_rng(0)
    z, y = rng.normal(size=(300, 100)), np.arange(300) % 2
    z[:, 0] += 2.0 * y
    assert linear_probe((z, y), (z, y)).setting <= 0.1


def test_linear_probe_prefers_weak_regularisation_where_the_strong_sees_only_the_majority():
    z = np.linspace(0, 1, 200)[:, None]
    y = (z[:, 0] > 0.9).astype(int)
    found = linear_probe((z, y), (z, y))
    assert found.setting >= 1.0
    assert found.accuracy > 0.97  # the majority is 0.9


def test_knn_probe_by_hand():
    # Points 0, 1, 2 | 10, 11, 12 on a line, every k from the grid that four fitted rows allow is 1 or 3.
    z, y = np.array([[0.0], [1.0], [2.0], [10.0], [11.0], [12.0]]), np.array(["a", "a", "a", "b", "b", "b"])
    found = knn_probe((z, y), (np.array([[4.0], [7.0], [5.0]]), np.array(["a", "b", "b"])))
    assert found.accuracy == pytest.approx(2 / 3)
    assert found.setting in (1.0, 3.0)


def test_knn_probe_uses_many_neighbours_where_labels_are_noisy():
    rng = np.random.default_rng(0)
    z = rng.uniform(-1, 1, size=(1000, 1))
    y = ((z[:, 0] > 0) ^ (rng.uniform(size=1000) < 0.3)).astype(int)
    clean = rng.uniform(-1, 1, size=(500, 1))
    found = knn_probe((z, y), (clean, (clean[:, 0] > 0).astype(int)))
    assert found.setting >= 11  # the nearest neighbour alone is wrong in three of ten
    assert found.accuracy > 0.9


def test_knn_probe_equals_a_vote_by_loops():
    (train_z, train_y), (test_z, test_y) = blobs(150), blobs(50, seed=1)
    found = knn_probe((train_z, train_y), (test_z, test_y))
    hits = 0
    for row, label in zip(test_z, test_y, strict=True):
        nearest = np.argsort(((train_z - row) ** 2).sum(axis=1))[: int(found.setting)]
        hits += np.bincount(train_y[nearest]).argmax() == label
    assert found.accuracy == hits / 50


def test_knn_probe_by_cosine_ignores_length():
    rng = np.random.default_rng(0)
    angle, length = rng.uniform(0, np.pi, size=400), np.exp(rng.normal(scale=3.0, size=400))
    z, y = length[:, None] * np.column_stack([np.cos(angle), np.sin(angle)]), (angle > np.pi / 2).astype(int)
    train, test = (z[:200], y[:200]), (z[200:], y[200:])
    unit = [(z / np.linalg.norm(z, axis=1, keepdims=True), y) for z, y in (train, test)]
    assert knn_probe(train, test, metric="cosine").accuracy == knn_probe(*unit).accuracy > 0.95
    assert knn_probe(train, test).accuracy < knn_probe(train, test, metric="cosine").accuracy


@pytest.mark.parametrize("probe", PROBES)
def test_tensors_and_labels_of_any_kind(probe):
    (train_z, train_y), (test_z, test_y) = blobs(60), blobs(60, seed=1)
    expected = probe((train_z, train_y), (test_z, test_y))
    names = np.array(["cat", "dog", "emu"])
    assert probe((train_z, names[train_y]), (test_z, names[test_y])) == expected
    tensors = [
        (torch.tensor(z, requires_grad=True), torch.tensor(y)) for z, y in ((train_z, train_y), (test_z, test_y))
    ]
    assert probe(*tensors) == expected
    assert probe((train_z, train_y.astype(float)), (test_z, test_y)) == expected


@pytest.mark.parametrize("probe", PROBES)
def test_seed_repeats_the_split_and_many_rare_classes_fit_in_it(probe):
    z, y = blobs(20, num_classes=10, distance=20.0)  # two rows each: one to fit, one to validate
    assert probe((z, y), (z, y), seed=3) == probe((z, y), (z, y), seed=3)
    for seed in range(5):  # without strata some class would have no row to fit on
        assert probe((z, y), (z, y), seed=seed).validation_accuracy == 1.0


def test_probe_is_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Probe(accuracy=0.5, validation_accuracy=0.5, setting=1.0).accuracy = 1.0


GOOD = (np.arange(8.0).reshape(4, 2), np.array([0, 1, 0, 1]))


@pytest.mark.parametrize("probe", PROBES)
@pytest.mark.parametrize(
    "train, test, message",
    [
        ((GOOD[0], GOOD[1][:3]), GOOD, "z of train has 4 rows and y of train has 3: pass the same samples"),
        (GOOD, (GOOD[0], GOOD[1][:3]), "z of test has 4 rows and y of test has 3"),
        (GOOD, (GOOD[0][:, :1], GOOD[1]), "train has 2 columns and test 1: encode both by the same encoder"),
        ((GOOD[0] * np.nan, GOOD[1]), GOOD, "z of train has NaN or infinite values"),
        ((GOOD[0][:, 0], GOOD[1]), GOOD, "z of train must be a matrix"),
        ((GOOD[0][:1], GOOD[1][:1]), GOOD, "z of train needs at least 2 rows, got 1"),
        ((GOOD[0], np.eye(4)), GOOD, r"one class label per row.*argmax\(-1\)"),
        ((GOOD[0], np.zeros(4, dtype=int)), GOOD, "one class only, 0: pass rows of at least two classes"),
        ((GOOD[0], np.array([0, 0, 0, 7])), GOOD, "class 7 has one row in train.*: pass at least two"),
        ((GOOD[0], np.array([0.5, 0.1, 0.2, 0.3])), GOOD, "class labels.*: for continuous truth use affine_r2"),
        ((GOOD[0], np.array([0.0, 1.0, np.nan, 1.0])), GOOD, "class labels"),
    ],
)
def test_errors_name_cause_and_remedy(probe, train, test, message):
    with pytest.raises(ValueError, match=message):
        probe(train, test)


def test_knn_probe_refuses_other_metrics():
    with pytest.raises(ValueError, match="metric 'manhattan' is not known: pass"):
        knn_probe(GOOD, GOOD, metric="manhattan")


def test_import_is_cheap():
    """scikit-learn loads when a diagnostic runs, not when the package is imported."""
    code = "import sys, pyro_ldm.diagnostics; assert not any(name.startswith('sklearn') for name in sys.modules)"
    subprocess.run([sys.executable, "-c", code], check=True)
