import sys

import pyro.distributions as dist
import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import pyro_ldm as ldm
from pyro_ldm.diagnostics.arviz import draws, group
from pyro_ldm.posterior.joint import joint
from pyro_ldm.posterior.svi import svi

SETTINGS = {"epochs": 80, "batch_size": 100, "lr": 0.01, "num_samples": 300, "progress": False}


def gaussian(dim=2):
    return ldm.priors.Gaussian(dim, scale=dist.LogNormal(torch.zeros(dim), 1.0).to_event(1))


def encoder(dim=2):
    return ldm.guides.Deterministic(torch.nn.Linear(8, dim), ldm.entropy.LogDet())


@pytest.fixture(scope="module")
def trained():
    torch.set_default_dtype(torch.float64)
    torch.manual_seed(0)
    prior, guide, x = gaussian(), encoder(), torch.randn(400, 8)
    return prior, guide, x, *joint(prior, guide, x, **SETTINGS)


def test_latents_match_the_prior_and_the_posterior_is_that_of_the_latents(trained):
    prior, guide, x, fit, tree = trained
    assert abs(fit.terms.kl) < 0.02 and 0 < fit.terms.global_kl < 0.05
    z = ldm.training.latents(guide, x)
    torch.testing.assert_close(draws(to_tree(tree))["z"][0], z)
    given = draws(svi(prior, z, num_steps=600, num_samples=200, progress=False))["scale"]
    found = draws(tree)["scale"]
    # The sd of a Gaussian's scale is scale / sqrt(2 N)
    sd = z.std(0) / 800**0.5
    torch.testing.assert_close(found.std(0) / sd, torch.ones(2), atol=0.3, rtol=0)
    assert ((found.mean(0) - given.mean(0)).abs() < 1.5 * sd).all()


def to_tree(tree):
    """Observed data as if it were a draw, to be read by ``draws``."""
    from pyro_ldm.diagnostics.arviz import to_arviz

    return to_arviz(posterior={"z": group(tree, "observed_data")["z"].values[None, None]})


def test_history_and_attributes_say_what_was_done(trained):
    *_, fit, tree = trained
    assert len(fit.history) == 80 and fit.history[-1]["loss"] < fit.history[0]["loss"]
    assert fit.history[-1]["global_kl"] == pytest.approx(fit.terms.global_kl, rel=0.5)
    assert tree.attrs["inference"] == "SVI: AutoNormal" and tree.attrs["k_hat"] < 0.7


def test_views_and_a_loader():
    prior = ldm.priors.GaussianViews(2, noise=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
    guide = ldm.guides.Views(torch.nn.Linear(8, 2), ldm.entropy.Joint(ldm.entropy.LogDet()))
    x = torch.randn(60, 8)
    settings = {
        "epochs": 2,
        "num_samples": 10,
        "progress": False,
        "views": lambda x: (x, x + 0.1 * torch.randn_like(x)),
    }
    for data in (x, DataLoader(TensorDataset(x), batch_size=30)):
        _, tree = joint(prior, guide, data, **settings)
        assert group(tree, "observed_data")["z_prime"].shape == (60, 2)
        assert draws(tree)["noise"].shape == (10, 2)


def test_series_with_their_masks():
    prior = ldm.priors.Kalman(2, observation_noise=dist.LogNormal(torch.zeros(2), 0.5).to_event(1))
    guide = ldm.guides.Deterministic(
        ldm.encoders.PerStep(torch.nn.Linear(8, 2)), ldm.entropy.Pooled(ldm.entropy.LogDet())
    )
    data = torch.randn(40, 5, 8), torch.ones(40, 5, dtype=torch.bool)
    _, tree = joint(prior, guide, data, epochs=1, num_samples=10, progress=False)
    assert draws(tree)["observation_noise"].shape == (10, 2)


def test_a_flat_view_is_no_parameter():
    prior = ldm.priors.GaussianViews(2, scale=None, noise=dist.LogNormal(0.0, 1.0))
    guide = ldm.guides.Views(torch.nn.Linear(8, 2), ldm.entropy.Joint(ldm.entropy.LogDet()))
    x = torch.randn(60, 8)
    _, tree = joint(prior, guide, (x, x + 0.1), epochs=1, num_samples=10, progress=False)
    assert list(draws(tree)) == ["noise"]


def test_nothing_to_infer_is_said_before_training():
    guide = encoder()
    before = guide.encoder.weight.detach().clone()
    with pytest.raises(ValueError, match="nothing to infer"):
        joint(ldm.priors.Gaussian(2), guide, torch.randn(60, 8), epochs=1)
    assert torch.equal(guide.encoder.weight, before)


def test_no_part_of_the_data_is_too_short_for_the_guide_s_own_estimator(monkeypatch):
    monkeypatch.setattr(sys.modules[joint.__module__], "AT_ONCE", 16)  # the package has a function of that name
    prior = ldm.priors.GaussianViews(2, noise=dist.LogNormal(0.0, 1.0))
    guide = ldm.guides.Views(torch.nn.Linear(8, 2), ldm.entropy.Joint(ldm.entropy.LogDet()))
    x = torch.randn(65, 8)  # 4 parts of 16, and a row
    _, tree = joint(prior, guide, (x, x + 0.1), epochs=1, num_samples=10, progress=False)
    assert group(tree, "observed_data")["z"].shape == (65, 2)
