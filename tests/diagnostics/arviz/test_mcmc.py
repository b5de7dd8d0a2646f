import math
import warnings

import pyro
import pytest
import torch
from pyro import distributions as dist
from pyro import poutine
from pyro.infer import MCMC, NUTS
from pyro.infer.mcmc import StreamingMCMC
from pyro.infer.reparam import LocScaleReparam

import pyro_ldm as ldm
from pyro_ldm.diagnostics.arviz import draws, from_mcmc, group, has_group, rhat, summary


def run(program, *batch, num_samples=10, num_chains=1, kernel=None):
    with warnings.catch_warnings():
        warnings.filterwarnings("ignore", "num_chains=.* is more than available_cpu")
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr("pyro.infer.mcmc.api.mp.cpu_count", lambda: 1)  # chains one after the other, in this process
            mcmc = MCMC(
                kernel or NUTS(program),
                num_samples=num_samples,
                warmup_steps=num_samples,
                num_chains=num_chains,
                disable_progbar=True,
            )
            mcmc.run(*batch)
    return mcmc


def laplace(size=(2,)):
    return ldm.priors.Laplace(2, scale=dist.LogNormal(torch.zeros(size), 1.0).to_event(len(size)))


def test_posterior_of_several_chains():
    # The scale of n Laplace latents of mean absolute value m has a posterior near m, of deviation m / sqrt(n).
    z = 2.0 * dist.Laplace(0.0, 1.0).sample((200, 2))
    mcmc = run(pyro.condition(laplace(), {"z": z}), z, num_samples=100, num_chains=2)
    tree = from_mcmc(mcmc, attrs={"seed": 0})
    table = summary(tree)
    m = z.abs().mean(0)
    assert table["mean"].values == pytest.approx(m.numpy(), rel=0.05)
    assert table["sd"].values == pytest.approx((m / math.sqrt(200)).numpy(), rel=0.3)
    assert (rhat(tree)["scale"] < 1.1).all()
    assert (tree.attrs["inference"], tree.attrs["seed"]) == ("NUTS", 0)
    posterior = group(tree, "posterior")["scale"]
    assert posterior.dims == ("chain", "draw", "scale_dim_0")
    assert torch.equal(torch.as_tensor(posterior.values), mcmc.get_samples(group_by_chain=True)["scale"])
    assert group(tree, "sample_stats")["diverging"].shape == (2, 100)
    assert torch.equal(torch.as_tensor(group(tree, "observed_data")["z"].values), z)
    assert group(tree, "observed_data")["z"].dims == ("batch", "z_dim")


def test_divergences_stand_where_they_happened():
    z = torch.randn(20, 2)
    mcmc = run(pyro.condition(laplace(), {"z": z}), z, num_chains=2)
    mcmc._diagnostics[1]["divergences"] = [3, 9]
    diverging = group(from_mcmc(mcmc), "sample_stats")["diverging"].values
    assert [list(at) for at in zip(*diverging.nonzero(), strict=True)] == [[1, 3], [1, 9]]


def test_dims_are_named_after_plates():
    def prior(z):
        with pyro.plate("source", 2, dim=-2):
            with pyro.plate("site", 3, dim=-1):
                loc = pyro.sample("loc", dist.Normal(torch.zeros(4), 1.0).to_event(1))
        weight = pyro.sample("weight", dist.Normal(0.0, 1.0))
        with pyro.plate("batch", len(z)):
            pyro.sample("z", dist.Normal(loc.sum() + weight, 1.0).expand([len(z), 2]).to_event(1))

    z = torch.randn(5, 2)
    mcmc = run(pyro.condition(prior, {"z": z}), z, num_samples=2)
    posterior = group(from_mcmc(mcmc), "posterior")
    assert posterior["loc"].dims == ("chain", "draw", "source", "site", "loc_dim_2")
    assert posterior["weight"].dims == ("chain", "draw")
    renamed = from_mcmc(mcmc, dims={"loc": ["a", "b", "c"]}, coords={"a": ["x", "y"]})
    assert group(renamed, "posterior")["loc"].sel(a="y").dims == ("chain", "draw", "b", "c")


