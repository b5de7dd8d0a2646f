"""The Kalman prior: its hyperparameters, its program, and what it learns."""

import copy

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, Predictive
from pyro.infer.autoguide import AutoNormal
from safetensors.torch import load_file, save_file
from torch import nn

import pyro_ldm as ldm
from pyro_ldm.priors import Kalman

TURN = 0.95 * torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)
FIXED = {"transition_matrix": TURN, "transition_noise": 0.2, "observation_noise": 0.3, "initial_scale": 1.0}


def log_prob(prior, *batch, **sites):
    trace = poutine.trace(poutine.condition(prior, sites)).get_trace(*batch)
    trace.compute_log_prob()
    return trace.nodes["z"]["log_prob"]


def test_is_the_state_space_written_out():
    prior, z = Kalman(2, **FIXED), torch.randn(5, 7, 2)
    hmm = dist.GaussianHMM(
        dist.Normal(torch.zeros(2), 1.0).to_event(1),
        TURN,
        dist.Normal(torch.zeros(2), 0.2).to_event(1),
        torch.eye(2),
        dist.Normal(torch.zeros(2), 0.3).to_event(1),
        duration=7,
    )
    torch.testing.assert_close(log_prob(prior, z, z=z), hmm.log_prob(z))
    assert not list(prior.parameters())


def test_is_learned_by_default_and_generates():
    prior = Kalman(2, state_dim=3, num_steps=6)
    names = {name.removesuffix("_unconstrained") for name, _ in prior.named_parameters()}
    expected = {"transition_matrix", "observation_matrix", "transition_noise", "observation_noise", "initial_scale"}
    assert names == expected
    assert prior(range(4)).shape == (4, 6, 2)
    assert Predictive(prior, num_samples=3)(range(4))["z"].shape == (3, 4, 6, 2)
    pyro.clear_param_store()  # programs called on their own share Pyro's store
    assert Kalman(2)(torch.empty(4, 9, 1, 8, 8)).shape == (4, 9, 2)


def test_missing_steps_and_actions_come_with_the_batch():
    push = nn.Linear(1, 2)
    prior, x, actions = Kalman(2, inputs=push, **FIXED), torch.empty(5, 6, 1), torch.randn(5, 6, 1)
    there = torch.rand(5, 6) < 0.7
    assert prior.distribution(x, actions, there).observed is not None
    z = prior(x, actions)
    torch.testing.assert_close(log_prob(prior, x, there, actions, z=z), log_prob(prior, x, actions, there, z=z))
    state, means = torch.zeros(5, 2), []
    for t in range(6):
        state = state @ TURN + push(actions[:, t])
        means.append(state)
    torch.testing.assert_close(prior.distribution(x, actions).mean, torch.stack(means, 1))
    quiet = prior.distribution(x, torch.zeros(5, 6, 1)).log_prob(z)
    torch.testing.assert_close(quiet, Kalman(2, drift=push.bias.detach(), **FIXED).distribution(x).log_prob(z))
    with pytest.raises(ValueError, match="pass inputs="):
        Kalman(2, **FIXED)(x, actions)
    with pytest.raises(ValueError, match="zeros where none act"):
        prior(x)


def test_modules_fit_or_say_what_is_wanted():
    x, actions = torch.empty(5, 6, 1), torch.randn(5, 6, 1)
    with pytest.raises(ValueError, match=r"module of inputs gives shape \(5, 6, 3\) .* \(N, 6, 2\) is wanted"):
        Kalman(2, inputs=nn.Linear(1, 3), **FIXED)(x, actions)
    prior = Kalman(2, num_steps=3, **FIXED | {"transition_noise": nn.Softplus()})
    with pytest.raises(ValueError, match=r"transition_noise is a module of x, which range\(0, 4\) has not"):
        prior(range(4))


def test_noise_of_autocast_is_not_of_half_precision():
    spread = nn.Sequential(nn.Linear(1, 2), nn.Softplus())
    prior, x = Kalman(2, **FIXED | {"observation_noise": spread}).float(), torch.randn(4, 5, 1).float()
    with torch.autocast("cpu", dtype=torch.bfloat16):
        z = prior(x)
        ssm = prior.distribution(x)
    assert z.dtype == ssm.observation_dist.variance.dtype == torch.float32


def test_every_prior_can_be_saved_and_copied(tmp_path):
    prior = Kalman(2, state_dim=3, num_steps=4, observation_noise=nn.Sequential(nn.Linear(1, 2), nn.Softplus()))
    save_file(prior.state_dict(), tmp_path / "prior.safetensors")
    other = Kalman(2, state_dim=3, num_steps=4, observation_noise=nn.Sequential(nn.Linear(1, 2), nn.Softplus()))
    other.load_state_dict(load_file(tmp_path / "prior.safetensors"))
    x, z = torch.randn(3, 4, 1), torch.randn(3, 4, 2)
    for same in (other, copy.deepcopy(prior)):
        torch.testing.assert_close(same.distribution(x).log_prob(z), prior.distribution(x).log_prob(z))


