import math

import pytest
import torch

from pyro_ldm.datasets import DataError, ornstein_uhlenbeck


def test_defaults_are_the_papers():
    data = ornstein_uhlenbeck()
    assert data.x.shape == data.truth.shape == (5000, 2) and data.x.dtype == torch.float32
    r = 0.5**0.5
    assert torch.allclose(data.mixing, torch.tensor([[r, r], [-r, r]], dtype=torch.float32))
    assert torch.allclose(data.x, data.truth @ data.mixing, atol=1e-6)


def test_increments_are_the_euler_steps():
    # Solved for the noise, the recursion gives back independent standard normals.
    s = ornstein_uhlenbeck(num=20000).truth.double()
    for path, theta in zip(s.T, (2.0, 0.2), strict=True):
        noise = (path[1:] - path[:-1] + theta * path[:-1] * 0.1) / (0.3 * math.sqrt(0.1))
        assert noise.mean().abs() < 0.03  # 4 standard errors
        assert noise.var() == pytest.approx(1, abs=0.04)
        assert torch.corrcoef(torch.stack([noise[1:], noise[:-1]]))[0, 1].abs() < 0.03


def test_stationary_variance_and_autocorrelation():
    s = ornstein_uhlenbeck(num=1_000_000).truth.double()
    # sigma^2 dt / (1 - a^2) with a = 0.8 and 0.98: 0.009 / 0.36 and 0.009 / 0.0396.
    assert torch.allclose(s.var(0), torch.tensor([0.025, 0.2272727]), rtol=0.05)
    for lag in (1, 3, 10):
        correlation = (s[lag:] * s[:-lag]).mean(0) / s.var(0)
        assert torch.allclose(correlation, torch.tensor([0.8**lag, 0.98**lag]), atol=0.02)


def test_starts_in_the_stationary_distribution():
    first = torch.stack([ornstein_uhlenbeck(num=2, seed=seed).truth[0] for seed in range(2000)]).double()
    assert torch.allclose(first.var(0), torch.tensor([0.025, 0.2272727]), rtol=0.15)


def test_a_small_step_has_the_continuous_variance():
    s = ornstein_uhlenbeck(num=500_000, theta=(2.0, 1.0), dt=0.01).truth.double()
    assert torch.allclose(s.var(0), torch.tensor([0.09 / 4, 0.09 / 2]), rtol=0.08)


def test_seed():
    assert torch.equal(ornstein_uhlenbeck(num=50, seed=1).x, ornstein_uhlenbeck(num=50, seed=1).x)
    assert not torch.equal(ornstein_uhlenbeck(num=50, seed=1).x, ornstein_uhlenbeck(num=50, seed=2).x)


@pytest.mark.parametrize(
    "bad", [{"theta": (2.0, 20.0)}, {"theta": (2.0, 0.0)}, {"theta": (1.0,)}, {"sigma": 0.0}, {"dt": -0.1}, {"num": 1}]
)
def test_bad_parameters(bad):
    with pytest.raises(DataError, match="give"):
        ornstein_uhlenbeck(**bad)