@pytest.mark.parametrize("plate", ["chain", "draw", "loc"])
def test_a_plate_whose_name_collides(plate):
    def prior(z):
        with pyro.plate(plate, 2):
            loc = pyro.sample("loc" if plate != "loc" else "mu", dist.Normal(0.0, 1.0))
        if plate == "loc":
            pyro.deterministic("unused", loc)
        with pyro.plate("batch", len(z)):
            pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

    z = torch.randn(5, 2)
    mcmc = run(pyro.condition(prior, {"z": z}), z, num_samples=2)
    if plate == "loc":
        with pytest.raises(ValueError, match="a variable and a dim called 'loc': rename the dim"):
            from_mcmc(mcmc, posterior={"loc": torch.zeros(1, 2)})
    else:
        with pytest.raises(ValueError, match=f"called '{plate}', which ArviZ keeps for the samples: rename the plate"):
            from_mcmc(mcmc)


def test_what_a_reparameterisation_computes_is_no_data():
    def prior(z):
        loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
        with pyro.plate("batch", len(z)):
            pyro.sample("z", dist.Normal(pyro.deterministic("twice", 2 * loc), 1.0).expand([len(z), 2]).to_event(1))

    z = torch.randn(5, 2)
    model = poutine.reparam(pyro.condition(prior, {"z": z}), config={"loc": LocScaleReparam(0.0)})
    tree = from_mcmc(run(model, z, num_samples=2))
    assert set(draws(tree)) == {"loc_decentered"}
    assert set(group(tree, "observed_data").data_vars) == {"z"}


def test_one_draw():
    z = torch.randn(20, 2)
    tree = from_mcmc(run(pyro.condition(laplace(()), {"z": z}), z, num_samples=1))
    assert draws(tree)["scale"].shape == (1,)
    with pytest.raises(ValueError, match="1 draws per chain"):
        summary(tree)


def test_groups_of_the_caller_are_added():
    z = torch.randn(20, 2)
    mcmc = run(pyro.condition(laplace(()), {"z": z}), z)
    tree = from_mcmc(
        mcmc,
        sample_stats={"step_size": torch.full((1, 10), 0.5)},
        log_likelihood={"z": torch.zeros(1, 10, 20)},
        posterior={"log_scale": mcmc.get_samples(group_by_chain=True)["scale"].log()},
    )
    assert set(group(tree, "sample_stats").data_vars) == {"diverging", "step_size"}
    assert set(draws(tree)) == {"scale", "log_scale"}
    assert group(tree, "log_likelihood")["z"].dims == ("chain", "draw", "batch")


def test_a_kernel_on_a_potential_has_no_model():
    kernel = NUTS(potential_fn=lambda z: z["mu"] ** 2 / 2)
    mcmc = MCMC(kernel, num_samples=5, warmup_steps=5, initial_params={"mu": torch.zeros(())}, disable_progbar=True)
    mcmc.run()
    tree = from_mcmc(mcmc)
    assert draws(tree)["mu"].shape == (5,) and not has_group(tree, "observed_data")


def test_what_has_no_draws():
    model = pyro.condition(laplace(), {"z": torch.randn(20, 2)})
    with pytest.raises(ValueError, match=r"there are no draws: call mcmc.run\(\*batch\) first"):
        from_mcmc(MCMC(NUTS(model), num_samples=5))
    streaming = StreamingMCMC(NUTS(model), num_samples=5, warmup_steps=5, disable_progbar=True)
    streaming.run(torch.randn(20, 2))
    with pytest.raises(ValueError, match="rather than StreamingMCMC, which keeps none"):
        from_mcmc(streaming)


def test_the_export_leaves_no_trace():
    prior = laplace()
    prior.offset = pyro.nn.PyroParam(torch.zeros(()))
    z = torch.randn(20, 2)
    mcmc = run(pyro.condition(prior, {"z": z}), z)
    pyro.clear_param_store()
    state = torch.get_rng_state()
    prior.train()
    from_mcmc(mcmc)
    assert torch.equal(torch.get_rng_state(), state)
    assert not list(pyro.get_param_store()) and prior.training
