"""LOO against the closed form of a conjugate Gaussian, and against ArviZ."""

from importlib import import_module

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_ldm as ldm
from pyro_ldm.diagnostics.arviz import import_arviz, to_arviz
from pyro_ldm.posterior.loo import fingerprint, loo
from pyro_ldm.posterior.program import log_likelihood

MODULE = import_module("pyro_ldm.posterior.loo")  # the package has the function under this name
K, A, B = 0.5, 2.0, 2.0


def prior(x):
    """Normal-gamma: the precision, a mean given it, and one dim of latents."""
    precision = pyro.sample("precision", dist.Gamma(A, B))
    loc = pyro.sample("loc", dist.Normal(0.0, (K * precision).rsqrt()))
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.Normal(loc.unsqueeze(-1), precision.rsqrt().unsqueeze(-1)).to_event(1))


def updated(z):
    """The normal-gamma posterior's mean, count, shape and rate."""
    num, mean = len(z), z.mean()
    rate = B + 0.5 * ((z - mean) ** 2).sum() + K * num * mean**2 / (2 * (K + num))
    return num * mean / (K + num), K + num, A + num / 2, rate


def posterior(prior, z, *, seed=0, num=2000, batch=None):
    loc, count, shape, rate = updated(z)
    with torch.random.fork_rng():
        torch.manual_seed(seed)
        precision = dist.Gamma(shape, rate).sample((num,))
        draws = {"precision": precision, "loc": dist.Normal(loc, (count * precision).rsqrt()).sample()}
    return to_arviz(posterior={name: value.reshape(2, -1) for name, value in draws.items()})


def exact(z):
    """log P(z_i | z_-i): the predictive Student-t of the others."""
    found = []
    for i in range(len(z)):
        loc, count, shape, rate = updated(torch.cat([z[:i], z[i + 1 :]]))
        scale = (rate * (count + 1) / (shape * count)).sqrt()
        found.append(dist.StudentT(2 * shape, loc, scale).log_prob(z[i, 0]).item())
    return np.array(found)


def test_elpd_equals_the_closed_form():
    z = 1.0 + 1.5 * torch.randn(200, 1)
    result, expected = loo(prior, z, posterior(prior, z, num=4000)), exact(z)
    assert np.abs(result.pointwise - expected).max() < 0.02
    assert result.elpd == pytest.approx(expected.sum(), abs=0.3)
    assert result.se == pytest.approx(200**0.5 * expected.std(), rel=0.01)
    assert result.p_loo == pytest.approx(2.0, abs=0.5)
    assert result.k_hat.max() < 0.5 and not result.refitted.any() and not result.warning


def test_elpd_equals_that_of_arviz():
    z = torch.randn(80, 1)
    tree = posterior(prior, z, num=1000)
    pointwise = log_likelihood(prior, z, {n: torch.as_tensor(v.values).flatten() for n, v in tree["posterior"].items()})
    given = to_arviz(
        posterior={"loc": tree["posterior"]["loc"].values},
        log_likelihood={"z": pointwise.reshape(2, -1, 80)},
        observed_data={"z": z[:, 0]},
    )
    settings = {"pointwise": True, "reff": 1.0}
    expected, found = import_arviz().loo(given, **settings), loo(prior, z, tree)
    name = "elpd" if hasattr(expected, "elpd") else "elpd_loo"
    assert found.elpd == pytest.approx(float(getattr(expected, name)), abs=1e-6)
    assert found.se == pytest.approx(
        float(expected.se), rel=0.01
    )  # the variance's denominator is N in 0.x, N - 1 in 1.x
    p_loo = expected.p if hasattr(expected, "elpd") else expected.p_loo
    assert found.p_loo == pytest.approx(float(p_loo), abs=1e-6)
    assert np.allclose(found.k_hat, np.asarray(expected.pareto_k), atol=1e-6)


def test_where_importance_sampling_fails_the_latent_is_left_out_in_earnest():
    z = torch.randn(60, 1)
    z[7] = 9.0
    tree, expected = posterior(prior, z), exact(z)
    with pytest.warns(UserWarning, match=r"k-hat is above 0.7 for 1 of 60 latents, .* pass refit="):
        without = loo(prior, z, tree)
    assert without.pointwise[7] > expected[7] + 0.5 and "likely too high" in str(without)
    calls = []

    def refit(prior, z, *, seed):
        calls.append(len(z))
        return posterior(prior, z, seed=seed, num=20_000)

    result = loo(prior, z, tree, refit=refit)
    assert calls == [59] and list(np.flatnonzero(result.refitted)) == [7]
    # The plain average over draws of so improbable a density is noisy; importance sampling is off by far more.
    error = abs(result.pointwise[7] - expected[7])
    assert error < 0.5 * abs(without.pointwise[7] - expected[7])
    assert np.array_equal(np.delete(result.pointwise, 7), np.delete(without.pointwise, 7))
    assert "1 refitted" in str(result)


