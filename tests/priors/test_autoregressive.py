"""Priors of series: what they promise, and the objectives they make, written by hand."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, SVI, Predictive, Trace_ELBO
from torch import nn
from torch.nn.functional import normalize

import pyro_ldm as ldm
from pyro_ldm import priors
from pyro_ldm.encoders import CausalConv, LastSteps, Normalize, PerStep, Recurrent
from pyro_ldm.entropy import KNN, Pooled, Separate, Zero

KINDS = [(priors.Autoregressive, {}), (priors.Autoregressive, {"df": 4.0}), (priors.VonMisesFisherAutoregressive, {})]


def default(prior, dim=3, **options):
    return prior(dim, Recurrent(dim, dim, hidden=4), **options)


def log_prob(prior, *batch, **sites):
    trace = poutine.trace(poutine.condition(prior, sites)).get_trace(*batch)
    trace.compute_log_prob()
    return trace.nodes["z"]["log_prob"]


def guide_of(encoder, entropy):
    """An encoder of series, as a guide that ignores inputs."""

    class Guide(pyro.nn.PyroModule):
        def __init__(self):
            super().__init__()
            self.encoder, self.entropy = encoder, entropy

        def forward(self, x, *others):
            masks = [other for other in others if other.dtype == torch.bool]
            site = ldm.Pushforward(self.encoder(x), self.entropy, event_dim=2, mask=masks[0] if masks else None)
            with pyro.plate("batch", len(x)):
                return pyro.sample("z", site)

    return Guide()


@pytest.mark.parametrize(("kind", "options"), KINDS)
class TestEvery:
    def test_generates_and_scores_its_own_samples(self, kind, options):
        prior = default(kind, num_steps=5, **options)
        trace = poutine.trace(prior).get_trace(range(7))
        assert trace.nodes["z"]["value"].shape == (7, 5, 3) and torch.isfinite(trace.log_prob_sum())
        assert default(kind, **options)(torch.empty(7, 4)).shape == (7, 4, 3)

    def test_runs_under_predictive(self, kind, options):
        for parallel in (False, True):
            samples = Predictive(default(kind, num_steps=5, **options), num_samples=6, parallel=parallel)(range(7))
            assert samples["z"].shape == (6, 7, 5, 3)

    def test_hyperparameters_are_fixed_learned_or_bayesian(self, kind, options):
        for name, shape in default(kind, **options).shapes.items():
            value = torch.full(shape, 0.7)
            assert torch.equal(getattr(default(kind, **options | {name: 0.7}), name), torch.tensor(0.7))

            learned = default(kind, **options | {name: nn.Parameter(value)}, num_steps=5)
            (parameter,) = (p for n, p in learned.named_parameters() if "predictor" not in n)
            z = learned(range(7)).detach()  # a draw moves along with its mean
            (grad,) = torch.autograd.grad(log_prob(learned, range(7), z=z).sum(), parameter)
            assert grad.abs().min() > 0

            bayesian = default(kind, **options | {name: dist.LogNormal(0.0, 0.3)}, num_steps=5)
            trace = poutine.trace(bayesian).get_trace(range(7))
            assert trace.nodes[name]["value"].shape == () and not trace.nodes[name]["cond_indep_stack"]

    @pytest.mark.parametrize("vector", [False, True])
    def test_bayesian_hyperparameters_broadcast_under_vectorised_particles(self, kind, options, vector):
        for name, full in default(kind, **options).shapes.items():
            shape = full if vector else ()
            hyper = dist.LogNormal(torch.zeros(shape), 0.3).to_event(len(shape))
            prior = default(kind, **options | {name: hyper}, num_steps=5)
            particles = pyro.plate("particles", 6, dim=-2)
            trace = poutine.trace(particles(prior)).get_trace(range(7))
            trace.compute_log_prob()
            z, value = trace.nodes["z"], trace.nodes[name]["value"]
            assert z["value"].shape == (6, 7, 5, 3)
            alone = log_prob(prior, range(7), z=z["value"][3], **{name: value[3].reshape(shape)})
            torch.testing.assert_close(alone, z["log_prob"][3])

    def test_takes_inputs_and_masks_in_any_order(self, kind, options):
        prior, plain = (kind(3, CausalConv(width, 3, hidden=4), **options) for width in (5, 3))
        x, actions, mask = torch.randn(7, 5, 9), torch.randn(7, 5, 2), torch.arange(5) < torch.tensor([[5]] * 6 + [[2]])
        z = prior(x, actions)
        assert z.shape == (7, 5, 3)
        both = log_prob(prior, x, actions, mask, z=z)
        torch.testing.assert_close(log_prob(prior, x, mask, actions, z=z), both)
        torch.testing.assert_close(both[:6], log_prob(prior, x, actions, z=z)[:6])
        torch.testing.assert_close(both[6:], log_prob(prior, x[6:, :2], actions[6:, :2], z=z[6:, :2]))
        torch.testing.assert_close(log_prob(plain, x, mask, z=z)[6:], log_prob(plain, x[6:, :2], z=z[6:, :2]))
        rows = mask.all(-1)
        torch.testing.assert_close(log_prob(plain, x, rows, z=z), log_prob(plain, x, z=z) * rows)

    def test_bad_batches_say_what_to_do(self, kind, options):
        prior, x = default(kind, **options), torch.randn(7, 5, 9)
        with pytest.raises(ValueError, match="pass num_steps= to it"):
            prior(range(7))
        with pytest.raises(ValueError, match="two tensors of inputs: a mask is boolean"):
            prior(x, x, x)

    def test_bayesian_weights_are_refused(self, kind, options):
        predictor = pyro.nn.PyroModule[nn.Linear](3, 3)
        predictor.weight = pyro.nn.PyroSample(dist.Normal(0.0, 1.0).expand((3, 3)).to_event(2))
        with pytest.raises(ValueError, match="Bayesian weights"):
            kind(3, predictor, **options)(torch.empty(7, 5))

    def test_stays_a_module_whose_predictor_learns(self, kind, options):
        prior = default(kind, **options)
        assert {name.split(".")[0] for name, _ in prior.named_parameters()} == {"predictor"}


class TestPlane:
    def test_gaussian_by_hand(self):
        predictor, z = LastSteps(2, 2, order=2), torch.randn(4, 6, 2)
        prior = priors.Autoregressive(2, predictor, noise=torch.tensor([0.3, 0.6]), scale=2.0, start=0.5)
        loc = predictor(torch.cat([torch.full((4, 1, 2), 0.5), z[:, :-1]], 1))
        width = torch.tensor([[2.0, 2.0]] + [[0.3, 0.6]] * 5)
        expected = -0.5 * ((z - loc) / width).square() - width.log() - 0.5 * math.log(2 * math.pi)
        torch.testing.assert_close(log_prob(prior, z, z=z), expected.sum((1, 2)))

    def test_student_by_hand(self):
        z = torch.randn(4, 6, 2)
        prior = priors.Autoregressive(2, nn.Identity(), noise=0.3, scale=2.0, df=3.0)
        u = (z - torch.cat([torch.zeros(4, 1, 2), z[:, :-1]], 1)) / torch.tensor([2.0] + [0.3] * 5)[:, None]
        # Three degrees of freedom: 2 / (pi sqrt 3) (1 + u^2 / 3)^-2.
        nats = 2 * torch.log1p(u.square() / 3) - math.log(2 / (math.pi * math.sqrt(3)))
        expected = -nats.sum((1, 2)) - 2 * math.log(2.0) - 10 * math.log(0.3)
        torch.testing.assert_close(log_prob(prior, z, z=z), expected)

    def test_matched_series_have_no_divergence(self):
        # Stationary and Gaussian: a joint estimate of three steps is a KL, and it is zero.
        prior = priors.Autoregressive(1, LastSteps(1, 1, hidden=[]), noise=0.6, num_steps=3)
        with torch.no_grad():
            prior.predictor.mlp[-1].weight.fill_(0.8)
            prior.predictor.mlp[-1].bias.zero_()
        z = prior(range(4000)).detach()
        terms = ldm.Objective(prior, guide_of(nn.Identity(), ldm.entropy.Joint(KNN()))).terms(z)
        assert abs(terms.kl) < 0.1 and terms.divergence == "KL"
        assert abs(terms.uniformity - (3 * 0.5 * math.log(2 * math.pi * math.e) + 2 * math.log(0.6))) < 0.1

    def test_nuts_finds_the_noise(self):
        pyro.set_rng_seed(0)
        prior = priors.Autoregressive(1, nn.Identity(), noise=dist.LogNormal(0.0, 1.0))
        z = 0.3 * torch.randn(20, 30, 1).cumsum(1)
        conditioned = pyro.condition(prior, {"z": z})
        mcmc = MCMC(NUTS(conditioned), num_samples=40, warmup_steps=40, disable_progbar=True)
        mcmc.run(z)
        assert float(mcmc.get_samples()["noise"].mean()) == pytest.approx(0.3, abs=0.03)


class TestSphere:
    def test_by_hand(self):
        z = normalize(torch.randn(4, 6, 3), dim=-1)
        prior = priors.VonMisesFisherAutoregressive(3, nn.Identity(), concentration=7.0)
        # On the ordinary sphere: kappa exp(kappa cos) / (4 pi sinh kappa); the first step is uniform.
        cosine = (z[:, 1:] * z[:, :-1]).sum(-1)
        nats = 7 * cosine + math.log(7 / (4 * math.pi * math.sinh(7)))
        torch.testing.assert_close(log_prob(prior, z, z=z), nats.sum(1) - math.log(4 * math.pi))

    def test_is_known_to_be_on_the_sphere(self):
        prior = default(priors.VonMisesFisherAutoregressive)
        encoder = nn.Sequential(nn.Linear(4, 3), Normalize())
        estimator = ldm.entropy.KDE(ldm.entropy.VonMisesFisherKernel(10.0))
        terms = ldm.Objective(prior, guide_of(encoder, Pooled(estimator))).terms(torch.randn(20, 5, 4))
        assert terms.divergence == "KL - I"
        with pytest.raises(ValueError, match="Normalize"):
            ldm.Objective(prior, guide_of(nn.Linear(4, 3), Pooled(KNN())))(torch.randn(20, 5, 4))

    def test_latent_dim(self):
        with pytest.raises(ValueError, match="latent_dim >= 2"):
            priors.VonMisesFisherAutoregressive(1, nn.Identity())


class TestStopGradient:
    """JEPA: the target is detached, the context is not, and actions lead from step to step."""

    def test_value_and_gradient_equal_the_hand_written_loss(self):
        x, actions = torch.randn(8, 5, 4), torch.randn(8, 5, 2)
        encoder, predictor = nn.Linear(4, 3), Recurrent(5, 3, hidden=6)
        prior = priors.Autoregressive(3, predictor, noise=1.0)
        objective = ldm.Objective(ldm.stop_gradient(prior, sites=["z"]), guide_of(encoder, Zero()))
        loss = objective(x, actions)
        z = encoder(x)
        context = torch.cat([torch.cat([torch.zeros(8, 1, 3), z[:, :-1]], 1), actions], -1)
        error = (predictor(context) - z.detach()).square().sum((1, 2))
        written = (0.5 * error).mean() + 15 * 0.5 * math.log(2 * math.pi)
        parameters = [*encoder.parameters(), *predictor.parameters()]
        torch.testing.assert_close(loss, written)
        torch.testing.assert_close(torch.autograd.grad(loss, parameters), torch.autograd.grad(written, parameters))
        assert objective.terms(x, actions).divergence == "score"

    def test_in_the_guide_of_one_site(self):
        x, encoder, prior = torch.randn(8, 5, 4), nn.Linear(4, 3), priors.Autoregressive(3, LastSteps(3, 3))
        stopped = ldm.stop_gradient(prior, sites=["z"])
        expected = ldm.Objective(stopped, guide_of(encoder, Zero()))(x)
        torch.testing.assert_close(
            ldm.Objective(stopped, ldm.guides.Deterministic(encoder, Pooled(Zero())))(x), expected
        )

    def test_with_cosines_on_the_sphere(self):
        x, encoder, predictor = torch.randn(8, 5, 4), nn.Linear(4, 3), LastSteps(3, 3)
        prior = priors.VonMisesFisherAutoregressive(3, predictor, concentration=2.0)
        unit = nn.Sequential(encoder, Normalize())
        loss = ldm.Objective(ldm.stop_gradient(prior, sites=["z"]), guide_of(unit, Zero()))(x)
        z = normalize(encoder(x), dim=-1)
        cosine = (normalize(predictor(z[:, :-1]), dim=-1) * z[:, 1:].detach()).sum(-1)
        constant = math.log(4 * math.pi) - 4 * math.log(2 / (4 * math.pi * math.sinh(2)))
        written = -2 * cosine.sum(1).mean() + constant
        parameters = [*encoder.parameters(), *predictor.parameters()]
        torch.testing.assert_close(loss, written)
        torch.testing.assert_close(torch.autograd.grad(loss, parameters), torch.autograd.grad(written, parameters))

    def test_masked_steps_are_no_targets(self):
        x, mask = torch.randn(8, 5, 4), torch.arange(5) < torch.arange(1, 9).unsqueeze(-1)
        encoder, prior = nn.Linear(4, 3), priors.Autoregressive(3, LastSteps(3, 3), noise=1.0)
        loss = ldm.Objective(ldm.stop_gradient(prior, sites=["z"]), guide_of(encoder, Zero()))(x, mask)
        z = encoder(x)
        error = (prior.predictor(torch.cat([torch.zeros(8, 1, 3), z[:, :-1]], 1)) - z.detach()).square().sum(-1)
        written = ((0.5 * error + 1.5 * math.log(2 * math.pi)) * mask).sum() / 8
        torch.testing.assert_close(loss, written)
        (gradient,) = torch.autograd.grad(loss, encoder.weight, retain_graph=True)
        torch.testing.assert_close(gradient, torch.autograd.grad(written, encoder.weight)[0])


class TestObjective:
    def test_particles_in_turn_and_vectorised(self):
        prior = default(priors.Autoregressive, noise=dist.LogNormal(0.0, 0.3))
        local = guide_of(nn.Linear(4, 3), Separate(KNN()))
        noise = pyro.infer.autoguide.AutoDelta(poutine.block(prior, hide=["z"]))
        guide, x = ldm.guides.Compose(noise, local), torch.randn(20, 5, 4)
        losses = [
            ldm.Objective(prior, guide, Trace_ELBO(num_particles=3, vectorize_particles=v, max_plate_nesting=1))(x)
            for v in (False, True)
        ]
        torch.testing.assert_close(*losses)  # nothing in them is random

    def test_the_noise_s_posterior_is_learned(self):
        pyro.set_rng_seed(0)
        prior = priors.Autoregressive(1, nn.Identity(), noise=dist.LogNormal(0.0, 1.0))
        z = 0.3 * torch.randn(40, 20, 1).cumsum(1)
        posterior = pyro.infer.autoguide.AutoNormal(poutine.block(prior, hide=["z"]))
        guide = ldm.guides.Compose(posterior, guide_of(nn.Identity(), Zero()))
        objective = ldm.Objective(prior, guide)
        objective(z)
        optimizer = torch.optim.Adam(objective.parameters(), lr=0.1)
        for _ in range(60):
            optimizer.zero_grad()
            objective(z).backward()
            optimizer.step()
        assert float(posterior.median(z)["noise"].detach()) == pytest.approx(0.3, abs=0.03)

    def test_svi_moves_predictor_and_encoder(self):
        prior, guide = default(priors.Autoregressive), guide_of(PerStep(nn.Linear(4, 3)), Separate(KNN()))
        before = [p.detach().clone() for p in (*prior.parameters(), *guide.parameters())]
        SVI(prior, guide, pyro.optim.Adam({"lr": 0.1}), Trace_ELBO()).step(torch.randn(20, 5, 4))
        after = [*prior.parameters(), *guide.parameters()]
        assert all(not torch.equal(p, q) for p, q in zip(before, after, strict=True))

    def test_a_predictor_that_looks_ahead_is_refused(self):
        class Normalised(nn.Module):
            def __init__(self):
                super().__init__()
                self.norm = nn.BatchNorm1d(3)

            def forward(self, x):
                return self.norm(x.mT).mT

        objective = ldm.Objective(priors.Autoregressive(3, Normalised()), guide_of(nn.Linear(4, 3), Separate(KNN())))
        with pytest.raises(ValueError, match="not causal"):
            objective(torch.randn(20, 5, 4))


def test_forecasts():
    prior = priors.Autoregressive(1, nn.Identity(), noise=0.5)
    z = torch.randn(3, 6, 1)
    ahead = prior.distribution(z).rollout(z, 4, 20_000)
    torch.testing.assert_close(ahead.mean(0), z[:, -1:].expand(3, 4, 1), rtol=0, atol=0.04)
    torch.testing.assert_close(ahead.var(0), (0.25 * torch.arange(1.0, 5)[:, None]).expand(3, 4, 1), rtol=0.05, atol=0)
