import math

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer import SVI, Trace_ELBO
from pyro.infer.autoguide import AutoDelta, AutoDiagonalNormal, AutoGuideList, AutoMultivariateNormal, AutoNormal
from scipy import stats

import pyro_ldm as ldm
from pyro_ldm.diagnostics.arviz import draws, from_svi, group, has_group, rhat, summary

N = 50


def gaussian(z):
    """A prior whose posterior is known."""
    mu = pyro.sample("mu", dist.Normal(0.0, 2.0))
    with pyro.plate("batch", len(z)):
        pyro.sample("z", dist.Normal(mu, 1.0).expand([1]).to_event(1))


def exact_posterior(z):
    precision = 0.25 + len(z)
    return dist.Normal(z.sum() / precision, precision**-0.5)


def log_evidence(z):
    covariance = torch.eye(len(z)) + 4.0
    return stats.multivariate_normal(torch.zeros(len(z)).numpy(), covariance.numpy()).logpdf(z[:, 0].numpy())


def test_of_the_exact_posterior_every_weight_is_the_evidence():
    z = 0.7 + torch.randn(N, 1)

    def guide(z):
        pyro.sample("mu", exact_posterior(z))

    tree = from_svi(guide, model=pyro.condition(gaussian, {"z": z}), model_args=(z,), num_samples=50, seed=1)
    weights = group(tree, "sample_stats")["log_weight"]
    assert weights.dims == ("chain", "draw") and weights.shape == (1, 50)
    assert weights.values == pytest.approx(log_evidence(z), abs=1e-9)
    assert tree.attrs["k_hat"] == -math.inf
    assert (tree.attrs["inference"], tree.attrs["seed"]) == ("SVI: guide", 1)
    mu = draws(tree)["mu"]
    lp = dist.Normal(0.0, 2.0).log_prob(mu) + dist.Normal(mu, 1.0).log_prob(z).sum(0)
    assert group(tree, "sample_stats")["lp"].values[0] == pytest.approx(lp.numpy(), abs=1e-9)


@pytest.mark.parametrize(("width", "low", "high"), [(1.2, -3.0, 0.0), (0.5, 0.55, 0.95)])
def test_k_hat_tells_a_guide_that_is_too_narrow(width, low, high):
    # The weights of N(0, s^2) for N(0, 1) have a tail of shape 1 - s^2 where s < 1, and are bounded where s > 1.
    z = torch.randn(N, 1)

    def guide(z):
        exact = exact_posterior(z)
        pyro.sample("mu", dist.Normal(exact.loc, width * exact.scale))

    tree = from_svi(guide, model=pyro.condition(gaussian, {"z": z}), model_args=(z,), num_samples=2000)
    assert low < tree.attrs["k_hat"] < high
    assert group(tree, "posterior").attrs["k_hat"] == summary(tree).attrs["k_hat"] == tree.attrs["k_hat"]


def ready(guide, *batch):
    """An AutoGuide with the parameters that it is initialised with."""
    guide(*batch)
    return guide


def scale_prior(size=(2,)):
    return ldm.priors.Laplace(2, scale=dist.LogNormal(torch.zeros(size), 1.0).to_event(len(size)))


@pytest.mark.parametrize("autoguide", [AutoNormal, AutoDiagonalNormal, AutoMultivariateNormal])
def test_density_of_an_autoguide_is_of_the_parameter_itself(autoguide):
    # The guide is log-normal: its density has the Jacobian of exp.
    z = torch.randn(N, 2)
    prior = scale_prior()
    guide = ready(autoguide(poutine.block(prior, hide=["z"]), init_scale=0.3), z)
    tree = from_svi(guide, model=pyro.condition(prior, {"z": z}), model_args=(z,), num_samples=20)
    scale = draws(tree)["scale"]
    stats_ = group(tree, "sample_stats")
    loc = guide.median(z)["scale"].log()  # as it was initialised
    log_q = dist.LogNormal(loc, 0.3).log_prob(scale).sum(-1)
    lp = dist.LogNormal(0.0, 1.0).log_prob(scale).sum(-1) + dist.Laplace(0.0, scale[:, None]).log_prob(z).sum((1, 2))
    assert stats_["lp"].values[0] == pytest.approx(lp.detach().numpy(), abs=1e-9)
    assert stats_["log_weight"].values[0] == pytest.approx((lp - log_q).detach().numpy(), abs=1e-9)
    assert tree.attrs["inference"] == f"SVI: {autoguide.__name__}"
    assert group(tree, "posterior")["scale"].dims == ("chain", "draw", "scale_dim_0")


