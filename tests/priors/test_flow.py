"""A prior that is a flow: a density, learned, under the objective and the parameter store's rules."""

import pyro
import pytest
import torch

import pyro_ldm as ldm

zuko = pytest.importorskip("zuko")


def maf(dim):
    return zuko.flows.MAF(dim, transforms=2, hidden_features=(16,))


def integral(density):
    axis = torch.linspace(-8, 8, 161)
    grid = torch.cartesian_prod(axis, axis)
    return float(density.log_prob(grid).exp().sum() * (axis[1] - axis[0]) ** 2)


@pytest.mark.parametrize("flow", [None, maf], ids=["spline", "autoregressive"])
def test_integrates_to_one_and_is_the_flow_s_own_density(flow):
    prior = ldm.priors.Flow(2, flow)
    with torch.no_grad():
        for parameter in prior.parameters():
            parameter.add_(0.03 * torch.randn_like(parameter))
        assert integral(prior.distribution()) == pytest.approx(1.0, abs=2e-3)
        z = torch.randn(50, 2)
        torch.testing.assert_close(prior.distribution().log_prob(z), prior.flow().log_prob(z))


def test_learns_the_density_of_latents():
    z = torch.randn(500, 2)
    z[:, 1] += z[:, 0].square()  # a banana: H = log 2 pi e, as the map has volume 1
    prior = ldm.priors.Flow(2, maf)
    guide = ldm.guides.Deterministic(torch.nn.Identity(), ldm.entropy.KNN())
    objective = ldm.Objective(prior, guide)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
    before = objective.terms(z).kl
    for _ in range(300):
        optimizer.zero_grad()
        objective(z).backward()
        optimizer.step()
    terms = objective.terms(z)
    assert terms.kl < 0.15 < 1.0 < before
    assert -terms.alignment == pytest.approx(2.838, abs=0.15)
    assert len(pyro.get_param_store()) == 0


def test_samples_pass_through_its_own_density():
    prior = ldm.priors.Flow(2)
    assert prior(range(7)).shape == (7, 2)
    density = prior.distribution()
    z = density.sample((2000,))
    inside = (density.log_prob(z).exp() > 0.05).double().mean()  # by quadrature, the same share
    axis = torch.linspace(-6, 6, 121)
    with torch.no_grad():
        p = density.log_prob(torch.cartesian_prod(axis, axis)).exp()
    expected = (p * (p > 0.05)).sum() * (axis[1] - axis[0]) ** 2
    assert float(inside) == pytest.approx(float(expected), abs=0.04)


def test_bad_flows_say_what_to_do():
    with pytest.raises(ValueError, match="latent_dim is 2: make it of as many"):
        ldm.priors.Flow(2, lambda dim: maf(3))
    with pytest.raises(TypeError, match="a zuko flow of D dims"):
        ldm.priors.Flow(2, torch.nn.Identity)
