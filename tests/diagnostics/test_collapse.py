import dataclasses
import math

import numpy as np
import pytest
import torch

from pyro_ldm.diagnostics import Collapse, collapse


def orthogonal_rows(variances, repeats=1):
    """Rows +-e_d scaled: their covariance is diagonal with the given ratios, exactly."""
    axes = np.diag(np.sqrt(variances))
    return np.concatenate([axes, -axes] * repeats)


@pytest.mark.parametrize("k", [1, 3, 8])
def test_effective_rank_of_k_equal_eigenvalues_is_k(k):
    z = orthogonal_rows([2.0] * k + [0.0] * (8 - k))
    assert collapse(z).effective_rank == pytest.approx(k, abs=1e-10)


def test_effective_rank_is_the_entropy_of_eigenvalues_not_of_singular_values():
    # Eigenvalues 3 : 1. exp(-(3/4 log 3/4 + 1/4 log 1/4)) = 4 / 3^(3/4) = 1.7548; their roots would give 1.9280.
    assert collapse(orthogonal_rows([3.0, 1.0])).effective_rank == pytest.approx(4 / 3**0.75, abs=1e-10)


def test_effective_rank_equals_that_of_the_covariance_matrix():
    z = np.random.default_rng(0).normal(size=(40, 6)) @ np.random.default_rng(1).normal(size=(6, 6)) + 5
    singular = np.linalg.svd(np.cov(z, rowvar=False), compute_uv=False)
    share = singular / singular.sum()
    assert collapse(z).effective_rank == pytest.approx(math.exp(-(share * np.log(share)).sum()), abs=1e-8)


def test_effective_rank_is_invariant_to_rotation_shift_and_scale():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(50, 5)) * [1, 2, 3, 4, 5]
    rotation = np.linalg.qr(rng.normal(size=(5, 5)))[0]
    assert collapse(7 * z @ rotation + 3).effective_rank == pytest.approx(collapse(z).effective_rank, abs=1e-10)


def test_fewer_rows_than_dimensions_use_the_other_gram_matrix():
    # Four centred rows of equal length at equal angles (a simplex) have three equal eigenvalues.
    report = collapse(np.eye(4, 100))
    assert report.effective_rank == pytest.approx(3, abs=1e-10)
    assert report.verdict.startswith(
        "dead dimensions: 96 of 100 hardly vary, effective rank 3.0 of the 3 that 4 rows can show; "
    )


def test_variance_spread_and_dimension():
    report = collapse(np.array([[0.0, 10.0], [2.0, 10.5]]))
    np.testing.assert_allclose(report.variance, [2.0, 0.125])
    assert report.spread == pytest.approx(math.sqrt(1 + 0.0625))
    assert report.latent_dim == 2


def test_healthy_latents():
    report = collapse(np.random.default_rng(0).normal(size=(4000, 16)))
    assert str(report) == report.verdict == "not collapsed: effective rank 16.0 of 16"
    assert (report.duplicate_share, report.num_dead) == (0.0, 0)


@pytest.mark.parametrize("constant", [0.0, 0.1, -3e8])
def test_complete_collapse_onto_one_point(constant):
    report = collapse(np.full((10, 3), constant))
    assert report.verdict.startswith("complete collapse: all rows are (nearly) the same point")
    assert (report.effective_rank, report.spread, report.num_dead, report.duplicate_share) == (0.0, 0.0, 3, 1.0)


def test_complete_collapse_up_to_noise_is_relative_to_the_scale_of_the_prior():
    z = 1e-4 * np.random.default_rng(0).normal(size=(100, 3))
    assert collapse(z).verdict.startswith("complete collapse")
    assert collapse(z, scale=1e-4).verdict.startswith("not collapsed")


def test_complete_collapse_up_to_float32_rounding():
    z = np.float32(1e6) + np.random.default_rng(0).integers(0, 2, size=(100, 3)) * np.spacing(np.float32(1e6))
    assert collapse(z).verdict.startswith("complete collapse")