def test_refits_are_capped_the_worst_first():
    z = torch.randn(100, 1)
    z[3], z[5] = 12.0, -11.0
    tree = posterior(prior, z)
    with pytest.warns(UserWarning, match="pass max_refits=2"):
        result = loo(prior, z, tree, refit=posterior, max_refits=1)
    assert list(np.flatnonzero(result.refitted)) == [int(np.argmax(loo_quiet(z, tree).k_hat))]
    with pytest.warns(UserWarning, match="pass max_refits=2"):
        assert not loo(prior, z, tree, refit=posterior, max_refits=0).refitted.any()


def loo_quiet(z, tree):
    with pytest.warns(UserWarning):
        return loo(prior, z, tree)


def test_the_batch_is_left_out_with_its_latent():
    def shifted(x, scale):
        loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Normal(loc.unsqueeze(-1) + x, scale).to_event(1))

    x, scale = torch.randn(30, 1), torch.ones(30, 1)
    z = x + torch.randn(30, 1)
    z[4] += 8.0
    scale[4] = 0.5
    lengths = []

    def refit(prior, z, *, seed, batch):
        lengths.append([len(z), *map(len, batch)])
        variance = 1 / (1 / 100 + (1 / batch[1] ** 2).sum())
        loc = variance * ((z - batch[0]) / batch[1] ** 2).sum()
        return to_arviz(posterior={"loc": dist.Normal(loc, variance**0.5).sample((1, 2000))})

    tree = refit(shifted, z, seed=0, batch=(x, scale))
    result = loo(shifted, z, tree, batch=(x, scale), refit=refit)
    assert lengths == [[30, 30, 30], [29, 29, 29]] and list(np.flatnonzero(result.refitted)) == [4]
    others = torch.arange(30) != 4
    variance = 1 / (1 / 100 + 29)
    loc = variance * (z - x)[others].sum()
    expected = dist.Normal(loc + x[4], (variance + 0.25) ** 0.5).log_prob(z[4]).item()
    assert result.pointwise[4] == pytest.approx(expected, rel=0.1)


def test_draws_of_an_approximation_are_weighted():
    z = torch.randn(50, 1)
    expected = exact(z)
    loc, count, shape, rate = updated(z)
    # Twice as wide as the posterior in the mean, and narrower in the precision.
    precision = dist.Gamma(0.7 * shape, 0.7 * rate).sample((20_000,))
    guide = dist.Normal(loc, 2 * (count * precision).rsqrt())
    mean = guide.sample()
    target = dist.Gamma(shape, rate).log_prob(precision) + dist.Normal(loc, (count * precision).rsqrt()).log_prob(mean)
    weights = target - dist.Gamma(0.7 * shape, 0.7 * rate).log_prob(precision) - guide.log_prob(mean) + 100.0
    given = {"posterior": {"precision": precision[None], "loc": mean[None]}}
    weighted = loo(prior, z, to_arviz(**given, sample_stats={"log_weight": weights[None]}))
    unweighted = loo(prior, z, to_arviz(**given))
    assert np.abs(weighted.pointwise - expected).max() < 0.02 and weighted.p_loo == pytest.approx(1.9, abs=0.4)
    assert np.abs(unweighted.pointwise - expected).max() > 0.05


def test_too_coarse_an_approximation_is_told():
    z = torch.randn(50, 1)
    tree = posterior(prior, z, num=400)
    stats = {"log_weight": dist.Cauchy(0.0, 3.0).sample((2, 200)).clamp(-50, 50)}
    coarse = to_arviz(posterior={n: tree["posterior"][n].values for n in ("precision", "loc")}, sample_stats=stats)
    with pytest.warns(UserWarning, match="approximation has a k-hat of .* draw by NUTS, or from a richer guide"):
        assert not loo(prior, z, coarse, refit=posterior).refitted.any()


def test_without_parameters_elpd_is_the_log_density():
    z = torch.randn(100, 3)
    result = loo(ldm.priors.Gaussian(3), z)
    assert np.allclose(result.pointwise, dist.Normal(0.0, 1.0).log_prob(z).sum(-1))
    assert result.p_loo == 0 and (result.k_hat == 0).all() and not result.refitted.any()


