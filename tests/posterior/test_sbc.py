import itertools

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from scipy.stats import kstest

import pyro_ldm as ldm
from pyro_ldm.diagnostics.arviz import group, to_arviz
from pyro_ldm.posterior.ranks import pit
from pyro_ldm.posterior.sbc import run_sbc
from pyro_ldm.posterior.sbc_pictures import ecdf_difference, rank_histograms

SETTINGS = {"num_data": 10, "num_simulations": 60, "progress": False}


def prior(x):
    """Two unknown means."""
    loc = pyro.sample("loc", dist.Normal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))


def conjugate(*, scale=1.0, shift=0.0, use_data=True, num=100):
    """The exact posterior of the means, N(sum z / (N + 1), 1 / (N + 1)), or one with a planted bug."""

    def posterior(prior, z, *, seed):
        generator = torch.Generator().manual_seed(seed)
        mean, sd = (z.sum(0) / (len(z) + 1), (len(z) + 1) ** -0.5) if use_data else (torch.zeros(2), 1.0)
        return to_arviz(posterior={"loc": mean + sd * (shift + scale * torch.randn(1, num, 2, generator=generator))})

    return posterior


def test_the_right_posterior_passes():
    found = run_sbc(prior, conjugate(), **(SETTINGS | {"num_simulations": 100}))
    assert found.verdict.startswith("calibrated, as far as 100 simulations tell: least p-value"), found.table
    assert set(found.scalars()) == {"loc[0]", "loc[1]", "log_likelihood"}
    for values in found.scalars().values():
        assert kstest(values, "uniform").pvalue > 0.01
    assert found.failures == ()


@pytest.mark.parametrize(
    "bug, scalar, wrong",
    [
        ({"scale": 0.5}, "loc[0]", "draws too narrow"),
        ({"scale": 2.0}, "loc[1]", "draws too wide"),
        ({"shift": 0.7}, "loc[0]", "draws too high"),
        ({"shift": -0.7}, "loc[1]", "draws too low"),
    ],
)
def test_planted_bugs_are_seen(bug, scalar, wrong):
    found = run_sbc(prior, conjugate(**bug), **SETTINGS)
    assert found.verdict.startswith("not calibrated: ")
    assert found.table.loc[scalar, "wrong"] == wrong


def test_a_posterior_that_ignores_the_data_is_seen_by_the_likelihood_alone():
    found = run_sbc(prior, conjugate(use_data=False), **SETTINGS)
    assert found.table.loc["log_likelihood", "wrong"]
    assert (found.table.drop("log_likelihood")["wrong"] == "").all()
    assert found.verdict.startswith("not calibrated: log_likelihood (draws too low), of 3 scalars")


def test_pit_by_hand():
    # Three of four draws are below the first true value, none below the second: 3 and 0, of ranks from 0 to 4.
    draws = np.array([[0.1, 5.0], [0.2, 6.0], [0.3, 7.0], [0.9, 8.0]])
    ranks = np.array([pit(np.array([0.5, 1.0]), draws, np.random.default_rng(seed)) for seed in range(200)])
    assert np.floor(ranks * 5).tolist() == [[3, 0]] * 200
    assert kstest(ranks[:, 0] * 5 - 3, "uniform").pvalue > 0.01


def test_ties_are_broken_at_random():
    rng = np.random.default_rng(0)
    values = np.array([pit(np.zeros(()), np.zeros(9), rng) for _ in range(2000)])
    assert kstest(values, "uniform").pvalue > 0.01


def test_correlated_draws_are_thinned_by_their_effective_size():
    # An autoregression of coefficient 0.9 has 1 / 19 as many independent draws; unthinned, 1000 ranked as they are
    # would look too narrow or off.
    def chain(prior, z, *, seed):
        rng = np.random.default_rng(seed)
        steps = np.empty((1000, 2))
        steps[0] = rng.normal(size=2)
        for i in range(1, 1000):
            steps[i] = 0.9 * steps[i - 1] + np.sqrt(1 - 0.81) * rng.normal(size=2)
        return to_arviz(posterior={"loc": z.sum(0) / 11 + 11**-0.5 * torch.tensor(steps)[None]})

    found = run_sbc(prior, chain, **SETTINGS, seed=1)
    assert 25 < np.median(found.num_draws) < 100
    assert found.verdict.startswith("calibrated"), found.table
    assert run_sbc(prior, conjugate(num=500), **(SETTINGS | {"num_simulations": 20})).num_draws.min() == 100


