"""stop_gradient: gradients equal the hand-written loss; the context keeps its gradient, the target loses it."""

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from pyro.nn import PyroModule

import pyro_ldm as ldm
from pyro_ldm.entropy import LogDet, Separate, Zero


class Predictive(PyroModule):
    """A flat z, and z_prime around a prediction from it: SimSiam's prior, on the plane."""

    def __init__(self):
        super().__init__()
        self.predictor = torch.nn.Linear(2, 2)

    def forward(self, *batch):
        with pyro.plate("batch", len(batch[0])):
            z = pyro.sample("z", dist.ImproperUniform(dist.constraints.real_vector, (), (2,)))
            pyro.sample("z_prime", dist.Normal(self.predictor(z), 1.0).to_event(1))


@pytest.fixture
def world():
    x, x_prime = torch.randn(2, 30, 4).unbind(0)
    return x, x_prime, torch.nn.Linear(4, 2), Predictive()


def test_gradient_equals_the_hand_written_loss(world):
    x, x_prime, encoder, prior = world
    guide = ldm.guides.Views(encoder, Separate(Zero()))
    objective = ldm.Objective(ldm.stop_gradient(prior, sites=["z_prime"]), guide)
    parameters = [*encoder.parameters(), *prior.parameters()]
    target = encoder(x_prime).detach()
    written = (0.5 * (prior.predictor(encoder(x)) - target).square().sum(-1) + torch.tensor(2 * torch.pi).log()).mean()
    loss = objective(x, x_prime)
    torch.testing.assert_close(loss, written)
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), torch.autograd.grad(written, parameters))
    assert objective.terms(x, x_prime).divergence == "score"
    assert {id(p) for p in objective.parameters()} == {id(p) for p in parameters}


def test_symmetric_loss_is_the_mean_over_both_orders_and_simsiam_s_negative_cosine(world):
    x, x_prime, encoder, prior = world

    class Cosine(PyroModule):
        def __init__(self):
            super().__init__()
            self.predictor = torch.nn.Linear(2, 2)

        def forward(self, *batch):
            with pyro.plate("batch", len(batch[0])):
                z = pyro.sample("z", dist.ImproperUniform(dist.constraints.real_vector, (), (2,)))
                loc = F.normalize(self.predictor(z), dim=-1)
                pyro.sample("z_prime", ldm.distributions.VonMisesFisher(loc, torch.tensor(1.0)))

    class Unit(torch.nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = encoder

        def forward(self, x):
            return F.normalize(self.linear(x), dim=-1)

    prior = Cosine()
    objective = ldm.Objective(ldm.stop_gradient(prior, sites=["z_prime"]), ldm.guides.Views(Unit(), Separate(Zero())))
    loss = (objective(x, x_prime) + objective(x_prime, x)) / 2

    def negative_cosine(p, z):
        return -F.cosine_similarity(p, z.detach(), dim=-1).mean()

    z, z_prime = F.normalize(encoder(x), dim=-1), F.normalize(encoder(x_prime), dim=-1)
    simsiam = (negative_cosine(prior.predictor(z), z_prime) + negative_cosine(prior.predictor(z_prime), z)) / 2
    parameters = [*encoder.parameters(), *prior.parameters()]
    constant = -ldm.distributions.VonMisesFisher(torch.tensor([1.0, 0.0]), torch.tensor(1.0)).log_prob(
        torch.tensor([0.0, 1.0])
    )
    torch.testing.assert_close(loss, simsiam + constant)
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), torch.autograd.grad(simsiam, parameters))


class RandomWalk(dist.TorchDistribution):
    """A toy sequence distribution: z_1 ~ N(0, 1), z_t ~ N(a z_{t-1}, 1); with the contract that stop_gradient needs."""

    arg_constraints: dict = {}  # noqa: RUF012
    support = dist.constraints.independent(dist.constraints.real, 2)

    def __init__(self, a, length, batch_shape=()):
        self.a, self.length = a, length
        super().__init__(torch.Size(batch_shape), torch.Size((length, 1)), validate_args=False)

    def expand(self, batch_shape, _instance=None):
        return RandomWalk(self.a, self.length, batch_shape)

    def predictive(self, context):
        loc = torch.cat([torch.zeros_like(context[..., :1, :]), self.a * context[..., :-1, :]], -2)
        return dist.Normal(loc, 1.0).to_event(1)

    def log_prob(self, value):
        return self.predictive(value).log_prob(value).sum(-1)


