"""The default priors are proper, as wide as the latents, and the same in any units."""

import pyro.distributions as dist
import pytest
import torch
from scipy import stats

from pyro_ldm.posterior.default_priors import default_priors
from pyro_ldm.posterior.program import global_sites, log_likelihood, sample_globals, simulate

NAMES = ["Gaussian", "Laplace", "Student-t", "generalized Gaussian", "mixture"]


@pytest.fixture
def z():
    return torch.randn(400, 3) * torch.tensor([0.01, 1.0, 100.0]) + torch.tensor([0.0, 5.0, -300.0])


@pytest.mark.parametrize("name", NAMES)
def test_parameters_are_of_the_latents_order_of_size(z, name):
    prior = default_priors(z)[name]
    draws = sample_globals(prior, 800, batch=(z,))
    assert draws.keys() == global_sites(prior, z).keys()
    spread = z.std(0)
    assert torch.allclose(draws["scale"].median(0).values / spread, torch.ones(3), rtol=0.2)
    assert torch.allclose(draws["scale"].log().std(0), torch.ones(3), rtol=0.1)
    assert ((draws["loc"].mean(0) - z.mean(0)).abs() < 0.5 * spread).all()
    assert torch.allclose(draws["loc"].std(0) / spread, torch.full((3,), 2.5), rtol=0.2)


def test_shapes_have_the_range_that_is_documented(z):
    priors = default_priors(z)
    df = sample_globals(priors["Student-t"], 1500, batch=(z,))["df"].quantile(torch.tensor([0.025, 0.975]))
    assert torch.allclose(df, torch.tensor([2.4, 56.0]), rtol=0.25)
    power = sample_globals(priors["generalized Gaussian"], 1500, batch=(z,))["power"].quantile(
        torch.tensor([0.025, 0.975])
    )
    assert torch.allclose(power, torch.tensor([0.38, 5.9]), rtol=0.25)


@pytest.mark.parametrize("name", NAMES)
def test_other_units_change_nothing(z, name):
    # Draws of the parameters and densities follow the latents: log P(c z) = log P(z) - D log c.
    draws = [sample_globals(default_priors(u)[name], 5, batch=(u,), seed=1) for u in (z, 10 * z)]
    first, second = (log_likelihood(default_priors(u)[name], u, d) for u, d in zip((z, 10 * z), draws, strict=True))
    assert torch.allclose(second, first - 3 * torch.tensor(10.0).log())


def test_the_mixture_has_its_location_for_its_mean(z):
    prior = default_priors(z[:, 1:2])["mixture"]
    ones = torch.ones(1, 1)
    draws = {"loc": 5 * ones, "scale": 0.5 * ones, "gap": 4 * ones, "weight": 0.25 * ones}
    rows = simulate(prior, draws, batch=(range(20_000),))["z"][0]
    assert rows.mean().item() == pytest.approx(5.0, abs=0.05)
    at = torch.tensor([[4.0], [8.0]])
    expected = 0.75 * stats.norm(4, 0.5).pdf(at) + 0.25 * stats.norm(8, 0.5).pdf(at)
    assert log_likelihood(prior, at, draws).exp().flatten().tolist() == pytest.approx(expected.flatten().tolist())


def test_sparse_latents_have_a_scale_all_the_same():
    z = dist.Laplace(torch.zeros(2), 1.0).sample((100,)) * (torch.rand(100, 2) < 0.3)
    for prior in default_priors(z).values():
        assert all(torch.isfinite(values).all() for values in sample_globals(prior, 10, batch=(z,)).values())


def test_errors():
    with pytest.raises(ValueError, match=r"got \(4, 3, 2\): pass priors of your own"):
        default_priors(torch.randn(4, 3, 2))
    with pytest.raises(ValueError, match="got dict"):
        default_priors({"z": torch.randn(4, 3)})
    with pytest.raises(ValueError, match="constant in dims"):
        default_priors(torch.full((4, 3), 2.0))
