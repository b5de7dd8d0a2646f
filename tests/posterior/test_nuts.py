import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.reparam import LocScaleReparam
from pyro.ops.integrator import potential_grad

import pyro_ldm as ldm
from pyro_ldm.diagnostics.arviz import draws, group, to_arviz
from pyro_ldm.posterior import chains
from pyro_ldm.posterior.nuts import nuts
from pyro_ldm.posterior.program import given_latents
from pyro_ldm.posterior.reliability import problems
from pyro_ldm.posterior.unexpanded import Unexpanded, can_be_unexpanded

SHORT = {"num_samples": 20, "warmup_steps": 20, "num_chains": 2, "progress": False}


def location(x):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.Normal(loc.unsqueeze(-1), 1.0).to_event(1))


def hierarchical(x):
    mean = pyro.sample("mean", dist.Normal(0.0, 1.0))
    with pyro.plate("dims", 2):
        log_scale = pyro.sample("log_scale", dist.Normal(mean, 0.5))
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.Laplace(torch.zeros(2), log_scale.exp()).to_event(1))


def quiet(*args, **kwargs):
    """Short runs are doubtful, and say so."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        return nuts(*args, **{**SHORT, **kwargs})


def test_is_the_exact_posterior_of_a_gaussians_mean():
    z = 0.5 + torch.randn(10, 1)
    tree = quiet(location, z, num_samples=300, warmup_steps=50)
    loc = draws(tree)["loc"]
    # N(sum z / (N + 1), 1 / (N + 1)); 600 draws, an effective sample size of 100 at least
    assert abs(loc.mean() - z.sum() / 11) < 4 * 11**-0.5 / 100**0.5
    assert abs(loc.std() * 11**0.5 - 1) < 4 / (2 * 100) ** 0.5


def test_a_tree_has_what_was_done():
    tree = quiet(hierarchical, torch.randn(9, 2), seed=3, coords={"dims": ["a", "b"]})
    posterior, stats = group(tree, "posterior"), group(tree, "sample_stats")
    assert posterior["log_scale"].dims == ("chain", "draw", "dims") and posterior["log_scale"].shape == (2, 20, 2)
    assert posterior["log_scale"].sel(dims="b").shape == (2, 20) and posterior["mean"].shape == (2, 20)
    assert set(stats.data_vars) == {"diverging", "lp", "n_steps", "tree_depth", "step_size"}
    assert stats["diverging"].dtype == bool and (stats["n_steps"] < 2 ** stats["tree_depth"]).all()
    assert (stats["n_steps"] >= 2 ** (stats["tree_depth"] - 1)).all()
    assert group(tree, "observed_data")["z"].dims == ("batch", "z_dim")
    assert tree.attrs["inference"] == "NUTS" and tree.attrs["seed"] == 3


def test_lp_is_the_joint_density_on_unconstrained_parameters():
    prior = ldm.priors.Laplace(2, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
    z = torch.randn(9, 2)
    tree = quiet(prior, z)
    scale, lp = draws(tree)["scale"], draws(tree, "sample_stats")["lp"]
    joint = torch.distributions.Normal(0.0, 1.0).log_prob(scale.log()).sum(-1)
    joint = joint + torch.distributions.Laplace(0.0, scale[:, None]).log_prob(z).sum((1, 2))
    torch.testing.assert_close(lp, joint)


def test_a_reparameterised_prior_gives_its_own_parameters_too():
    prior = poutine.reparam(hierarchical, config={"log_scale": LocScaleReparam(0.0)})
    posterior = draws(quiet(prior, torch.randn(9, 2)))
    expected = posterior["mean"][:, None] + 0.5 * posterior["log_scale_decentered"]
    torch.testing.assert_close(posterior["log_scale"], expected)


def test_a_seed_gives_the_same_and_nothing_is_left_behind():
    torch.set_default_dtype(torch.float32)
    prior = ldm.priors.Kalman(1, observation_noise=dist.LogNormal(torch.zeros(1), 0.5).to_event(1))
    z = torch.randn(4, 5, 1, generator=torch.Generator().manual_seed(0))
    threads, random = torch.get_num_threads(), torch.random.get_rng_state()
    first, same, other = (draws(quiet(prior, z, seed=seed))["observation_noise"] for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert not torch.equal(first[:20], first[20:])
    assert first.dtype == torch.float64  # prior and latents are in single precision
    assert prior.transition_noise.dtype == torch.float32 and prior.transition_noise.requires_grad
    assert torch.get_default_dtype() == torch.float32 and torch.get_num_threads() == threads
    assert torch.equal(torch.random.get_rng_state(), random) and not list(pyro.get_param_store().keys())


def test_steps_are_shorter_for_a_higher_acceptance_probability():
    z = torch.randn(20, 1)
    settings = {"num_samples": 5, "warmup_steps": 60, "num_chains": 1, "progress": False}
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)
        low, high = (nuts(location, z, target_accept=target, **settings) for target in (0.6, 0.99))
    low, high = (float(draws(tree, "sample_stats")["step_size"][0]) for tree in (low, high))
    assert high < 0.7 * low


def test_a_mixtures_component_is_summed_out():
    z, weights = torch.randn(9, 2), dist.Dirichlet(torch.ones(3))
    energies = []
    for enumerate in (True, False):
        prior = ldm.priors.GaussianMixture(2, 3, weights=weights, enumerate=enumerate)
        given = given_latents(prior, z)
        with given.running(), pyro.validation_enabled(False):
            potential, _, _ = chains._start(given)
            gradient, energy = potential_grad(potential, {"weights": torch.tensor([0.3, -0.2])})
        energies.append((energy, gradient["weights"]))
    torch.testing.assert_close(*energies)


def test_views_and_what_a_batch_carries():
    noise = dist.LogNormal(torch.zeros(2), 1.0).to_event(1)
    z = torch.randn(200, 2)
    tree = quiet(ldm.priors.GaussianViews(2, noise=noise), {"z": z, "z_prime": z + 0.1 * torch.randn(200, 2)})
    assert 0.08 < draws(tree)["noise"].mean() < 0.12
    prior = ldm.priors.Kalman(1, observation_noise=dist.LogNormal(torch.zeros(1), 0.5).to_event(1))
    z, mask = torch.randn(4, 5, 1), torch.ones(4, 5, dtype=torch.bool)
    settings = {"warmup_steps": 100, "num_samples": 100}
    plain, masked = (
        draws(quiet(prior, z, batch=batch, **settings))["observation_noise"] for batch in ((z, mask), (z, ~mask))
    )
    # Without anything observed it is the prior: log of it N(0, 1/4)
    assert abs(masked.log().mean()) < 0.4 and not torch.equal(plain, masked)


@pytest.mark.parametrize(
    ("z", "settings", "message"),
    [
        (torch.randn(9, 2), {"num_samples": 1}, "num_samples must be at least 4"),
        (torch.randn(9, 2), {"target_accept": 1.0}, "target_accept is a probability"),
        (torch.ones(9, 2), {}, r"constant in dims \[0, 1\]"),
        (torch.full((9, 2), math.nan), {}, "NaN or Inf in 9 of 9 rows"),
    ],
)
def test_bad_input_is_refused(z, settings, message):
    with pytest.raises(ValueError, match=message):
        nuts(hierarchical, z, **{**SHORT, **settings})


def test_nothing_to_infer_is_said():
    with pytest.raises(ValueError, match=r"nothing to infer: .* scale=dist.LogNormal"):
        nuts(ldm.priors.Laplace(2), torch.randn(9, 2))


def test_names_that_collide_are_refused_before_the_sampling(monkeypatch):
    def prior(x):
        with pyro.plate("draw", 2):
            scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Laplace(torch.zeros(2), scale).to_event(1))

    monkeypatch.delattr(chains, "run_chain")
    with pytest.raises(ValueError, match="draw"):
        nuts(prior, torch.randn(9, 2))


def test_latents_outside_the_support_are_refused():
    def prior(x):
        high = pyro.sample("high", dist.Uniform(0.0, 1.0))
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Uniform(torch.zeros(2), high.unsqueeze(-1)).to_event(1))

    with pytest.raises(ValueError, match="not finite at any of 100 draws"):
        nuts(prior, 2 + torch.rand(9, 2), **SHORT)


def test_starts_at_a_likely_draw_of_a_heavy_tailed_prior():
    prior = ldm.priors.Gaussian(1, scale=dist.HalfCauchy(torch.full((1,), 1e4)).to_event(1))
    posterior = draws(quiet(prior, torch.randn(200, 1), warmup_steps=100))
    assert 0.8 < posterior["scale"].mean() < 1.2


def test_progress_is_shown_on_stderr_or_not(capsys):
    quiet(location, torch.randn(9, 1), progress=True)
    shown = capsys.readouterr()
    assert "NUTS: 100%" in shown.err and not shown.out
    quiet(location, torch.randn(9, 1))
    assert not capsys.readouterr().err


def test_an_interrupt_stops_and_leaves_nothing(monkeypatch):
    def stop(*_):
        raise KeyboardInterrupt

    monkeypatch.setattr(chains.NUTS, "sample", stop)
    with pytest.raises(KeyboardInterrupt):
        nuts(location, torch.randn(9, 1), **SHORT)
    assert torch.get_default_dtype() == torch.float64 and not pyro.poutine.runtime._PYRO_STACK


@pytest.mark.slow
def test_processes_make_no_difference(monkeypatch, capsys):
    z = torch.randn(40, 2)
    expected = quiet(hierarchical, z)
    monkeypatch.setattr(chains, "WORTH", 0.0)
    monkeypatch.setattr("joblib.cpu_count", lambda: 2)
    tree = quiet(hierarchical, z, progress=True)
    for name in ("posterior", "sample_stats"):
        for variable, values in draws(expected, name).items():
            assert torch.equal(values, draws(tree, name)[variable])
    assert "80/80" in capsys.readouterr().err

    lock = __import__("threading").Lock()

    def unpicklable(x):
        with lock:
            return hierarchical(x)

    with warnings.catch_warnings(record=True) as caught:
        warnings.simplefilter("always")
        tree = nuts(unpicklable, z, **SHORT)
    assert "the chains run one after another" in str(caught[0].message)
    assert torch.equal(draws(tree)["mean"], draws(expected)["mean"])


class TestProblems:
    """Of trees with known faults."""

    @staticmethod
    def tree(*, shift=0.0, diverging=0, depth=3, repeat=1):
        values = torch.randn(4, 1000 // repeat).repeat_interleave(repeat, dim=1)
        values[0] += shift
        stats = {
            "diverging": torch.arange(4 * values.shape[1]).reshape(values.shape) < diverging,
            "tree_depth": torch.full(values.shape, depth),
        }
        return to_arviz(posterior={"scale": values}, sample_stats=stats)

    def test_of_a_good_run_there_are_none(self):
        assert problems(self.tree()) == []

    @pytest.mark.parametrize(
        ("fault", "message"),
        [
            ({"diverging": 7}, "7 of 4000 draws diverged"),
            ({"depth": 10}, "4000 of 4000 trees were cut short at depth 10"),
            ({"shift": 1.0}, "R-hat of scale is 1.1"),
            ({"repeat": 20}, "scale has an effective sample size of"),
        ],
    )
    def test_each_is_named_with_its_remedy(self, fault, message):
        assert any(message in problem for problem in problems(self.tree(**fault)))

    def test_what_never_varies_is_not_blamed(self):
        tree = self.tree(shift=1.0)
        values = torch.stack([torch.ones(4, 1000), torch.from_numpy(group(tree, "posterior")["scale"].values)], -1)
        stats = {name: group(tree, "sample_stats")[name].values for name in ("diverging", "tree_depth")}
        (found,) = [p for p in problems(to_arviz(posterior={"L": values}, sample_stats=stats)) if "R-hat" in p]
        assert "R-hat of L[1] is 1.1" in found

    def test_a_run_that_diverges_warns_of_it(self):
        def cliff(x):
            loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
            pyro.factor("cliff", torch.where(loc > 0, 0.0, -1e4))
            with pyro.plate("batch", len(x)):
                pyro.sample("z", dist.Normal(loc.unsqueeze(-1), 1.0).to_event(1))

        with pytest.warns(UserWarning) as caught:
            nuts(cliff, torch.randn(5, 1), num_samples=50, warmup_steps=10, num_chains=1, progress=False)
        assert any("draws diverged" in str(w.message) and "LocScaleReparam" in str(w.message) for w in caught)


class TestUnexpanded:
    @pytest.mark.parametrize(
        "fn",
        [
            lambda p: dist.StudentT(3 * p, p, p).to_event(1),
            lambda p: dist.Laplace(torch.zeros(2), p).to_event(1),
            lambda p: ldm.distributions.GeneralizedGaussian(torch.zeros(2), p, 1 + p).to_event(1),
            lambda p: dist.MultivariateNormal(p, torch.eye(2)),
            lambda p: dist.Normal(p * torch.arange(5.0).unsqueeze(-1), p).to_event(1),
            lambda p: dist.Normal(p, 1.0).to_event(1).mask(torch.arange(5) < 3),
        ],
    )
    def test_density_and_gradient_stay(self, fn):
        z, results = torch.randn(5, 2), []
        for handler in (lambda program: program, Unexpanded(["z"])):
            p = torch.tensor([0.5, 1.5], requires_grad=True)

            def prior(p=p):
                with pyro.plate("batch", 5):
                    return pyro.sample("z", fn(p), obs=z)

            trace = poutine.trace(handler(prior)).get_trace()
            value = trace.log_prob_sum()
            results.append((value.detach(), torch.autograd.grad(value, p)[0]))
        torch.testing.assert_close(*results)

    def test_parameters_are_those_of_one_row(self):
        def prior():
            with pyro.plate("batch", 5):
                pyro.sample("z", dist.StudentT(torch.ones(2), 0.0, 1.0).to_event(1), obs=torch.zeros(5, 2))

        trace = poutine.trace(Unexpanded(["z"])(prior)).get_trace()
        assert trace.nodes["z"]["fn"].base_dist.df.shape == (1, 2)
        assert can_be_unexpanded(trace.nodes, ["z"]) == ["z"]

    def test_a_distribution_that_holds_more_than_its_parameters_is_left_as_it_is(self):
        class Power(dist.Normal):
            def __init__(self, loc, scale, power=1.0, validate_args=None):
                self.power = power
                super().__init__(loc, scale, validate_args=validate_args)

            def expand(self, batch_shape, _instance=None):
                return Power(self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.power)

            def log_prob(self, value):
                return self.power * super().log_prob(value)

        class Named(dist.Normal):
            def __init__(self, *, width):
                super().__init__(torch.zeros_like(width), width, validate_args=False)

            def expand(self, batch_shape, _instance=None):
                return Named(width=self.scale.expand(batch_shape))

        for fn in (Power(torch.zeros(2), 1.0, 2.0), Named(width=torch.ones(2))):
            with pyro.plate("batch", 5), poutine.trace() as handler:
                pyro.sample("z", fn.to_event(1), obs=torch.zeros(5, 2))
            assert can_be_unexpanded(handler.trace.nodes, ["z"]) == []


def test_a_parameter_that_underflows_turns_the_sampler_back(monkeypatch):
    monkeypatch.setattr("pyro_ldm.posterior.coordinates.MOST", 0)  # from far off, and down a steep slope
    # Distributions made outside the program check their values even where validation is off.
    width = dist.LogNormal(torch.zeros(1), 1.0, validate_args=True).to_event(1)

    def prior(x):
        scale = pyro.sample("scale", width)
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Normal(0.0, scale).to_event(1))

    tree = quiet(prior, 1e-2 * torch.randn(2000, 1), warmup_steps=100, num_samples=50)
    assert draws(tree)["scale"].mean() == pytest.approx(1e-2, rel=0.1)
