"""Importance-weighted bounds: equal to the formula, from the ELBO at one particle to the evidence at many."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from pyro.infer import SVI, RenyiELBO, Trace_ELBO

import pyro_ldm as ldm
from pyro_ldm import baselines
from pyro_ldm.baselines import IWAE, iwae_bound
from pyro_ldm.entropy import Conditional, Joint, LogDet, Mixture


def linear_pair(entropy=None, features=4):
    """x = z W + b + noise of scale 0.5; log p(x) is that of N(b, W'W + 0.25)."""
    decoder = torch.nn.Linear(2, features)
    model = baselines.Generative(ldm.priors.Gaussian(2), decoder, baselines.Gaussian(0.5))
    encoder = torch.nn.Linear(features, 4)  # the posterior's mean, and scales a little wide
    weight, bias = decoder.weight.detach(), decoder.bias.detach()
    covariance = torch.linalg.inv(torch.eye(2) + weight.T @ weight / 0.25)
    with torch.no_grad():
        encoder.weight.zero_()[:2] = covariance @ weight.T / 0.25
        encoder.bias[:2] = -encoder.weight[:2] @ bias
        encoder.bias[2:] = (1.2 * covariance.diagonal().sqrt()).expm1().log()
    return model, ldm.guides.Gaussian(encoder, entropy or Conditional())


def evidence(model, x):
    weight, bias = model.decoder.weight.detach(), model.decoder.bias.detach()
    covariance = weight @ weight.T + 0.25 * torch.eye(len(bias))
    return dist.MultivariateNormal(bias, covariance).log_prob(x)


def seeded(objective, *batch):
    objective.check(*batch)
    pyro.set_rng_seed(3)
    return objective(*batch)


def test_equals_the_formula_in_value_and_gradient():
    model, guide = linear_pair()
    x, particles = torch.randn(20, 4), 7
    objective = ldm.Objective(model, guide, IWAE(particles))
    loss = seeded(objective, x)
    pyro.set_rng_seed(3)
    out = guide.encoder(x)
    q = torch.distributions.Normal(out[:, :2], F.softplus(out[:, 2:]) + 1e-3)
    z = q.mean + q.stddev * torch.randn(particles, 20, 2)
    normal = torch.distributions.Normal
    log_w = normal(model.decoder(z), 0.5).log_prob(x).sum(-1) + (normal(0.0, 1.0).log_prob(z) - q.log_prob(z)).sum(-1)
    exact = -log_w.exp().mean(0).log().mean()
    torch.testing.assert_close(loss, exact)
    parameters = list(objective.parameters())
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), torch.autograd.grad(exact, parameters))
    with torch.no_grad():
        torch.testing.assert_close(seeded(objective, x), loss.detach())


def test_one_particle_is_the_elbo():
    model, guide = linear_pair()
    x = torch.randn(20, 4)
    one, elbo = ldm.Objective(model, guide, IWAE(1)), ldm.Objective(model, guide, Trace_ELBO())
    losses = seeded(one, x), seeded(elbo, x)
    torch.testing.assert_close(*losses)
    parameters = list(one.parameters())
    torch.testing.assert_close(*(torch.autograd.grad(loss, parameters) for loss in losses))


def test_agrees_with_pyro_s_renyi_bound_of_order_zero():
    model, guide = linear_pair()
    x = torch.randn(20, 4)
    ours = seeded(ldm.Objective(model, guide, IWAE(5)), x)
    pyro.set_rng_seed(3)
    with pyro.settings.context(module_local_params=True):
        renyi = RenyiELBO(alpha=0, num_particles=5, vectorize_particles=True, max_plate_nesting=1)
        theirs = renyi.loss(model, guide, x)
    assert float(ours.detach()) * 20 == pytest.approx(theirs)


def test_grows_to_the_evidence_which_is_known():
    model, guide = linear_pair()
    x = torch.randn(300, 4)
    known = float(evidence(model, x).mean())
    bounds = [iwae_bound(model, guide, x, num_particles=k, batch_size=100).nats for k in (1, 10, 300)]
    assert bounds[0] < bounds[1] - 0.02 < bounds[2] and bounds[2] == pytest.approx(known, abs=0.01)


def test_the_bound_s_bits_and_errors():
    model, guide = linear_pair()
    x = torch.randn(300, 4)
    state = torch.get_rng_state()
    bound = iwae_bound(model, guide, x, num_particles=50)
    assert bound.bits_per_dim == pytest.approx(-bound.nats / 4 / math.log(2))
    assert bound.standard_error == pytest.approx(float(evidence(model, x).std() / 300**0.5), rel=0.1)
    assert torch.equal(state, torch.get_rng_state()) and len(pyro.get_param_store()) == 0
    assert (
        bound == iwae_bound(model, guide, x, num_particles=50) != iwae_bound(model, guide, x, num_particles=50, seed=1)
    )
    assert model.training and guide.training


def test_bits_are_of_the_numbers_observed():
    """What a program is given beside the data, such as actions, is not coded."""
    model, guide = linear_pair()
    x, actions = torch.randn(30, 4), torch.randn(30, 7)
    bound = iwae_bound(_Unheeding(model), _Unheeding(guide), (x, actions), num_particles=2)
    assert bound.bits_per_dim == pytest.approx(-bound.nats / 4 / math.log(2))


