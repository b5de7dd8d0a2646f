import pyro.distributions as dist
import pytest
import torch

from pyro_ldm.datasets import DataError, sources


def test_laplace_sources_by_default():
    data = sources(num_sources=3, num=50_000)
    assert data.x.shape == data.truth.shape == (50_000, 3) and data.x.dtype == torch.float32
    assert torch.allclose(data.x, data.truth @ data.mixing, atol=1e-5)
    truth = data.truth.double()
    # Laplace(0, 1): variance 2, excess kurtosis 3, independent.
    assert torch.allclose(truth.var(0), torch.full((3,), 2.0), rtol=0.05)
    assert torch.allclose((truth**4).mean(0) / truth.var(0) ** 2, torch.full((3,), 6.0), rtol=0.15)
    assert (torch.corrcoef(truth.T) - torch.eye(3)).abs().max() < 0.03


@pytest.mark.parametrize("num_sources", [2, 10, 40])
def test_mixing_is_well_conditioned(num_sources):
    mixing = sources(num_sources=num_sources, num=2).mixing.double()
    assert torch.linalg.cond(mixing) == pytest.approx(3, rel=1e-4)
    assert (mixing.abs() > 0.01).double().mean() > 0.8  # and no mere scaling


def test_any_univariate_distribution():
    one = sources(dist.Uniform(2.0, 3.0), num_sources=3, num=100).truth
    assert one.min() >= 2 and one.max() <= 3
    each = sources(dist.Normal(torch.tensor([-50.0, 50.0]), 1.0), num_sources=2, num=100).truth
    assert (each[:, 0] < 0).all() and (each[:, 1] > 0).all()


def test_seed_leaves_the_global_state_alone():
    state = torch.get_rng_state()
    first = sources(num=20, seed=1)
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(1234)
    again, other = sources(num=20, seed=1), sources(num=20, seed=2)
    assert torch.equal(first.x, again.x) and torch.equal(first.mixing, again.mixing)
    assert not torch.equal(first.x, other.x)


def test_same_data_whatever_the_default_dtype():
    x = sources(num=20).x
    torch.set_default_dtype(torch.float32)  # the test setup puts it back
    assert torch.equal(sources(num=20).x, x)


@pytest.mark.parametrize(
    "bad",
    [
        {"distribution": dist.Normal(torch.zeros(3), 1.0), "num_sources": 4},
        {"distribution": dist.Normal(torch.zeros(4), 1.0).to_event(1)},
        {"num_sources": 0},
        {"num": 1},
    ],
)
def test_bad_parameters(bad):
    with pytest.raises(DataError, match="give"):
        sources(**bad)