def test_two_views_are_left_out_together():
    views = ldm.priors.GaussianViews(2, noise=0.5)
    sites = dict(zip(("z", "z_prime"), [each.detach() for each in views(range(50))], strict=True))
    expected = dist.Normal(0.0, 1.0).log_prob(sites["z"]) + dist.Normal(sites["z"], 0.5).log_prob(sites["z_prime"])
    assert np.allclose(loo(views, sites).pointwise, expected.sum(-1))


def test_learned_numbers_are_counted_in_a_note():
    learned = ldm.priors.Laplace(2, scale=torch.nn.Parameter(torch.ones(2)))
    assert "2 learned numbers are held fixed and not counted" in loo(learned, torch.randn(50, 2)).warning


def test_repeated_rows_are_warned_of():
    z = torch.randn(50, 2)
    with pytest.warns(UserWarning, match="100 of 100 latents repeat another, and LOO takes them for independent"):
        loo(ldm.priors.Gaussian(2), torch.cat([z, z]))


def test_a_fingerprint_is_of_the_values():
    z = torch.randn(20, 2).float()
    assert fingerprint({"z": z}) == fingerprint({"z": z.double()}) == fingerprint({"z": z.clone()})
    others = ({"z": z.flip(0)}, {"z": z.reshape(10, 4)}, {"z_prime": z}, {"z": z + 1e-6})
    assert len({fingerprint({"z": z}), *map(fingerprint, others)}) == 5


def test_draws_are_thinned_to_fit_into_memory(monkeypatch):
    z = torch.randn(100, 1)
    tree = posterior(prior, z, num=4000)
    full = loo(prior, z, tree).elpd
    monkeypatch.setattr(MODULE, "AT_ONCE", 100 * 500)
    monkeypatch.setattr(MODULE, "log_likelihood", counting := Counting())
    assert loo(prior, z, tree).elpd == pytest.approx(full, abs=0.5) and counting.draws == [500]


class Counting:
    def __init__(self):
        self.draws = []

    def __call__(self, prior, z, draws, **kwargs):
        self.draws.append(len(draws["loc"]))
        return log_likelihood(prior, z, draws, **kwargs)


def test_errors():
    z = torch.randn(50, 1)
    with pytest.raises(ValueError, match=r"has parameters \['precision', 'loc'\]: pass the tree of their posterior"):
        loo(prior, z)
    with pytest.raises(ValueError, match=r"lacks \['loc', 'precision'\]"):
        loo(prior, z, to_arviz(posterior={"scale": torch.rand(1, 100)}))
    with pytest.raises(ValueError, match="the tree has 2 draws, and LOO weighs at least 30"):
        loo(prior, z, posterior(prior, z, num=2))
    with pytest.raises(ValueError, match="no group 'posterior'"):
        loo(prior, z, to_arviz(latents={"z": z}))
    with pytest.raises(ValueError, match="max_refits is a number of latents, got -1"):
        loo(prior, z, posterior(prior, z), max_refits=-1)
    with pytest.raises(ValueError, match="NaN"):
        loo(prior, torch.full((50, 1), torch.nan))

    def uniform(x):
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Uniform(torch.zeros(1), 1.0, validate_args=False).to_event(1))

    with pytest.raises(
        ValueError, match=r"log-density of .* latents is not finite, first of row .*outside the prior's"
    ):
        with pyro.validation_enabled(False):
            loo(uniform, z)


def test_what_is_left_out_of_the_batch_stays_so():
    def masked(x, mask=None):
        loc = pyro.sample("loc", dist.Normal(0.0, 10.0))
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Normal(loc.unsqueeze(-1), 1.0).to_event(1).mask(True if mask is None else mask))

    z = torch.randn(20, 1)
    z[4] = 8.0
    seen = []

    def refit(prior, z, *, seed, batch):
        seen.append((len(batch[0]), batch[1]))
        return to_arviz(posterior={"loc": dist.Normal(z.mean(), len(z) ** -0.5).sample((1, 500))})

    result = loo(masked, z, refit(masked, z, seed=0, batch=(z, None)), batch=(z, None), refit=refit)
    assert result.refitted[4] and seen == [(20, None), *[(19, None)] * int(result.refitted.sum())]


def test_where_parameters_do_not_matter_there_is_no_tail():
    def fixed(x):
        pyro.sample("idle", dist.Normal(0.0, 1.0))
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(1), 1.0).to_event(1))

    z = torch.randn(30, 1)
    result = loo(fixed, z, to_arviz(posterior={"idle": torch.randn(1, 200)}))
    assert (result.k_hat == 0).all() and result.p_loo == pytest.approx(0.0, abs=1e-9)
    assert result.pointwise == pytest.approx(dist.Normal(0.0, 1.0).log_prob(z)[:, 0].numpy())