def test_failures_are_counted_and_told():
    exact, calls = conjugate(), itertools.count()

    def sometimes(prior, z, *, seed):
        call = next(calls)
        if call % 4 == 3:
            raise FloatingPointError("no step size")
        tree = exact(prior, z, seed=seed)
        return to_arviz(posterior={"loc": torch.full((1, 50, 2), torch.nan)}) if call % 4 == 2 else tree

    found = run_sbc(prior, sometimes, **SETTINGS)
    assert len(found.failures) == 30 and len(found.num_draws) == len(found.true["loc"]) == 30
    assert found.verdict.startswith("inconclusive: calibrated over the 30 simulations that did not fail")
    assert "30 of 60 simulations failed, simulation 2: draws that are not finite" in found.verdict
    assert "simulation 3: FloatingPointError: no step size" in found.failures

    def never(prior, z, *, seed):
        raise FloatingPointError("no step size")

    with pytest.raises(RuntimeError, match=r"the first 5 simulations failed: .*no step size"):
        run_sbc(prior, never, **SETTINGS)


def test_two_views_and_a_hierarchical_prior():
    # Sites go to the posterior by name; what is computed of the parameters is not ranked unless it is drawn.
    seen = {}

    def two(x):
        scale = pyro.sample("scale", dist.LogNormal(0.0, 0.3))
        pyro.deterministic("variance", scale**2)
        with pyro.plate("batch", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
            pyro.sample("z_prime", dist.Normal(z, scale.unsqueeze(-1)).to_event(1))

    def on_a_grid(prior, z, *, seed):
        seen.update(z)
        grid = torch.linspace(0.1, 4.0, 800)
        difference = (z["z_prime"] - z["z"]).square().sum()
        log_p = dist.LogNormal(0.0, 0.3).log_prob(grid) - 20 * grid.log() - 0.5 * difference / grid**2
        generator = torch.Generator().manual_seed(seed)
        scale = grid[torch.multinomial(log_p.softmax(0), 100, replacement=True, generator=generator)]
        return to_arviz(posterior={"scale": scale[None], "other": scale[None]})

    found = run_sbc(two, on_a_grid, **SETTINGS)
    assert set(seen) == {"z", "z_prime"} and seen["z_prime"].shape == (10, 2)
    assert set(found.scalars()) == {"scale", "log_likelihood"}
    assert found.verdict.startswith("calibrated"), found.table


def test_same_seed_same_ranks_and_nothing_left_behind():
    state = torch.get_rng_state()
    settings = SETTINGS | {"num_simulations": 20}
    first, second, third = (run_sbc(prior, conjugate(), **settings, seed=seed) for seed in (1, 1, 2))
    np.testing.assert_array_equal(first.pit["loc"], second.pit["loc"])
    assert not np.array_equal(first.pit["loc"], third.pit["loc"])
    assert torch.equal(torch.get_rng_state(), state)
    assert not pyro.get_param_store().keys()


def test_group_and_pictures():
    found = run_sbc(prior, conjugate(scale=0.3), **SETTINGS)
    dataset = group(to_arviz(**found.groups()), "prior_sbc")
    assert dict(dataset.sizes) == {"simulation": 60, "loc_dim_0": 2}
    np.testing.assert_array_equal(dataset["pit_loc"], found.pit["loc"])
    assert dataset.attrs["sbc_failures"] == 0
    for picture in (rank_histograms, ecdf_difference):
        figure = picture(found)
        assert len(figure.axes) == 3
        assert figure.axes[0].get_title().startswith("loc") or figure.axes[0].get_title().startswith("log likelihood")


@pytest.mark.parametrize(
    "program, posterior, kwargs, message",
    [
        (prior, conjugate(), {"num_data": None}, "pass num_data, or a batch"),
        (prior, conjugate(), {"batch": (range(7),)}, "num_data is 10 and the batch has 7 rows"),
        (prior, conjugate(), {"num_simulations": 10}, "num_simulations must be 20 or more"),
        (ldm.priors.Gaussian(2), conjugate(), {}, "nothing to infer"),
        (
            prior,
            lambda prior, z, seed: to_arviz(posterior={"mean": torch.randn(1, 50)}),
            {},
            r"draws of \['mean'\] and none of the prior's parameters \['loc'\]",
        ),
    ],
)
def test_errors(program, posterior, kwargs, message):
    with pytest.raises(ValueError, match=message):
        run_sbc(program, posterior, **(SETTINGS | kwargs))
