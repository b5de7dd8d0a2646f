import numpy as np
import pytest
import torch
from scipy.spatial import procrustes

from pyro_ldm.diagnostics.agreement import agreement

RNG = np.random.default_rng(0)
Z = RNG.laplace(size=(800, 3))
ROTATION = np.linalg.qr(RNG.normal(size=(3, 3)))[0]
SHEAR = np.array([[1.0, 4.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 0.2]])


def pair(other, z=Z, **kwargs):
    found = agreement({"a": z, "b": other}, **kwargs)
    return found.pairs.loc[("a", "b")], found


def test_up_to_order_sign_and_scale():
    row, found = pair(Z[:, [1, 2, 0]] * [2.0, -3.0, 1.0] + 5)
    assert row["mcc"] == pytest.approx(1) and row["affine"] == pytest.approx(1) and row["cca"] == pytest.approx(1)
    assert row["procrustes"] < 0.95  # unequal scales are no rotation
    assert found.verdict.startswith("the same up to order, sign and scale: MCC at least 1.00 over 1 pair")


def test_up_to_rotation():
    row, found = pair(-3 * Z @ ROTATION + 1)
    assert row["procrustes"] == pytest.approx(1) and row["cca"] == pytest.approx(1)
    assert row["mcc"] < 0.95
    assert str(found).startswith("the same up to rotation and scale: Procrustes R2 at least 1.00")


def test_up_to_an_affine_map():
    row, found = pair(Z @ ROTATION @ SHEAR)
    assert row["affine"] == pytest.approx(1) and row["cca"] == pytest.approx(1)
    assert row["procrustes"] < 0.95
    assert found.verdict.startswith("the same up to an affine map: affine R2 at least 1.00")


def test_procrustes_is_scipys():
    other = Z @ SHEAR + RNG.normal(size=Z.shape)
    assert pair(other)[0]["procrustes"] == pytest.approx(1 - procrustes(Z, other)[2], abs=1e-12)


def test_cca_by_eigenvalues():
    other = Z @ SHEAR + 3 * RNG.normal(size=Z.shape)
    covariance = np.cov(Z.T, other.T)
    a, b, c = covariance[:3, :3], covariance[3:, 3:], covariance[:3, 3:]
    squares = np.linalg.eigvals(np.linalg.inv(a) @ c @ np.linalg.inv(b) @ c.T).real
    assert pair(other)[0]["cca"] == pytest.approx(np.sqrt(squares).mean(), abs=1e-10)


def test_affine_is_the_worse_of_both_directions():
    first = Z[:, :1] + [0.0, 0.01, 0.01] * RNG.normal(size=(800, 3))  # Z tells all of it, and it tells a third of Z
    row, found = pair(first)
    assert row["affine"] == pytest.approx(1 / 3, abs=0.02)
    assert found.verdict.startswith("not the same: ") and "least between 'a' and 'b'" in found.verdict


def test_unrelated_runs():
    row, found = pair(RNG.normal(size=(800, 3)))
    assert row["cca"] < 0.12 and row["affine"] < 0.02 and row["procrustes"] < 0.02
    assert found.verdict.startswith("not the same")


def test_different_dims():
    wide = np.column_stack([Z @ ROTATION, RNG.normal(size=800)])
    for row in (pair(wide)[0], pair(Z, z=wide)[0]):
        assert row["cca"] == pytest.approx(1) and row["affine"] == pytest.approx(1)
        assert 0.6 < row["procrustes"] < 0.95  # the spare coordinate has no partner but zeros
    row, found = pair(np.column_stack([RNG.normal(size=800), -Z]))
    assert row["mcc"] == pytest.approx(1)
    assert "MCC at least 1.00 over 1 pair, of unequal dims the smaller within the larger (" in found.verdict


def test_every_pair_and_the_worst_named():
    noisy = Z + 2 * RNG.normal(size=Z.shape)
    found = agreement({"0": Z, "1": Z * 2, "2": noisy})
    assert list(found.pairs.index) == [("0", "1"), ("0", "2"), ("1", "2")]
    assert found.verdict.startswith("not the same") and "over 3 pairs" in found.verdict and "and '2'" in found.verdict


def test_truth():
    found = agreement({"good": 2 * Z[:, ::-1], "turned": Z @ ROTATION}, truth=Z)
    assert list(found.truth.index) == ["good", "turned"]
    good, turned = found.truth.loc["good"], found.truth.loc["turned"]
    assert good["affine_r2"] == pytest.approx(1) and good["mcc"] == pytest.approx(1)
    assert good["disentanglement"] > 0.95 and good["informativeness"] > 0.95
    assert turned["affine_r2"] == pytest.approx(1) and turned["mcc"] < 0.95 and turned["disentanglement"] < 0.7
    assert "the truth is found with affine R2 1.00 to 1.00, MCC 0." in found.verdict
    alone = agreement({"good": Z[:, :2]}, truth=Z[:, :1])
    assert not len(alone.pairs) and alone.truth.loc["good", "mcc"] == pytest.approx(1)
    narrow = agreement({"narrow": Z[:, :2]}, truth=Z)
    assert np.isnan(narrow.truth.loc["narrow", "mcc"]) and narrow.truth.loc["narrow", "completeness"] > 0
    assert narrow.verdict.endswith("affine R2 0.67 to 0.67, no MCC of narrow, of fewer dims than the truth")
    both = agreement({"narrow": Z[:, :2], "whole": Z}, truth=Z).verdict
    assert both.endswith("MCC 1.00 to 1.00, no MCC of narrow, of fewer dims than the truth")


def test_series_masks_and_tensors():
    series = Z.reshape(80, 10, 3)
    mask = np.ones((80, 10), bool)
    mask[:, 8:] = False
    other = np.where(mask[..., None], series @ ROTATION, np.nan)
    found = agreement({"a": torch.tensor(series), "b": torch.tensor(other)}, mask=torch.tensor(mask))
    assert found.pairs["procrustes"].iloc[0] == pytest.approx(1)


@pytest.mark.parametrize(
    "latents, kwargs, message",
    [
        ({"a": Z}, {}, "two runs or more, got 1: pass more runs, or truth"),
        ({}, {"truth": Z}, "two runs or more, got 0"),
        ({0: Z, "0": Z}, {}, r"two runs have one name among \[0, '0'\]"),
        ({"a": Z, "b": Z[:9]}, {}, "b has 9 rows and a has 800"),
        ({"a": Z, "b": Z * np.nan}, {}, "b has NaN"),
        ({"a": Z, "b": Z.reshape(80, 10, 3)}, {}, "must be a matrix of rows"),
        ({"a": Z, "b": Z * [1, 0, 1]}, {}, r"'b' is constant in coordinates \[1\].*collapsed"),
        ({"a": Z[:9], "b": Z[:9]}, {}, "'a' has 9 rows that count of 3 dims, too few"),
        ({"a": Z, "b": Z}, {"mask": np.ones(5, bool)}, "mask has shape"),
    ],
)
def test_errors(latents, kwargs, message):
    with pytest.raises(ValueError, match=message):
        agreement(latents, **kwargs)


def test_runs_without_names_are_refused():
    with pytest.raises(TypeError, match="a dict of each run's by its name, got list"):
        agreement([Z, Z])