def fitted(local_parameters, z):
    """A guide trained in either of Pyro's settings."""
    prior = scale_prior()
    model = pyro.condition(prior, {"z": z})
    guide = AutoNormal(poutine.block(prior, hide=["z"]))
    if local_parameters:
        loss = ldm.Objective(model, guide, size=len(z))
        loss(z)
        optimiser = torch.optim.Adam(loss.parameters(), lr=0.05)
        for _ in range(150):
            optimiser.zero_grad()
            loss(z).backward()
            optimiser.step()
    else:
        svi = SVI(model, guide, pyro.optim.Adam({"lr": 0.05}), Trace_ELBO())
        for _ in range(150):
            svi.step(z)
    return guide, model


@pytest.mark.parametrize("local_parameters", [True, False])
def test_a_trained_guide_is_read_in_either_setting(local_parameters):
    z = torch.tensor([0.5, 3.0]) * dist.Laplace(torch.zeros(2), 1.0).sample((400,))
    guide, model = fitted(local_parameters, z)
    store = set(pyro.get_param_store())
    tree = from_svi(guide, model=model, model_args=(z,), num_samples=300)
    assert draws(tree)["scale"].mean(0).numpy() == pytest.approx(z.abs().mean(0).numpy(), rel=0.1)
    assert tree.attrs["k_hat"] < 0.7
    assert set(pyro.get_param_store()) == store == (set() if local_parameters else store)


def test_a_composed_guide_gives_its_parameters_only():
    calls = []

    class Encoder(torch.nn.Linear):
        def forward(self, x):
            calls.append(len(x))
            return super().forward(x)

    x = torch.randn(N, 4)
    prior = scale_prior()
    encoder = ldm.guides.Deterministic(Encoder(4, 2), ldm.entropy.LogDet())
    guide = ready(ldm.guides.Compose(AutoNormal(poutine.block(prior, hide=["z"])), encoder), x)
    calls.clear()
    tree = from_svi(guide, model_args=(x,), num_samples=30)
    assert set(draws(tree)) == {"scale"} and draws(tree)["scale"].shape == (30, 2)
    assert calls == [N]  # the encoder does not run for every draw
    assert tree.attrs["inference"] == "SVI: AutoNormal"
    assert not has_group(tree, "sample_stats") and "k_hat" not in tree.attrs


def test_what_a_guide_draws_for_each_datum_has_no_part_in_the_weights():
    z = torch.randn(N, 1)

    def guide(z):
        pyro.sample("mu", exact_posterior(z))
        with pyro.plate("batch", len(z)):
            pyro.sample("z", dist.Normal(0.0, 1.0).expand([1]).to_event(1))

    tree = from_svi(guide, model=pyro.condition(gaussian, {"z": z}), model_args=(z,), num_samples=10)
    assert set(draws(tree)) == {"mu"}
    assert draws(tree, "sample_stats")["log_weight"].numpy() == pytest.approx(log_evidence(z))


def test_a_list_of_autoguides():
    prior = ldm.priors.StudentT(2, df=dist.LogNormal(1.0, 0.1), scale=dist.LogNormal(0.0, 1.0))
    z = torch.randn(N, 2)
    guide = AutoGuideList(poutine.block(prior, hide=["z"]))
    guide.append(AutoNormal(poutine.block(prior, expose=["scale"])))
    guide.append(AutoNormal(poutine.block(prior, expose=["df"])))
    guide(z)
    tree = from_svi(guide, model=pyro.condition(prior, {"z": z}), model_args=(z,), num_samples=30)
    assert set(draws(tree)) == {"scale", "df"}


