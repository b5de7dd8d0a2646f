"""The beta-VAE: the KL weighed, the reconstruction not, and terms of the ELBO itself."""

import pyro
import pytest
import torch
from pyro.infer import SVI, TraceEnum_ELBO

import pyro_ldm as ldm
from pyro_ldm import baselines
from pyro_ldm.baselines import Tempered
from pyro_ldm.entropy import Conditional, Joint


def pair():
    model = baselines.Generative(ldm.priors.Gaussian(2), torch.nn.Linear(2, 6), baselines.Bernoulli())
    return model, ldm.guides.Gaussian(torch.nn.Linear(6, 4), Conditional())


def seeded(objective, *batch):
    objective.check(*batch)
    pyro.set_rng_seed(3)
    return objective(*batch)


@pytest.mark.parametrize("beta", [0.1, 1.0, 4.0])
def test_weighs_the_kl_and_nothing_else(beta):
    model, guide = pair()
    x, objective = torch.rand(20, 6), ldm.Objective(model, guide, Tempered(beta))
    loss = seeded(objective, x)
    pyro.set_rng_seed(3)
    q = guide.conditional(x).base_dist
    z = q.loc + q.scale * torch.randn(20, 2)
    kl = (q.log_prob(z) - torch.distributions.Normal(0.0, 1.0).log_prob(z)).sum(-1)
    bce = torch.nn.functional.binary_cross_entropy_with_logits(model.decoder(z), x, reduction="none").sum(-1)
    exact = (bce + beta * kl).mean()
    torch.testing.assert_close(loss, exact)
    parameters = list(objective.parameters())
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), torch.autograd.grad(exact, parameters))
    with torch.no_grad():
        torch.testing.assert_close(seeded(objective, x), loss.detach())
    # The terms are the ELBO's, whatever the weight.
    pyro.set_rng_seed(5)
    tempered = objective.terms(x)
    pyro.set_rng_seed(5)
    assert tempered == ldm.Objective(model, guide).terms(x)


def test_weighs_views_whose_score_is_a_factor():
    prior, encoder = ldm.priors.GaussianViews(2), torch.nn.Linear(6, 4)
    model = baselines.Generative(prior, torch.nn.Linear(2, 6), baselines.Gaussian(1.0))
    guide = ldm.guides.GaussianViews(encoder, Joint(Conditional()))
    x = torch.randn(2, 20, 6).unbind(0)
    doubled, once, none = (
        seeded(ldm.Objective(model, guide, elbo), *x).detach() for elbo in (Tempered(2.0), None, Tempered(1e-9))
    )
    torch.testing.assert_close(doubled - once, once - none)


def test_around_another_elbo():
    enumerating = TraceEnum_ELBO(max_plate_nesting=1, strict_enumeration_warning=False)
    model, guide = pair()
    x = torch.rand(20, 6)
    losses = [seeded(ldm.Objective(model, guide, elbo), x) for elbo in (Tempered(2.0, enumerating), Tempered(2.0))]
    torch.testing.assert_close(*losses)


def test_a_heavy_weight_collapses_the_posterior_and_a_light_one_does_not():
    x = (torch.randn(300, 2) @ torch.randn(2, 6) > 0).double()
    found = {}
    for beta in (0.1, 30.0):
        pyro.set_rng_seed(0)
        model, guide = pair()
        objective = ldm.Objective(model, guide, Tempered(beta))
        optimizer = torch.optim.Adam(objective.parameters(), lr=0.03)
        for _ in range(250):
            optimizer.zero_grad()
            objective(x).backward()
            optimizer.step()
        found[beta] = baselines.posterior_collapse(ldm.training.latents(guide, x))
    assert found[0.1].active_units == 2 and "no posterior collapse" in str(found[0.1])
    assert found[30.0].active_units == 0 and "none of 2 units is active" in str(found[30.0])


def test_starts_compare_the_loss_that_is_trained():
    model, guide = pair()
    x = torch.rand(64, 6).float()
    settings = {"epochs": 1, "starts": 2, "batch_size": 32, "lr": 1e-6, "progress": False}
    fit = ldm.fit(model.float(), guide.float(), x, elbo=Tempered(100.0), **settings)
    assert min(fit.starts) > 50 * fit.terms.kl and "reconstruction" in fit.history[0]


def test_runs_in_a_plain_svi_loop():
    x = torch.rand(50, 6)
    svi = SVI(*pair(), pyro.optim.Adam({"lr": 0.02}), Tempered(0.5))
    losses = [svi.step(x) for _ in range(100)]
    assert sum(losses[-10:]) < sum(losses[:10])


def test_refuses_no_weight():
    with pytest.raises(ValueError, match="must be positive"):
        Tempered(0.0)
