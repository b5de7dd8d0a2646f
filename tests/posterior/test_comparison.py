"""Priors compared: against ArviZ, the generating prior is preferred, and latents of two encoders are refused."""

import inspect
import warnings
from importlib import import_module

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_ldm as ldm
from pyro_ldm.diagnostics.arviz import import_arviz, to_arviz
from pyro_ldm.posterior.comparison import compare, compare_priors
from pyro_ldm.posterior.default_priors import default_priors
from pyro_ldm.posterior.loo import Loo, loo
from pyro_ldm.posterior.nuts import nuts
from pyro_ldm.posterior.stacking import stacking_weights

PRIORS = {
    "Gaussian": ldm.priors.Gaussian(2, scale=2**0.5),
    "Laplace": ldm.priors.Laplace(2),
    "Student-t": ldm.priors.StudentT(2, df=4.0),
}


def a_loo(pointwise, k_hat=None, latents="z"):
    k_hat = np.zeros(len(pointwise)) if k_hat is None else k_hat
    none = np.zeros(len(pointwise), dtype=bool)
    return Loo(np.asarray(pointwise), p_loo=1.0, k_hat=k_hat, refitted=none, num_learned=0, latents=latents)


def test_the_generating_prior_is_preferred():
    z = dist.Laplace(torch.zeros(2), 1.0).sample((2000,))
    found = compare_priors(z, PRIORS, progress=False)
    assert found.best == "Laplace" and str(found).startswith("Laplace preferred over Student-t by ")
    assert str(found).endswith(" nats over 2000 latents") and found.tied == ["Laplace"] and not found.trees
    table = found.table
    assert table.index[0] == "Laplace" and list(table.columns) == [
        "elpd_loo",
        "se",
        "elpd_diff",
        "dse",
        "p_loo",
        "weight",
        "k_hat",
        "refitted",
        "warning",
    ]
    laplace = dist.Laplace(0.0, 1.0).log_prob(z).sum(-1)
    gaussian = dist.Normal(0.0, 2**0.5).log_prob(z).sum(-1)
    assert table.loc["Laplace", "elpd_loo"] == pytest.approx(laplace.sum().item())
    assert table.loc["Gaussian", "elpd_diff"] == pytest.approx((laplace - gaussian).sum().item())
    assert table.loc["Gaussian", "dse"] == pytest.approx((2000**0.5 * (laplace - gaussian).std()).item())


def test_the_table_equals_that_of_arviz():
    """az.compare on the same pointwise log-likelihoods: order, differences, their errors, and stacking weights."""
    z = torch.randn(150, 1)
    draws = {"a": 0.1 * torch.randn(1, 500, 1), "b": 0.1 * torch.randn(1, 500, 1), "c": 0.1 * torch.randn(1, 500, 1)}
    families = {
        "a": lambda x: dist.Normal(x, 1.0),
        "b": lambda x: dist.Laplace(x, 0.8),
        "c": lambda x: dist.StudentT(2.0, x),
    }
    trees, results = {}, {}
    for name, family in families.items():
        likelihood = family(draws[name]).log_prob(z[:, 0])
        trees[name] = to_arviz(posterior={"loc": draws[name][..., 0]}, log_likelihood={"z": likelihood})

        def program(x, family=family):
            loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
            with pyro.plate("batch", len(x)):
                pyro.sample("z", family(loc.unsqueeze(-1)).to_event(1))

        results[name] = loo(program, z, trees[name])
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # its own, of rounding and of what will change
        az_compare = import_arviz().compare
        rounds = "round_to" in inspect.signature(az_compare).parameters  # in 1.x
        expected = az_compare(trees, **({"round_to": "none"} if rounds else {}))
    found = compare(results).table
    assert list(found.index) == list(expected.index)
    for ours, theirs in {"elpd_loo": ("elpd_loo", "elpd"), "elpd_diff": ("elpd_diff",), "dse": ("dse",)}.items():
        column = next(name for name in theirs if name in expected)
        assert np.allclose(np.abs(found[ours]), np.abs(expected[column].astype(float)), rtol=0.005), ours
    assert np.allclose(found["weight"], expected["weight"].astype(float), atol=0.05)