def test_discrete_latents_are_summed_out():
    z = torch.randn(N, 2)
    prior = ldm.priors.GaussianMixture(2, 3, loc=dist.Normal(torch.zeros(3, 2), 2.0).to_event(2), enumerate=True)
    guide = ready(AutoNormal(poutine.block(prior, expose=["loc"])), z)
    tree = from_svi(guide, model=pyro.condition(prior, {"z": z}), model_args=(z,), num_samples=30)
    loc = draws(tree)["loc"]
    components = dist.Normal(loc[:, None], 1.0).log_prob(z[:, None]).sum(-1) - math.log(3)  # (S, N, K)
    lp = dist.Normal(0.0, 2.0).log_prob(loc).sum((1, 2)) + components.logsumexp(-1).sum(-1)
    assert group(tree, "sample_stats")["lp"].values[0] == pytest.approx(lp.numpy(), abs=1e-9)


def test_the_seed_decides_and_the_random_state_stays():
    z = torch.randn(N, 2)
    guide = ready(AutoNormal(poutine.block(scale_prior(), hide=["z"])), z)
    pyro.clear_param_store()
    state = torch.get_rng_state()
    first, same, other = (draws(from_svi(guide, model_args=(z,), num_samples=5, seed=s))["scale"] for s in (1, 1, 2))
    assert torch.equal(first, same) and not torch.equal(first, other)
    assert torch.equal(torch.get_rng_state(), state)
    assert not list(pyro.get_param_store())


def test_one_draw_has_a_weight_and_no_k_hat():
    z = torch.randn(N, 2)
    prior = scale_prior()
    guide = ready(AutoNormal(poutine.block(prior, hide=["z"])), z)
    tree = from_svi(guide, model=pyro.condition(prior, {"z": z}), model_args=(z,), num_samples=1)
    assert group(tree, "sample_stats")["log_weight"].shape == (1, 1) and "k_hat" not in tree.attrs


def test_there_is_no_r_hat():
    z = torch.randn(N, 2)
    guide = ready(AutoNormal(poutine.block(scale_prior(), hide=["z"])), z)
    with pytest.raises(ValueError, match="however wrong they are: look at the k-hat"):
        rhat(from_svi(guide, model_args=(z,), num_samples=30))


def test_what_cannot_be_drawn_is_refused_with_the_remedy():
    z = torch.randn(N, 2)
    prior = scale_prior()
    auto = AutoNormal(poutine.block(prior, hide=["z"]))
    with pytest.raises(ValueError, match="AutoNormal has not been trained, and has no parameters yet: train the guide"):
        from_svi(auto, model_args=(z,))
    auto(z)
    with pytest.raises(ValueError, match='all in plate "batch": compose it with an AutoGuide'):
        from_svi(ldm.guides.Deterministic(torch.nn.Linear(2, 2), ldm.entropy.LogDet()), model_args=(z,))
    with pytest.raises(ValueError, match="a point rather than a posterior: train an AutoNormal"):
        from_svi(ready(AutoDelta(poutine.block(prior, hide=["z"])), z), model_args=(z,), num_samples=5)
    with pytest.raises(ValueError, match=r"leaves \['z'\] of the model open.*pyro.condition"):
        from_svi(auto, model=prior, model_args=(z,), num_samples=5)
    with pytest.raises(ValueError, match=r"draws \['scale'\] that the model lacks"):
        from_svi(auto, model=pyro.condition(ldm.priors.Laplace(2), {"z": z}), model_args=(z,), num_samples=5)
    with pytest.raises(ValueError, match="num_samples is a number of draws, got 0"):
        from_svi(auto, model_args=(z,), num_samples=0)