class TestSequences:
    def prior(self, wrap=lambda d: d):
        a = torch.tensor(0.5, requires_grad=True)

        def prior(z):
            with pyro.plate("batch", len(z)):
                pyro.sample("z", wrap(RandomWalk(a, 6)))

        return prior, a

    def guide(self, z):
        with pyro.plate("batch", len(z)):
            pyro.sample("z", ldm.Pushforward(z, Zero(), event_dim=2))

    @pytest.mark.parametrize("masked", [False, True])
    def test_targets_are_detached_and_context_is_not(self, masked):
        z = torch.randn(5, 6, 1, requires_grad=True)
        mask = torch.tensor([True, True, False, True, True]) if masked else torch.ones(5, dtype=torch.bool)
        prior, a = self.prior(lambda d: d.expand((5,)).mask(mask))
        loss = ldm.Objective(ldm.stop_gradient(prior, sites=["z"]), self.guide)(z)
        context = torch.cat([torch.zeros(5, 1, 1), z[:, :-1]], 1)
        nats = 0.5 * (z.detach() - a * context).square().sum((-2, -1)) + 3 * torch.tensor(2 * torch.pi).log()
        written = (nats * mask).sum() / 5
        torch.testing.assert_close(loss, written)
        torch.testing.assert_close(torch.autograd.grad(loss, [z, a]), torch.autograd.grad(written, [z, a]))

    @pytest.mark.parametrize("kind", ["state space", "adaptive", "autoregressive"])
    def test_missing_steps_reach_neither_value_nor_gradient(self, kind):
        there = torch.tensor([True, True, False, True])
        turn = 0.5 * torch.eye(2).requires_grad_()

        def make():
            noise = dist.Normal(torch.zeros(2), 0.3).to_event(1)
            if kind == "autoregressive":
                about = lambda loc: dist.Normal(loc, 0.3).to_event(1)  # noqa: E731
                return ldm.distributions.Autoregressive(lambda past: past @ turn, about, 4, 2, mask=there)
            ssm = ldm.distributions.LinearGaussianSSM(noise, turn, noise, torch.eye(2), noise, mask=there)
            adapt = lambda errors: 1 + errors.square().sum(-1, keepdim=True)  # noqa: E731
            return ssm if kind == "state space" else ldm.distributions.AdaptiveSSM(ssm, adapt)

        def prior(z):
            with pyro.plate("batch", len(z)):
                pyro.sample("z", make())

        def score(z):
            stopped = pyro.condition(ldm.stop_gradient(prior, sites=["z"]), {"z": z})
            value = pyro.poutine.trace(stopped).get_trace(z).log_prob_sum()
            return value, *torch.autograd.grad(value, turn)

        z = torch.randn(3, 4, 2)
        torch.testing.assert_close(score(z.masked_fill(~there[:, None], torch.nan)), score(z))

    def test_without_predictive_is_refused(self):
        def prior(z):
            with pyro.plate("batch", len(z)):
                pyro.sample("z", dist.Normal(torch.zeros(6, 1), 1.0).to_event(2))

        with pytest.raises(ValueError, match=r"no predictive\(context\)"):
            ldm.Objective(ldm.stop_gradient(prior, sites=["z"]), self.guide)(torch.randn(5, 6, 1))


def test_an_unknown_site_is_refused(world):
    x, x_prime, encoder, prior = world
    stopped = ldm.stop_gradient(prior, sites=["zprime"])
    with pytest.raises(ValueError, match=r"no site \['zprime'\]"):
        ldm.Objective(stopped, ldm.guides.Views(encoder, Separate(LogDet())))(x, x_prime)


def test_a_string_of_sites_is_refused(world):
    with pytest.raises(TypeError, match=r"sites=\['z_prime'\]"):
        ldm.stop_gradient(world[3], sites="z_prime")


def test_a_stopped_prior_still_generates():
    prior = ldm.stop_gradient(ldm.priors.GaussianViews(2), sites=["z_prime"])
    assert pyro.poutine.trace(prior).get_trace(range(7)).nodes["z_prime"]["value"].shape == (7, 2)