def test_stacking_by_hand():
    # Two priors, each better by log 3 on half of the latents: half a weight each, whatever their common level.
    pointwise = np.log([[3.0, 1.0], [1.0, 3.0]] * 10) - 700
    assert np.allclose(stacking_weights(pointwise), 0.5)
    assert np.allclose(stacking_weights(np.log([[2.0, 1.0]] * 10)), [1.0, 0.0], atol=1e-6)
    # w + 3 (1 - w) on one of three latents, 3 w + (1 - w) on two: the derivative vanishes at w = 5 / 6.
    assert np.allclose(stacking_weights(np.log([[1.0, 3.0], [3.0, 1.0], [3.0, 1.0]])), [5 / 6, 1 / 6], atol=1e-6)


def test_what_cannot_be_told_apart_is_said():
    rng = np.random.default_rng(0)
    base = rng.normal(size=500)
    noise = 0.5 * rng.normal(size=500)
    near = base - (noise - noise.mean()) - 0.01  # 5 nats below, with an error of 11
    found = compare({"near": a_loo(near), "best": a_loo(base), "far": a_loo(base - 1.0)})
    assert found.best == "best" and found.tied == ["best", "near"]
    error = np.std(noise, ddof=1) * 500**0.5
    assert str(found) == (
        f"not distinguishable: best and near, best ahead of near by 5.0 +- {error:.1f} nats over 500 latents; "
        "preferred over far by 500 +- 0 nats"
    )
    # An error of nothing: what is within 4 nats is not told apart all the same.
    assert compare({"a": a_loo(base), "b": a_loo(base - 3.9 / 500)}).tied == ["a", "b"]
    assert compare({"a": a_loo(base), "b": a_loo(base - 4.1 / 500)}).tied == ["a"]


def test_a_single_prior_has_nothing_to_be_preferred_over():
    found = compare({"a": a_loo(np.zeros(10))})
    assert "nothing to compare" in str(found)


def test_doubtful_results_are_named():
    found = compare({"a": a_loo(np.zeros(10)), "b": a_loo(np.zeros(10) - 1, k_hat=np.full(10, 0.9))})
    assert str(found).endswith("see the warnings of b in the table")
    assert found.table.loc["b", "warning"].startswith("k-hat above 0.7 for 10 latents")


def test_posteriors_are_drawn_once_for_each_prior_with_parameters():
    z = torch.randn(300, 2) * 3
    seeds = []

    def posterior(prior, z, *, seed):
        seeds.append(seed)
        warnings.warn("chains disagree", stacklevel=2)
        precision = dist.Gamma(len(z) / 2, z.square().sum(0) / 2).sample((500,))
        return to_arviz(posterior={"scale": precision.rsqrt()[None]})

    priors = {
        "fixed": ldm.priors.Gaussian(2),
        "Bayesian": ldm.priors.Gaussian(2, scale=dist.HalfCauchy(torch.ones(2)).to_event(1)),
    }
    with pytest.warns(UserWarning, match="Bayesian: chains disagree"):
        found = compare_priors(z, priors, posterior=posterior, seed=3, progress=False)
    assert seeds == [3] and list(found.trees) == ["Bayesian"] and found.best == "Bayesian"
    assert found.results["Bayesian"].p_loo == pytest.approx(2.0, abs=1.0)
    assert found.table["warning"].to_dict() == {"Bayesian": "chains disagree", "fixed": ""}
    assert str(found).endswith("see the warnings of Bayesian in the table")


def test_repeated_latents_are_warned_of_once():
    z = torch.randn(50, 2)
    with pytest.warns(UserWarning) as caught:
        compare_priors(torch.cat([z, z]), PRIORS, progress=False)
    assert len(caught) == 1