def test_dimensional_collapse():
    rng = np.random.default_rng(0)
    z = rng.normal(size=(1000, 2)) @ np.linalg.qr(rng.normal(size=(16, 2)))[0].T + 0.01 * rng.normal(size=(1000, 16))
    report = collapse(z)
    assert report.verdict.startswith("dimensional collapse: effective rank 2.0 of 16; ")
    assert "LogDet" in report.verdict
    assert report.num_dead == 0  # every column varies: only the spectrum shows it


@pytest.mark.parametrize("num_rows, dim", [(17, 16), (9, 16), (3, 64)])
def test_few_healthy_rows_are_not_called_collapsed(num_rows, dim):
    for seed in range(20):
        assert collapse(np.random.default_rng(seed).normal(size=(num_rows, dim))).verdict.startswith("not collapsed")


def test_dead_dimensions():
    z = np.random.default_rng(0).normal(size=(1000, 4)) * [1, 1, 1, 0.005]
    report = collapse(z)
    assert report.num_dead == 1
    assert report.verdict.startswith("dead dimensions: 1 of 4 hardly vary, effective rank 3.0 of 4; ")
    assert collapse(z * [1, 1, 1, 4]).num_dead == 0


def test_duplicates():
    z = np.random.default_rng(0).normal(size=(80, 3))
    report = collapse(np.concatenate([z, z[:20]]))
    assert report.duplicate_share == 0.4  # 20 rows and their 20 copies, of 100
    assert report.verdict.startswith("duplicates: 40 % of the rows repeat another row; ")
    assert collapse(np.concatenate([z, z[:1]])).verdict.startswith("not collapsed")


def test_zeros_of_either_sign_are_duplicates():
    assert collapse(np.array([[0.0, 1.0], [-0.0, 1.0], [5.0, 2.0]])).duplicate_share == pytest.approx(2 / 3)


def test_two_findings_share_one_verdict():
    z = np.zeros((20, 8))
    z[:, 0] = np.arange(20) // 2
    verdict = collapse(z).verdict
    assert verdict.startswith("dimensional collapse: effective rank 1.0 of 8, and duplicates: 100 % of the rows")
    assert "\n" not in verdict


@pytest.mark.parametrize("dtype", [torch.float64, torch.float32, torch.bfloat16, torch.int64])
def test_tensors_of_any_dtype(dtype):
    z = torch.tensor([[0, 1], [2, 0], [4, 3]], dtype=dtype)
    assert collapse(z).effective_rank == pytest.approx(collapse(np.array([[0, 1], [2, 0], [4, 3]])).effective_rank)


def test_tensors_that_require_a_gradient():
    assert isinstance(collapse(torch.randn(10, 2, requires_grad=True)), Collapse)


def test_input_is_not_changed():
    z = np.random.default_rng(0).normal(size=(10, 2))
    before = z.copy()
    collapse(z)
    np.testing.assert_array_equal(z, before)


def test_report_is_frozen_and_plain():
    report = collapse(np.random.default_rng(0).normal(size=(10, 2)))
    assert type(report.effective_rank) is float and type(report.duplicate_share) is float
    assert type(report.num_dead) is int and type(report.variance) is np.ndarray
    with pytest.raises(dataclasses.FrozenInstanceError):
        report.verdict = "fine"


@pytest.mark.parametrize(
    "z, message",
    [
        (np.zeros((1, 3)), r"at least 2 rows, got 1: pass more samples"),
        (np.zeros((0, 3)), r"at least 2 rows, got 0"),
        (np.zeros((5, 0)), r"no columns"),
        (np.zeros(5), r"matrix of rows, \(N, D\), got shape \(5,\).*reshape"),
        (torch.zeros(5, 2, 3), r"got shape \(5, 2, 3\).*reshape\(-1, D\)"),
        (np.array([[0.0, 1.0], [np.nan, 1.0]]), r"NaN or infinite values in 1 of 2 rows: drop"),
        (torch.tensor([[0.0, 1.0], [torch.inf, 1.0]]), r"NaN or infinite"),
    ],
)
def test_errors_name_cause_and_remedy(z, message):
    with pytest.raises(ValueError, match=message):
        collapse(z)


@pytest.mark.parametrize("scale", [0.0, -1.0, float("nan"), float("inf")])
def test_scale_is_positive(scale):
    with pytest.raises(ValueError, match="scale must be positive"):
        collapse(np.eye(3), scale=scale)