def test_noise_may_depend_on_the_frame():
    class Spread(nn.Module):
        def forward(self, x):
            return x.flatten(2).std(-1, keepdim=True)

    x, z = torch.randn(4, 5, 3, 3), torch.randn(4, 5, 2)
    prior = Kalman(2, **FIXED | {"observation_noise": Spread()})
    scale = x.flatten(2).std(-1, keepdim=True).expand(4, 5, 2)
    for n in range(4):
        alone = ldm.distributions.LinearGaussianSSM(
            dist.Normal(torch.zeros(2), 1.0).to_event(1),
            TURN,
            dist.Normal(torch.zeros(2), 0.2).to_event(1),
            torch.eye(2),
            dist.Normal(torch.zeros(2), scale[n]).to_event(1),
        )
        torch.testing.assert_close(log_prob(prior, x, z=z)[n], alone.log_prob(z[n]))
    with pytest.raises(ValueError, match=r"observation_noise gives shape \(4, 5\)"):
        Kalman(2, **FIXED | {"observation_noise": nn.Flatten(1)})(torch.empty(4, 5))


@pytest.mark.parametrize("name", ["transition_noise", "observation_noise", "initial_scale", "drift"])
@pytest.mark.parametrize("shape", [(), (2,)])
def test_bayesian_hyperparameters_broadcast_under_vectorised_particles(name, shape):
    hyper = dist.LogNormal(torch.zeros(shape), 0.3).to_event(len(shape))
    prior, x = Kalman(2, **FIXED | {name: hyper}), torch.empty(4, 5)
    trace = poutine.trace(pyro.plate("particles", 3, dim=-2)(prior)).get_trace(x)
    trace.compute_log_prob()
    z, value = trace.nodes["z"], trace.nodes[name]["value"]
    assert z["value"].shape == (3, 4, 5, 2)
    given = {name: value[1].reshape(shape)}
    torch.testing.assert_close(z["log_prob"][1], log_prob(Kalman(2, **FIXED | given), x, z=z["value"][1]))


def test_a_bayesian_transition_matrix_has_a_posterior():
    z = Kalman(2, num_steps=60, **FIXED)(range(20))
    prior = Kalman(2, **FIXED | {"transition_matrix": dist.Normal(torch.zeros(2, 2), 1.0).to_event(2)})
    kernel = NUTS(pyro.condition(prior, {"z": z}), jit_compile=False)
    mcmc = MCMC(kernel, num_samples=40, warmup_steps=40, disable_progbar=True)
    mcmc.run(z)
    draws = mcmc.get_samples()["transition_matrix"]
    assert ((draws.mean(0) - TURN).abs() < 5 * draws.std(0)).all() and draws.std(0).max() < 0.05


def test_learns_the_dynamics_of_a_rotated_world_with_any_estimator():
    # A linear-Gaussian world: R2 of the filter's own state is what the true model's filter reaches.
    world = Kalman(2, num_steps=20, **FIXED)
    z, zt = world(range(400)), world(range(100))
    mixing = torch.linalg.qr(torch.randn(6, 6)).Q[:2]
    for entropy in (ldm.entropy.Pooled(ldm.entropy.LogDet()), ldm.entropy.Separate(ldm.entropy.KNN())):
        torch.manual_seed(0)
        prior, encoder = Kalman(2), nn.Linear(6, 2)
        ldm.fit(
            prior,
            ldm.guides.Deterministic(encoder, entropy),
            z @ mixing,
            epochs=25,
            batch_size=100,
            lr=0.03,
            progress=False,
        )
        with torch.no_grad():
            found = prior.distribution(zt).filter(encoder(zt @ mixing)).mean
        best = world.distribution(zt).filter(zt).mean
        assert ldm.diagnostics.affine_r2(found, best) > 0.98
        radius = torch.linalg.eigvals(prior.transition_matrix).abs()
        assert ((radius - 0.95).abs() < 0.03).all()


def test_objective_with_global_sites():
    prior = Kalman(2, **FIXED | {"observation_noise": dist.LogNormal(-1.0, 0.5)})
    local = ldm.guides.Deterministic(nn.Linear(3, 2), ldm.entropy.Pooled(ldm.entropy.LogDet()))
    guide = ldm.guides.Compose(AutoNormal(poutine.block(prior, hide=["z"])), local)
    terms = ldm.Objective(prior, guide, size=100).terms(torch.randn(50, 8, 3))
    assert terms.divergence == "KL - I" and terms.global_kl > 0


def test_bad_input():
    with pytest.raises(ValueError, match="state_dim"):
        Kalman(2, state_dim=0)
    with pytest.raises(ValueError, match="transition_noise must satisfy"):
        Kalman(2, transition_noise=-1.0)
    with pytest.raises(ValueError, match=r"transition_matrix must be .* shape \(2, 2\)"):
        Kalman(2, transition_matrix=torch.eye(3))
    with pytest.raises(ValueError, match="num_steps="):
        Kalman(2)(range(4))


def test_the_state_space_at_a_draw_of_bayesian_parameters():
    prior = ldm.priors.Kalman(1, num_steps=5, observation_noise=dist.LogNormal(torch.zeros(1), 1.0).to_event(1))
    z, given = torch.randn(3, 5, 1), {"observation_noise": torch.tensor([0.7])}
    found = pyro.condition(prior.distribution, given)(z)
    fixed = ldm.priors.Kalman(1, num_steps=5, observation_noise=0.7).distribution(z)
    assert torch.allclose(found.log_prob(z), fixed.log_prob(z))
    trace = pyro.poutine.trace(prior.distribution).get_trace(z)
    assert "observation_noise" in trace.nodes and not torch.equal(prior.distribution(z).log_prob(z), fixed.log_prob(z))