def test_the_default_posterior_is_of_nuts(monkeypatch):
    z = dist.StudentT(3.0, torch.zeros(1), 1.0).sample((200,))
    calls = []

    def short(prior, z, **settings):
        calls.append(settings)
        return nuts(prior, z, **settings | {"num_samples": 60, "warmup_steps": 60, "num_chains": 1})

    monkeypatch.setattr(import_module("pyro_ldm.posterior.comparison"), "nuts", short)
    priors = {name: default_priors(z)[name] for name in ("Gaussian", "Student-t")}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of so few draws
        found = compare_priors(z, priors, refit=False, seed=5, progress=False)
    assert found.best == "Student-t" and set(found.trees) == set(priors)
    assert 1 < found.results["Student-t"].p_loo < 6
    assert [(call["num_chains"], call["seed"]) for call in calls] == [(2, 5), (2, 5)]


def test_the_bar_is_shown_and_can_be_hidden(capsys):
    z = torch.randn(20, 2)
    compare_priors(z, PRIORS)
    assert "priors: 100%" in capsys.readouterr().err
    compare_priors(z, PRIORS, progress=False)
    assert not capsys.readouterr().err


def test_latents_of_two_encoders_are_refused():
    z, other = torch.randn(2, 50, 2)
    reason = "differ by the Jacobian of the map between them"
    for several in (
        {"run a": (z, PRIORS["Gaussian"]), "run b": (other, PRIORS["Gaussian"])},
        [z, other],
        (z, other),
        {"run a": z, "run b": other},
    ):
        with pytest.raises(ValueError, match=reason):
            compare_priors(several, PRIORS, progress=False)
    results = {"a": loo(PRIORS["Gaussian"], z), "b": loo(PRIORS["Gaussian"], other)}
    with pytest.raises(ValueError, match=f"of different latents: .* {reason}"):
        compare(results)


def test_results_of_the_same_latents_in_other_precision_compare():
    z = torch.randn(50, 2).float()
    assert compare({"a": loo(PRIORS["Gaussian"], z), "b": loo(PRIORS["Laplace"], z.double())}).best


def test_errors():
    z = torch.randn(50, 2)
    with pytest.raises(ValueError, match="there is no prior to compare"):
        compare_priors(z, {})
    with pytest.raises(ValueError, match="there is nothing to compare"):
        compare({})
    with pytest.raises(TypeError, match=r"prior 'a' is a Loo: .* results of loo go to compare"):
        compare_priors(z, {"a": a_loo(np.zeros(10))})
    with pytest.raises(ValueError, match=r"the default priors are of latents \(N, D\), got \(5, 3, 2\)"):
        compare_priors(torch.randn(5, 3, 2))
    with pytest.raises(ValueError, match="constant"):
        compare_priors(torch.full((50, 2), 2.0))


def test_the_picture_shows_the_table():
    z = torch.randn(500, 2)
    found = compare_priors(z, PRIORS, progress=False)
    left, right = found.picture().axes
    assert [text.get_text() for text in left.get_yticklabels()] == list(found.table.index)
    assert list(left.lines[0].get_xdata()) == list(found.table["elpd_loo"])
    assert list(right.lines[0].get_xdata()) == list(-found.table["elpd_diff"])
    assert left.get_ylim()[0] > left.get_ylim()[1]  # the best on top


def test_priors_within_two_standard_errors_are_tied():
    # Differences +-1 about 0.3: 30 nats over 100 latents, of standard error 10; and about 0.15: 15 nats.
    spread = np.tile([1.0, -1.0], 50) * np.sqrt(0.99)  # of sd 1 with ddof = 1
    found = compare({"best": a_loo(np.zeros(100)), "far": a_loo(-0.3 - spread), "near": a_loo(-0.15 - spread)})
    assert found.difference("far") == pytest.approx((30.0, 10.0)) and found.tied == ["best", "near"]
    close = compare({"best": a_loo(np.zeros(100)), "small": a_loo(np.full(100, -0.039))})
    assert close.tied == ["best", "small"]  # 3.9 nats, however sure
