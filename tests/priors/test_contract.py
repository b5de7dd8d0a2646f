"""What every prior promises, run on each that ``pyro_ldm.priors`` exports."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, Predictive

import pyro_ldm as ldm
from pyro_ldm import priors

BASES = (priors.Prior, priors.Sources, priors.PlaneViews)
BASES += (priors.CategoricalViews,)  # no vectors: tests/priors/test_categorical_views.py
BASES += (priors.Flow,)  # its parameters are a flow's: tests/priors/test_flow.py
BASES += (priors.Series, priors.Autoregressive, priors.VonMisesFisherAutoregressive, priors.Kalman)  # no vectors either
PRIORS = [prior for prior in map(priors.__dict__.get, priors.__all__) if prior not in BASES]
SOURCES = [prior for prior in PRIORS if issubclass(prior, priors.Sources)]


def sites(trace):
    return {n: s for n, s in trace.nodes.items() if s["type"] == "sample" and n != "batch"}


def hyperparameters(prior):
    """Names of a default prior's positive hyperparameters: its buffers."""
    return [name for name, _ in prior(2).named_buffers() if name not in ("loc", "weights")]


def full(prior, name, value):
    """A value of the hyperparameter's full shape, each entry larger than the one before by 1."""
    shape = prior(2).shapes[name]
    return value + torch.arange(float(torch.Size(shape).numel())).reshape(shape)


@pytest.mark.parametrize("prior", PRIORS)
class TestEvery:
    def test_generates_and_scores_its_own_samples(self, prior):
        trace = poutine.trace(prior(3)).get_trace(range(7))
        assert all(site["value"].shape == (7, 3) for site in sites(trace).values())
        assert torch.isfinite(trace.log_prob_sum())

    def test_runs_under_predictive(self, prior):
        samples = Predictive(prior(3), num_samples=5)(range(7))
        assert samples["z"].shape == (5, 7, 3)

    def test_hyperparameters_are_fixed_learned_or_bayesian(self, prior):
        for name in hyperparameters(prior):
            fixed = prior(2, **{name: 1.5})
            assert not list(fixed.parameters()) and torch.equal(getattr(fixed, name), torch.tensor(1.5))

            learned = prior(2, **{name: torch.nn.Parameter(full(prior, name, 1.5))})
            (parameter,) = learned.parameters()
            torch.testing.assert_close(getattr(learned, name).detach(), full(prior, name, 1.5))
            trace = poutine.trace(learned).get_trace(range(7))
            (grad,) = torch.autograd.grad(trace.log_prob_sum(), parameter)
            assert grad.abs().min() > 0

            bayesian = prior(2, **{name: dist.LogNormal(0.0, 0.3)})
            trace = poutine.trace(bayesian).get_trace(range(7))
            assert trace.nodes[name]["value"].shape == () and not trace.nodes[name]["cond_indep_stack"]

    @pytest.mark.parametrize("shape", [(), (2,)])
    def test_bayesian_hyperparameters_broadcast_under_vectorised_particles(self, prior, shape):
        for name in hyperparameters(prior):
            if len(shape) > len(prior(2).shapes[name]):
                continue  # one number for all dims
            hyper = dist.LogNormal(torch.zeros(shape), 0.3).to_event(len(shape))
            bayesian = prior(2, **{name: hyper})
            particles = pyro.plate("particles", 5, dim=-2)
            trace = poutine.trace(particles(bayesian)).get_trace(range(7))
            z, value = trace.nodes["z"], trace.nodes[name]["value"]
            assert z["value"].shape == (5, 7, 2)
            trace.compute_log_prob()
            # One particle on its own, its hyperparameter given, scores the same.
            one = poutine.condition(
                prior(2, **{name: hyper}),
                {k: s["value"][3] for k, s in sites(trace).items() if k != name} | {name: value[3].reshape(shape)},
            )
            alone = poutine.trace(one).get_trace(range(7))
            alone.compute_log_prob()
            for site in sites(alone).keys() - {name}:
                torch.testing.assert_close(alone.nodes[site]["log_prob"], trace.nodes[site]["log_prob"][3])

    def test_bayesian_hyperparameters_go_where_the_prior_goes(self, prior):
        for name in hyperparameters(prior):
            hyper = dist.TransformedDistribution(dist.Normal(torch.zeros(()), 1.0), dist.transforms.ExpTransform())
            moved = prior(2, **{name: hyper}).to("meta")
            with pyro.validation_enabled(False):
                assert moved.read(name).device.type == "meta"
            assert hyper.base_dist.loc.device.type == "cpu"

    def test_bad_hyperparameters_say_what_is_wrong(self, prior):
        name = hyperparameters(prior)[0]
        with pytest.raises(ValueError, match=f"{name} must satisfy"):
            prior(2, **{name: -1.0})
        wanted = r"a number or have shape \(2,\)" if prior(2).shapes[name] else "a number"
        with pytest.raises(ValueError, match=rf"{name} must be {wanted}, got shape \(3,\)"):
            prior(2, **{name: torch.ones(3)})
        with pytest.raises(ValueError, match="to_event"):
            prior(2, **{name: dist.LogNormal(torch.zeros(2), 1.0)})
        with pytest.raises(TypeError, match=r"pyro\.distributions"):
            prior(2, **{name: torch.distributions.LogNormal(0.0, 1.0)})
        with pytest.raises(ValueError, match="latent_dim"):
            prior(0)