def test_a_refusal_leaves_the_modes_as_they_were():
    model, guide = linear_pair()
    guide.entropy = ldm.entropy.LogDet()
    with pytest.raises(ValueError, match="give the guide"):
        iwae_bound(model, guide, torch.randn(30, 4), num_particles=2)
    assert model.training and guide.training


class _Unheeding(torch.nn.Module):
    def __init__(self, program):
        super().__init__()
        self.program = program

    def forward(self, x, _):
        return self.program(x)


def test_particles_in_parts_are_the_same_bound(monkeypatch):
    model, guide = linear_pair()
    x = torch.randn(50, 4)
    whole = iwae_bound(model, guide, x, num_particles=2000)
    monkeypatch.setattr("pyro_ldm.baselines.iwae.AT_ONCE", 200 * 300)
    assert iwae_bound(model, guide, x, num_particles=2000).nats == pytest.approx(whole.nats, abs=0.03)


def test_a_batch_of_all_data_weighs_outside_the_logarithm():
    model, guide = linear_pair()
    x = torch.randn(20, 4)
    part = seeded(ldm.Objective(model, guide, IWAE(5), size=1000), x)
    torch.testing.assert_close(part, seeded(ldm.Objective(model, guide, IWAE(5)), x))


def test_of_pairs_and_of_masked_series():
    decoder = torch.nn.Linear(2, 6)
    model = baselines.Generative(ldm.priors.GaussianViews(2), decoder, baselines.Gaussian(1.0))
    guide = ldm.guides.GaussianViews(torch.nn.Linear(6, 4), Joint(Conditional()))
    x = torch.randn(2, 20, 6).unbind(0)
    assert iwae_bound(model, guide, x, num_particles=1).nats < iwae_bound(model, guide, x, num_particles=200).nats

    decoder = ldm.encoders.PerStep(torch.nn.Linear(2, 6))
    model = baselines.Generative(ldm.priors.Kalman(2), decoder, baselines.Gaussian(1.0))
    guide = ldm.guides.Gaussian(ldm.encoders.PerStep(torch.nn.Linear(6, 4)), Conditional())
    series, mask = torch.randn(20, 5, 6), torch.rand(20, 5) < 0.7
    bound = iwae_bound(model, guide, (series, mask), num_particles=5)
    assert bound.bits_per_dim == pytest.approx(-bound.nats / (30 * float(mask.double().mean())) / math.log(2))
    changed = torch.where(mask.unsqueeze(-1), series, 9.0)
    assert iwae_bound(model, guide, (changed, mask), num_particles=5) == bound


def test_trains_by_fit_and_by_svi():
    x = torch.randn(200, 1) @ torch.randn(1, 4) + 0.3 * torch.randn(200, 4)
    model, guide = linear_pair()
    before = float(evidence(model, x).mean())
    fit = ldm.fit(
        model.float(), guide.float(), x.float(), elbo=IWAE(5), epochs=20, batch_size=50, lr=0.03, progress=False
    )
    after = float(evidence(model.double(), x).mean())
    assert after > before + 1.0
    # What is reported are the ELBO's terms; the bound that was trained is no worse.
    assert fit.terms.objective == "-ELBO" and fit.history[-1]["loss"] < fit.terms.loss + 0.1
    svi = SVI(model, guide.double(), pyro.optim.Adam({"lr": 0.01}), IWAE(5))
    assert math.isfinite(svi.step(x)) and len(pyro.get_param_store()) > 0


class TestMisfits:
    def test_a_guide_scored_by_its_marginal(self):
        for entropy in (Mixture(), LogDet()):
            model, guide = linear_pair(entropy)
            with pytest.raises(ValueError, match=r"give the guide entropy\.Conditional"):
                ldm.Objective(model, guide, IWAE(5))(torch.randn(20, 4))

    def test_global_sites(self):
        prior = ldm.priors.Gaussian(2, scale=dist.LogNormal(0.0, 1.0))
        model = baselines.Generative(prior, torch.nn.Linear(2, 4), baselines.Gaussian(0.5))
        local = ldm.guides.Gaussian(torch.nn.Linear(4, 4), Conditional())
        hidden = pyro.poutine.block(prior, hide=["z"])
        guide = ldm.guides.Compose(pyro.infer.autoguide.AutoNormal(hidden), local)
        with pytest.raises(ValueError, match=r"site 'scale' is outside plate .* condition the model"):
            ldm.Objective(model, guide, IWAE(5))(torch.randn(20, 4))

    def test_a_weighed_likelihood(self):
        model, guide = linear_pair()
        weighed = pyro.poutine.scale(model, scale=2.0)
        with pytest.raises(ValueError, match=r"weighed by \[1.0, 2.0\]"):
            ldm.Objective(weighed, guide, IWAE(5))(torch.randn(20, 4))

    def test_no_likelihood_and_no_particles(self):
        _, guide = linear_pair()
        with pytest.raises(ValueError, match="no evidence to bound"):
            iwae_bound(ldm.priors.Gaussian(2), guide, torch.randn(20, 4))
        for call in (IWAE, lambda k: iwae_bound(*linear_pair(), torch.randn(20, 4), num_particles=k)):
            with pytest.raises(ValueError, match="at least 1"):
                call(0)
