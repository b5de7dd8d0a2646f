"""The VampPrior: a mixture of the encoder's conditionals, learned from both sides."""

import pyro
import pytest
import torch
from torch.nn.functional import softplus

import pyro_ldm as ldm
from pyro_ldm import baselines
from pyro_ldm.entropy import Conditional


def test_is_the_mean_of_the_encoder_s_conditionals_and_integrates_to_one():
    guide = ldm.guides.Gaussian(torch.nn.Linear(6, 4), Conditional())
    inputs = torch.randn(5, 6)
    density = baselines.VampPrior(guide, inputs).distribution()
    out, z = guide.encoder(inputs), torch.randn(30, 2)
    normal = torch.distributions.Normal(out[:, :2], softplus(out[:, 2:]) + 1e-3)
    expected = normal.log_prob(z.unsqueeze(1)).sum(-1).exp().mean(-1).log()
    torch.testing.assert_close(density.log_prob(z), expected)
    axis = torch.linspace(-9, 9, 361)
    with torch.no_grad():
        total = density.log_prob(torch.cartesian_prod(axis, axis)).exp().sum() * (axis[1] - axis[0]) ** 2
    assert float(total) == pytest.approx(1.0, abs=1e-3)


def test_trains_encoder_and_pseudo_inputs_and_beats_the_fixed_prior():
    x = torch.cat([torch.randn(150, 6) * 0.3 + 2.0, torch.randn(150, 6) * 0.3 - 2.0])
    losses = {}
    for name in ("gaussian", "vamp"):
        pyro.set_rng_seed(0)
        guide = ldm.guides.Gaussian(torch.nn.Linear(6, 4), Conditional())
        prior = baselines.VampPrior(guide, x[::30]) if name == "vamp" else ldm.priors.Gaussian(2)
        model = baselines.Generative(prior, torch.nn.Linear(2, 6), baselines.Gaussian(0.3))
        objective = ldm.Objective(model, guide)
        assert len(list(objective.parameters())) == 4 + (name == "vamp")
        objective(x).backward()
        assert all(p.grad.abs().max() > 0 for p in objective.parameters())
        optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
        for _ in range(400):
            optimizer.zero_grad()
            objective(x).backward()
            optimizer.step()
        losses[name] = objective.terms(x).loss
    assert losses["vamp"] < losses["gaussian"] - 0.2


def test_is_saved_once_and_read_again(tmp_path):
    from safetensors.torch import load_model, save_model

    def make():
        guide = ldm.guides.Gaussian(torch.nn.Linear(6, 4), Conditional())
        prior = baselines.VampPrior(guide, torch.randn(5, 6))
        return ldm.Objective(baselines.Generative(prior, torch.nn.Linear(2, 6), baselines.Gaussian()), guide)

    one, other, z = make(), make(), torch.randn(9, 2)
    save_model(one, str(tmp_path / "weights"))
    load_model(other, str(tmp_path / "weights"))
    densities = [objective.prior.prior.distribution().log_prob(z) for objective in (one, other)]
    torch.testing.assert_close(*densities)


def test_of_series():
    guide = ldm.guides.Gaussian(ldm.encoders.PerStep(torch.nn.Linear(6, 4)), Conditional())
    assert baselines.VampPrior(guide, torch.randn(5, 7, 6))(range(3)).shape == (3, 7, 2)


def test_refuses_a_guide_without_conditionals():
    guide = ldm.guides.Deterministic(torch.nn.Linear(6, 2), ldm.entropy.KNN())
    with pytest.raises(ValueError, match="Deterministic has no conditional"):
        baselines.VampPrior(guide, torch.randn(5, 6))
