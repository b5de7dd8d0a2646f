import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer.autoguide import AutoLowRankMultivariateNormal, AutoMultivariateNormal

import pyro_ldm as ldm
from pyro_ldm.diagnostics.arviz import draws, group
from pyro_ldm.posterior.svi import svi

QUICK = {"num_steps": 200, "num_samples": 20, "progress": False}  # too few draws for k-hat


def location(x):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.Normal(loc.unsqueeze(-1), 1.0).to_event(1))


@pytest.mark.parametrize("batch_size", [None, 50])
def test_is_the_exact_posterior_of_a_gaussians_mean(batch_size):
    """Minibatches, too: were they not scaled to all data, the posterior would be twice as wide."""
    z = 0.5 + torch.randn(200, 1)
    tree = svi(location, z, batch_size=batch_size, num_steps=800, num_samples=1000, progress=False)
    loc, sd = draws(tree)["loc"], 201**-0.5
    assert abs(loc.mean() - z.sum() / 201) < 0.25 * sd and abs(loc.std() / sd - 1) < 0.15
    assert tree.attrs["k_hat"] < 0.5


def test_elbo_is_the_evidence_where_the_guide_is_exact():
    z = 0.5 + torch.randn(20, 1)
    tree = svi(location, z, num_steps=800, num_samples=100, progress=False)
    covariance = torch.eye(20) + 1
    evidence = torch.distributions.MultivariateNormal(torch.zeros(20), covariance).log_prob(z[:, 0])
    assert abs(tree.attrs["elbo"] - evidence) < 0.05


def test_a_tree_has_what_was_done():
    def prior(x):
        with pyro.plate("dims", 2):
            scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Laplace(torch.zeros(2), scale).to_event(1))

    z = torch.randn(30, 2)
    tree = svi(prior, z, seed=3, coords={"dims": ["a", "b"]}, **QUICK)
    assert group(tree, "posterior")["scale"].dims == ("chain", "draw", "dims")
    assert group(tree, "posterior")["scale"].sel(dims="b").shape == (1, 20)
    assert set(group(tree, "sample_stats").data_vars) == {"lp", "log_weight"}
    torch.testing.assert_close(torch.from_numpy(group(tree, "observed_data")["z"].values), z)
    assert tree.attrs["inference"] == "SVI: AutoNormal" and tree.attrs["seed"] == 3
    assert tree.attrs["num_steps"] == 200 and tree.attrs["batch_size"] == 30


def test_any_autoguide_will_do():
    prior = ldm.priors.StudentT(2, df=dist.Gamma(2.0, 0.1), scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
    z = torch.randn(100, 2)
    guides = (AutoMultivariateNormal, lambda model: AutoLowRankMultivariateNormal(model, rank=1))
    for guide, name in zip(guides, ("AutoMultivariateNormal", "AutoLowRankMultivariateNormal"), strict=True):
        tree = svi(prior, z, autoguide=guide, **QUICK)
        assert tree.attrs["inference"] == f"SVI: {name}"
        assert draws(tree)["scale"].shape == (20, 2) and draws(tree)["df"].shape == (20,)


def test_a_mixtures_component_is_summed_out():
    z, elbos = torch.randn(30, 2), []
    for enumerate in (True, False):
        prior = ldm.priors.GaussianMixture(
            2, 3, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1), enumerate=enumerate
        )
        tree = svi(prior, z, **QUICK)
        assert list(draws(tree)) == ["scale"]
        elbos.append(tree.attrs["elbo"])
    assert math.isclose(*elbos, rel_tol=1e-9)


def test_views_of_which_the_first_is_flat_in_single_precision():
    torch.set_default_dtype(torch.float32)
    prior = ldm.priors.GaussianViews(2, scale=None, noise=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
    z = torch.randn(500, 2)
    tree = svi(
        prior, {"z": z, "z_prime": z + 0.1 * torch.randn(500, 2)}, num_steps=500, num_samples=100, progress=False
    )
    assert draws(tree)["noise"].dtype == torch.float64
    assert abs(draws(tree)["noise"].mean() - 0.1) < 0.01


def test_series_in_minibatches_with_their_masks():
    prior = ldm.priors.Kalman(1, observation_noise=dist.LogNormal(torch.zeros(1), 0.5).to_event(1))
    z, mask = torch.randn(20, 5, 1), torch.arange(5) < torch.randint(2, 6, (20, 1))
    tree = svi(prior, z, batch=(torch.zeros(20, 5, 3), mask), batch_size=10, **QUICK)
    assert draws(tree)["observation_noise"].shape == (20, 1)


def test_a_seed_gives_the_same_and_nothing_is_left_behind():
    z = torch.randn(30, 1)
    random = torch.random.get_rng_state()
    first, same, other = (draws(svi(location, z, seed=seed, **QUICK))["loc"] for seed in (0, 0, 1))
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(torch.random.get_rng_state(), random) and not list(pyro.get_param_store().keys())


def test_a_guide_that_is_far_off_is_said_to_be():
    with pytest.warns(UserWarning, match=r"far from the posterior: k-hat .* use nuts"):
        svi(location, 3 + torch.randn(200, 1), num_steps=5, progress=False)


def test_progress_is_shown_on_stderr_or_not(capsys):
    svi(location, torch.randn(30, 1), **(QUICK | {"progress": True}))
    assert "SVI: 100%" in capsys.readouterr().err
    svi(location, torch.randn(30, 1), **QUICK)
    assert not capsys.readouterr().err


@pytest.mark.parametrize(
    ("settings", "message"),
    [
        ({"num_steps": 0}, "num_steps must be at least 1"),
        ({"lr": 0.0}, "lr positive"),
        ({"batch_size": 31}, "between 1 and the 30 latents, got 31"),
    ],
)
def test_bad_settings_are_refused(settings, message):
    with pytest.raises(ValueError, match=message):
        svi(location, torch.randn(30, 1), **settings)


def test_nothing_to_infer_is_said():
    with pytest.raises(ValueError, match="nothing to infer"):
        svi(ldm.priors.Laplace(2), torch.randn(9, 2))


def test_a_loss_that_is_not_finite_is_refused():
    def prior(x):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Uniform(torch.zeros(1), loc.exp().unsqueeze(-1)).to_event(1))

    with pytest.raises(ValueError, match="the loss became nan in step 1: "):
        svi(prior, 100 + torch.rand(9, 1), **QUICK)


def test_what_is_left_out_of_the_batch_stays_so_in_minibatches():
    seen = []

    def masked(x, mask=None):
        seen.append((len(x), mask))
        location(x)

    z = torch.randn(30, 1)
    svi(masked, z, batch=(z, None), batch_size=10, **QUICK)
    assert (10, None) in seen and all(mask is None for _, mask in seen)


def test_what_the_program_computes_is_kept():
    def prior(x):
        log_scale = pyro.sample("log_scale", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        scale = pyro.deterministic("scale", log_scale.exp(), event_dim=1)
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Normal(torch.zeros(2), scale).to_event(1))

    tree = svi(prior, torch.randn(100, 2), num_steps=300, num_samples=50, progress=False)
    found = draws(tree)
    torch.testing.assert_close(found["scale"], found["log_scale"].exp())
    assert "k_hat" in tree.attrs and "log_weight" in group(tree, "sample_stats")
