"""Discrepancies against numpy and scipy, and worlds that each is to tell apart."""

import numpy as np
import pytest
import torch
from scipy import stats

from pyro_ldm.posterior.discrepancies import (
    LEVELS,
    autocorrelation,
    cross_view_correlation,
    default_discrepancies,
    kurtosis,
    largest_correlation,
    magnitude_correlation,
    quantiles,
    skewness,
    spectrum,
)


def z():
    torch.manual_seed(1)
    return torch.randn(101, 3).exp() @ torch.tensor([[1.0, 0.4, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0]])


def test_moments_equal_scipy():
    rows = z()
    assert np.allclose(skewness(rows), stats.skew(rows.numpy()))
    assert np.allclose(kurtosis(rows), stats.kurtosis(rows.numpy()))


def test_quantiles_are_order_statistics_one_dim_after_the_other():
    rows = z()
    expected = np.quantile(rows.numpy(), LEVELS, axis=0)  # 100 intervals: each level is an order statistic
    assert np.allclose(quantiles(rows), expected.T.ravel())


def test_spectrum_is_of_the_covariance():
    rows = z()
    assert np.allclose(spectrum(rows), np.linalg.eigvalsh(np.cov(rows.numpy().T))[::-1])


def test_largest_correlation_of_each_dim():
    rows = z()
    correlation = np.abs(np.corrcoef(rows.numpy().T)) - np.eye(3)
    assert np.allclose(largest_correlation(rows), correlation.max(0))
    rows[:, 2] = -rows[:, 0]
    assert np.allclose(largest_correlation(rows)[[0, 2]], 1.0)


def test_magnitude_correlation_sees_a_shared_scale():
    independent = torch.randn(5000, 3)
    shared = independent * torch.randn(5000, 1).exp()
    assert magnitude_correlation(independent).max() < 0.06
    assert largest_correlation(shared).max() < 0.2 and magnitude_correlation(shared).min() > 0.4  # 0.525


def test_cross_view_correlation_equals_numpy():
    first, second = z(), z().flip(0) + z()
    expected = [np.corrcoef(first[:, d], second[:, d])[0, 1] for d in range(3)]
    assert np.allclose(cross_view_correlation(first, second), expected)


def ar1(num=400, steps=60, phi=0.8):
    h = [torch.randn(num, 2)]
    for _ in range(steps - 1):
        h.append(phi * h[-1] + (1 - phi**2) ** 0.5 * torch.randn(num, 2))
    return torch.stack(h, 1)


def test_autocorrelation_of_an_autoregression_falls_off_by_powers():
    found = autocorrelation(ar1(), lags=(1, 2, 4)).reshape(2, 3)
    assert np.allclose(found, [[0.8, 0.64, 0.4096]] * 2, atol=0.03)


def test_autocorrelation_leaves_out_what_is_not_there():
    series = ar1(num=3, steps=10)
    mask = torch.rand(3, 10) < 0.7
    rows = series[mask]
    centred = series - rows.mean(0)
    pairs = [
        centred[n, t, 0] * centred[n, t + 2, 0] for n in range(3) for t in range(8) if mask[n, t] and mask[n, t + 2]
    ]
    expected = torch.stack(pairs).mean() / rows[:, 0].var(correction=0)
    series[~mask] = torch.nan
    assert autocorrelation(series, lags=(2,), mask=mask)[0].item() == pytest.approx(expected.item())


@pytest.mark.parametrize(
    "function", [skewness, kurtosis, quantiles, spectrum, largest_correlation, magnitude_correlation]
)
def test_leading_dims_are_sets(function):
    sets = torch.stack([z(), z().flip(1)])
    assert torch.allclose(function(sets), torch.stack([function(each) for each in sets]))


def test_the_default_ones_have_a_label_for_each_number():
    series = {"z": ar1(num=5, steps=6), "z_prime": ar1(num=5, steps=6)}
    found = default_discrepancies(series)
    for discrepancy in found.values():
        assert discrepancy.function(*series.values()).shape == (len(discrepancy.labels),)
    assert found["mean"].labels == ["z, dim 0", "z, dim 1", "z_prime, dim 0", "z_prime, dim 1"]
    assert found["cross-view correlation"].labels == ["dim 0", "dim 1"]
    assert found["autocorrelation"].labels[:4] == [
        "z, dim 0 at lag 1",
        "z, dim 0 at lag 2",
        "z, dim 0 at lag 4",
        "z, dim 1 at lag 1",
    ]
    labels = default_discrepancies({"z": z()})["quantile"].labels
    assert labels[:6] == [*[f"dim 0 at {q} %" for q in (1, 10, 50, 90, 99)], "dim 1 at 1 %"]


@pytest.mark.parametrize("mask", [torch.arange(5) < 3, (torch.arange(5) < 3).unsqueeze(1).expand(5, 6)])
def test_masked_series_are_left_out(mask):
    series = ar1(num=5, steps=6)
    expected = {n: d.function(series[:3]) for n, d in default_discrepancies({"z": series[:3]}).items()}
    series[3:] = 1e6
    for name, discrepancy in default_discrepancies({"z": series}, mask=mask).items():
        assert torch.allclose(discrepancy.function(series), expected[name]), name


def test_lags_without_a_pair_of_steps_are_left_out():
    mask = torch.zeros(4, 6, dtype=torch.bool)
    mask[:, :2] = True
    assert default_discrepancies({"z": ar1(4, 6)}, mask=mask)["autocorrelation"].labels == [
        "dim 0 at lag 1",
        "dim 1 at lag 1",
    ]
    assert "autocorrelation" not in default_discrepancies({"z": ar1(4, 1)})


def test_other_shapes_are_refused():
    with pytest.raises(ValueError, match=r"z has shape \(5,\): the discrepancies are of latents \(N, D\)"):
        default_discrepancies({"z": torch.zeros(5)})


def test_a_constant_dim_is_not_a_number_of_nothing():
    rows = torch.randn(50, 2) * torch.tensor([1.0, 0.0])
    assert skewness(rows)[1] == 0 and largest_correlation(rows).tolist() == [0.0, 0.0]
