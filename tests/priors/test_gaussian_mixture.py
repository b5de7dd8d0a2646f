"""The mixture: summed out in closed form, or by enumeration, or by hand."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, TraceEnum_ELBO

import pyro_ldm as ldm
from pyro_ldm.priors import GaussianMixture

LOC = torch.tensor([[-2.0, 0.0], [2.0, 0.0], [0.0, 3.0]], dtype=torch.float64)
WEIGHTS = torch.tensor([0.2, 0.3, 0.5], dtype=torch.float64)


def by_hand(z, scale):
    return (dist.Normal(LOC, scale).log_prob(z.unsqueeze(-2)).sum(-1) + WEIGHTS.log()).logsumexp(-1)


@pytest.mark.parametrize("scale", [0.7, torch.tensor([0.7, 1.3])])
def test_density(scale):
    prior = GaussianMixture(2, 3, loc=LOC, weights=WEIGHTS, scale=scale)
    z = torch.randn(7, 2)
    trace = poutine.trace(poutine.condition(prior, {"z": z})).get_trace(range(7))
    trace.compute_log_prob()
    torch.testing.assert_close(trace.nodes["z"]["log_prob"], by_hand(z, torch.as_tensor(scale)))


@pytest.mark.parametrize("learned", [False, True])
def test_enumerated_equals_summed_out(learned):
    x, encoder = torch.randn(100, 6), torch.nn.Linear(6, 2)
    values, grads = [], []
    for enumerate in (False, True):
        loc = torch.nn.Parameter(LOC.clone()) if learned else LOC
        prior = GaussianMixture(2, 3, loc=loc, weights=WEIGHTS, scale=torch.tensor([0.7, 1.3]), enumerate=enumerate)
        elbo = TraceEnum_ELBO(max_plate_nesting=1) if enumerate else None
        loss = ldm.Objective(prior, ldm.guides.Deterministic(encoder, ldm.entropy.KNN()), elbo)(x)
        values.append(loss)
        grads.append(torch.autograd.grad(loss, [encoder.weight, *prior.parameters()]))
    torch.testing.assert_close(values[0], values[1])
    torch.testing.assert_close(grads[0], grads[1])


def test_samples_come_from_the_components():
    pyro.set_rng_seed(0)
    for enumerate in (False, True):
        z = GaussianMixture(2, 3, loc=LOC, weights=WEIGHTS, scale=0.1, enumerate=enumerate)(range(4000))
        nearest = torch.cdist(z, LOC).min(-1)
        assert nearest.values.max() < 0.6
        torch.testing.assert_close(nearest.indices.bincount() / 4000, WEIGHTS, atol=0.03, rtol=0)


def test_bayesian_means_and_weights():
    loc = dist.Normal(torch.zeros(3, 2), 3.0).to_event(2)
    prior = GaussianMixture(2, 3, loc=loc, weights=dist.Dirichlet(torch.ones(3)), scale=dist.LogNormal(0.0, 1.0))
    trace = poutine.trace(pyro.plate("particles", 5, dim=-2)(prior)).get_trace(range(7))
    assert trace.nodes["loc"]["value"].shape == (5, 1, 3, 2) and trace.nodes["z"]["value"].shape == (5, 7, 2)
    assert torch.isfinite(trace.log_prob_sum())


def test_nuts_finds_the_means():
    pyro.set_rng_seed(0)
    z = GaussianMixture(1, 2, loc=torch.tensor([[-3.0], [3.0]]), scale=0.5)(range(200))
    prior = GaussianMixture(1, 2, loc=dist.Normal(torch.tensor([[-1.0], [1.0]]), 2.0).to_event(2), scale=0.5)
    mcmc = MCMC(NUTS(pyro.condition(prior, {"z": z})), num_samples=50, warmup_steps=50, disable_progbar=True)
    mcmc.run(range(200))
    found = mcmc.get_samples()["loc"].mean(0).flatten().sort().values
    torch.testing.assert_close(found, torch.tensor([-3.0, 3.0]), atol=0.2, rtol=0)


def test_mistakes():
    with pytest.raises(ValueError, match="num_components must be at least 1"):
        GaussianMixture(2, 0)
    with pytest.raises(ValueError, match=r"loc must be a number or have shape \(3, 2\)"):
        GaussianMixture(2, 3, loc=torch.zeros(2, 3))
    with pytest.raises(ValueError, match="weights must satisfy Simplex"):
        GaussianMixture(2, 3, weights=torch.ones(3))
