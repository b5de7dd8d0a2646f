"""The categorical pair: against its table, sampled, learned, Bayesian, and as a dense product."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, Predictive, TraceEnum_ELBO
from pyro.infer.autoguide import AutoNormal

import pyro_ldm as ldm
from pyro_ldm.priors import CategoricalViews


def table(num_categories, stay):
    """P(k, k'), entry by entry."""
    return torch.tensor(
        [
            [(stay if i == j else (1 - stay) / (num_categories - 1)) / num_categories for j in range(num_categories)]
            for i in range(num_categories)
        ]
    )


def scores(prior, num_states):
    """log P(k, k') of every pair, by the prior's own sites."""
    z, z_prime = (t.flatten() for t in torch.meshgrid(*[torch.arange(num_states)] * 2, indexing="ij"))
    trace = poutine.trace(poutine.condition(prior, {"z": z, "z_prime": z_prime})).get_trace(range(num_states**2))
    trace.compute_log_prob()
    total = trace.nodes["z"]["log_prob"] + trace.nodes["z_prime"]["log_prob"]
    return total.unflatten(0, (num_states, num_states))


@pytest.mark.parametrize(("num_categories", "stay"), [(2, 0.7), (3, 0.9), (10, 0.05)])
def test_is_its_table(num_categories, stay):
    found = scores(CategoricalViews(num_categories, stay), num_categories).exp()
    torch.testing.assert_close(found, table(num_categories, stay))
    assert float(found.sum()) == pytest.approx(1.0)


def test_product_of_factors_is_the_dense_kronecker_product():
    prior = CategoricalViews(3, 0.8, num_factors=3)
    one = table(3, 0.8)
    dense = torch.kron(torch.kron(one, one), one)
    assert prior.num_states == 27
    torch.testing.assert_close(scores(prior, 27).exp(), dense)
    # The factors' categories are the state's digits, the first factor first.
    digits = torch.stack(torch.unravel_index(torch.arange(27), [3] * 3), -1)
    same = (digits[:, None] == digits[None]).sum(-1)
    torch.testing.assert_close(scores(prior, 27), same * one[0, 0].log() + (3 - same) * one[0, 1].log())


def test_samples_stay_as_often_as_they_should():
    samples = Predictive(CategoricalViews(4, 0.7), num_samples=3)(range(5000))
    z, z_prime = samples["z"], samples["z_prime"]
    assert z.shape == z_prime.shape == (3, 5000) and z.dtype == torch.long
    joint = torch.zeros(4, 4).index_put((z.flatten(), z_prime.flatten()), torch.ones(15000), accumulate=True) / 15000
    torch.testing.assert_close(joint, table(4, 0.7), atol=0.01, rtol=0)


def test_learned_stay_becomes_what_the_pairs_do():
    prior = CategoricalViews(3, torch.nn.Parameter(torch.tensor(0.5)))
    z = torch.arange(300) % 3
    z_prime = torch.where(torch.arange(300) < 240, z, (z + 1) % 3)  # 80 % stay
    pair = poutine.condition(prior, {"z": z, "z_prime": z_prime})
    assert prior.stay.item() == pytest.approx(0.5)
    optimizer = torch.optim.Adam(prior.parameters(), lr=0.1)
    for _ in range(200):
        optimizer.zero_grad()
        (-poutine.trace(pair).get_trace(range(300)).log_prob_sum()).backward()
        optimizer.step()
    assert prior.stay.item() == pytest.approx(0.8, abs=1e-3)
    with torch.no_grad():
        next(prior.parameters()).fill_(-1000.0)
    assert 0 < prior.stay.item() < 1


class TestBayesianStay:
    """Of n = 400 pairs s = 320 stay: under Beta(1, 1) the posterior is Beta(321, 81)."""

    def pairs(self):
        z = torch.arange(400) % 4
        return {"z": z, "z_prime": torch.where(torch.arange(400) < 320, z, (z + 1) % 4)}

    def test_nuts_finds_its_posterior(self):
        prior = CategoricalViews(4, dist.Beta(1.0, 1.0))
        kernel = NUTS(pyro.condition(prior, self.pairs()))
        mcmc = MCMC(kernel, num_samples=300, warmup_steps=100, disable_progbar=True)
        mcmc.run(range(400))
        exact = dist.Beta(321.0, 81.0)
        draws = mcmc.get_samples()["stay"]
        assert float(draws.mean()) == pytest.approx(float(exact.mean), abs=0.006)
        assert float(draws.std()) == pytest.approx(float(exact.variance.sqrt()), rel=0.25)

    @pytest.mark.parametrize("particles", [1, 5])
    def test_under_an_autoguide_beside_an_enumerated_encoder(self, particles):
        prior = CategoricalViews(4, dist.Beta(1.0, 1.0))
        local = ldm.guides.Categorical(torch.nn.Identity(), 4)
        guide = ldm.guides.Compose(AutoNormal(poutine.block(prior, hide=["z", "z_prime"]), init_scale=1e-4), local)
        elbo = TraceEnum_ELBO(max_plate_nesting=1, num_particles=particles, vectorize_particles=particles > 1)
        objective = ldm.Objective(prior, guide, elbo)
        logits = {name: 30.0 * torch.nn.functional.one_hot(k, 4).double() for name, k in self.pairs().items()}
        objective(logits["z"], logits["z_prime"])
        loc = guide.guides[0].locs.stay
        with torch.no_grad():
            loc.fill_(math.log(4.0))  # stay = 0.8, all but exactly
        terms = objective.terms(logits["z"], logits["z_prime"])
        # R: each of 4 categories; 80 % stay, the others all go to the next one, where the prior has three to choose.
        assert terms.kl == pytest.approx(0.2 * math.log(3.0), abs=1e-3)
        assert 0 < terms.global_kl < 20.0 / 400 and terms.divergence == "KL"

    def test_vectorised_particles_have_a_stay_each(self):
        prior = CategoricalViews(3, dist.Beta(9.0, 1.0), num_factors=2)
        trace = poutine.trace(pyro.plate("particles", 5, dim=-2)(prior)).get_trace(range(7))
        trace.compute_log_prob()
        stay, z, z_prime = (trace.nodes[name]["value"] for name in ("stay", "z", "z_prime"))
        assert stay.shape == (5, 1) and z.shape == z_prime.shape == (5, 7)
        one = CategoricalViews(3, stay[3, 0], num_factors=2)
        expected = scores(one, 9)[z[3], z_prime[3]] + math.log(9.0)
        torch.testing.assert_close(trace.nodes["z_prime"]["log_prob"][3], expected)


def test_stay_can_be_set_while_training_where_it_is_a_number():
    prior = CategoricalViews(3, 0.3)
    prior.set_stay(0.9)
    torch.testing.assert_close(scores(prior, 3).exp(), table(3, 0.9))
    assert float(prior.state_dict()["stay"]) == 0.9
    with pytest.raises(ValueError, match=r"stay must be in \(0, 1\)"):
        prior.set_stay(1.0)
    for stay in (torch.nn.Parameter(torch.tensor(0.5)), dist.Beta(1.0, 1.0)):
        with pytest.raises(ValueError, match="only a stay that was given as a number"):
            CategoricalViews(3, stay).set_stay(0.9)


def test_fixed_learned_or_bayesian():
    assert not list(CategoricalViews(3, 0.5).parameters())
    assert len(list(CategoricalViews(3, torch.nn.Parameter(torch.tensor(0.5))).parameters())) == 1
    trace = poutine.trace(CategoricalViews(3, dist.Beta(1.0, 1.0))).get_trace(range(7))
    assert trace.nodes["stay"]["value"].shape == () and not trace.nodes["stay"]["cond_indep_stack"]


@pytest.mark.parametrize(
    ("arguments", "settings", "message"),
    [
        ((1,), {}, "num_categories must be at least 2, got 1"),
        ((3,), {"num_factors": 0}, "num_factors must be at least 1"),
        ((10,), {"num_factors": 3}, "have 1000 states.*256 states at most"),
        ((3, 1.0), {}, r"stay must be in \(0, 1\), got 1.0"),
        ((3, torch.nn.Parameter(torch.tensor(0.0))), {}, r"stay must be in \(0, 1\)"),
        ((3, float("nan")), {}, r"stay must be in \(0, 1\)"),
        ((3, torch.full((2,), 0.5)), {}, "stay must be a number"),
        ((3, dist.Beta(torch.ones(2), 1.0)), {}, "stay must have shape"),
    ],
)
def test_mistakes(arguments, settings, message):
    with pytest.raises(ValueError, match=message):
        CategoricalViews(*arguments, **settings)