@pytest.mark.parametrize("prior", SOURCES)
class TestSources:
    def test_densities_integrate_to_one(self, prior):
        z = torch.linspace(-400, 400, 800_001).unsqueeze(-1)
        assert float(prior(1).source().log_prob(z).exp().sum() * 1e-3) == pytest.approx(1.0, abs=1e-4)

    def test_log_prob_is_the_sum_over_dims(self, prior):
        trace = poutine.trace(prior(3)).get_trace(range(7))
        trace.compute_log_prob()
        z = trace.nodes["z"]["value"]
        torch.testing.assert_close(trace.nodes["z"]["log_prob"], prior(3).source().log_prob(z).sum(-1))

    def test_matched_latents_have_no_divergence(self, prior):
        pyro.set_rng_seed(1)
        z = prior(2)(range(4000))
        guide = ldm.guides.Deterministic(torch.nn.Identity(), ldm.entropy.KNN())
        assert abs(ldm.Objective(prior(2), guide).terms(z).kl) < 0.1

    def test_nuts_finds_the_scale(self, prior):
        pyro.set_rng_seed(0)
        z = 2.0 * prior(2)(range(400))
        bayesian = prior(2, scale=dist.LogNormal(0.0, 1.0))
        mcmc = MCMC(NUTS(pyro.condition(bayesian, {"z": z})), num_samples=60, warmup_steps=60, disable_progbar=True)
        mcmc.run(range(400))
        assert float(mcmc.get_samples()["scale"].mean()) == pytest.approx(2.0, abs=0.35)


def test_laplace_against_its_formula():
    z = torch.tensor([[0.5, -2.0]])
    expected = -math.log(2 * 0.7) * 2 - 2.5 / 0.7
    assert float(priors.Laplace(2, scale=0.7).source().log_prob(z).sum()) == pytest.approx(expected)


def test_gaussian_views_against_the_dense_gaussian():
    prior = priors.GaussianViews(2, noise=0.5, scale=1.5)
    trace = poutine.trace(prior).get_trace(range(7))
    trace.compute_log_prob()
    pair = torch.stack([trace.nodes["z"]["value"], trace.nodes["z_prime"]["value"]], -1)
    covariance = torch.tensor([[2.25, 2.25], [2.25, 2.5]])
    dense = dist.MultivariateNormal(torch.zeros(2), covariance).log_prob(pair).sum(-1)
    torch.testing.assert_close(trace.nodes["z"]["log_prob"] + trace.nodes["z_prime"]["log_prob"], dense)


def test_a_flat_first_view_scores_zero_and_cannot_be_sampled():
    prior = priors.GaussianViews(2, scale=None)
    z = torch.randn(5, 2)
    trace = poutine.trace(poutine.condition(prior, {"z": z, "z_prime": z})).get_trace(range(5))
    trace.compute_log_prob()
    assert torch.equal(trace.nodes["z"]["log_prob"], torch.zeros(5))
    with pytest.raises(NotImplementedError):
        prior(range(5))


def test_learned_exponent_stays_within_its_bounds():
    prior = priors.GeneralizedGaussian(2, power=torch.nn.Parameter(torch.tensor([1.0, 4.0])))
    (parameter,) = (p for n, p in prior.named_parameters() if "power" in n)
    with torch.no_grad():
        parameter.fill_(100.0)
    assert prior.power.max() <= 8.0
