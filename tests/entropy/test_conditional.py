"""The conditional's own log-density, with masks of rows and of steps, in place of an estimate of the marginal."""

import pyro.distributions as dist
import pytest
import torch

import pyro_ldm as ldm
from pyro_ldm.entropy import Conditional, Joint, Mixture, Separate
from pyro_ldm.guides.sample_views import Views


def log_normal(z, loc, scale):
    return -0.5 * ((z - loc) / scale) ** 2 - scale.log() - 0.5 * torch.tensor(2 * torch.pi).log()


def test_is_the_log_density_of_each_row_s_own_conditional():
    z, loc, scale = torch.randn(20, 3), torch.randn(20, 3), torch.rand(20, 3) + 0.1
    expected = log_normal(z, loc, scale)
    q = dist.Normal(loc, scale).to_event(1)
    torch.testing.assert_close(Conditional()(z, q), expected.sum(-1))
    many = torch.randn(5, 20, 3)
    torch.testing.assert_close(Conditional()(many, q)[3], log_normal(many[3], loc, scale).sum(-1))
    mask = torch.arange(20) < 15
    torch.testing.assert_close(Conditional()(z, q, mask), torch.where(mask, expected.sum(-1), 0.0))


@pytest.mark.parametrize("event", [(), (3,)])
def test_masks_steps(event):
    shape = (20, 7, *event)
    z, loc, scale, mask = torch.randn(shape), torch.randn(shape), torch.rand(shape) + 0.1, torch.rand(20, 7) < 0.5
    q = dist.Normal(loc, scale).to_event(len(shape) - 1)
    expected = (log_normal(z, loc, scale).reshape(20, 7, -1).sum(-1) * mask).sum(-1)
    torch.testing.assert_close(Conditional()(z, q, mask), expected)
    joint = dist.MultivariateNormal(torch.zeros(20, 7), torch.eye(7))
    with pytest.raises(ValueError, match="independent over those steps"):
        Conditional()(torch.randn(20, 7), joint, mask)


def test_no_estimate_bounds_it_from_above():
    q = dist.Normal(torch.randn(200, 2), 0.1).to_event(1)
    z = q.sample()
    information = (Conditional()(z, q) - Mixture()(z, q)).mean()
    assert 2.0 < float(information) < torch.tensor(200.0).log()


@pytest.mark.parametrize("arrange", [Joint, Separate])
def test_views_are_independent_given_x(arrange):
    q = [dist.Normal(torch.randn(20, 2), torch.rand(20, 2) + 0.1).to_event(1) for _ in range(2)]
    z = [each.sample() for each in q]
    views = Views(q)
    expected = q[0].log_prob(z[0]) + q[1].log_prob(z[1])
    torch.testing.assert_close(arrange(Conditional())(torch.stack(z, -2), views), expected)
    assert arrange(Conditional()).divergence == "KL + I"


def test_refuses_deterministic_encoders():
    with pytest.raises(ValueError, match="reads the encoder's conditional"):
        ldm.Pushforward(torch.randn(5, 2), Conditional())
    invertible = ldm.encode(torch.nn.Linear(2, 2), torch.randn(5, 2))
    with pytest.raises(ValueError, match="a deterministic encoder has no such density"):
        Conditional()(invertible.v, invertible)


def test_a_prior_alone_rewards_collapse():
    """Without a likelihood the optimum is q(z | x) = P(z) for every x."""
    encoder = torch.nn.Linear(6, 4)
    objective = ldm.Objective(ldm.priors.Gaussian(2), ldm.guides.Gaussian(encoder, Conditional()))
    optimizer, x = torch.optim.Adam(objective.parameters(), lr=0.05), torch.randn(300, 6)
    for _ in range(200):
        optimizer.zero_grad()
        objective(x).backward()
        optimizer.step()
    assert objective.terms(x).divergence == objective.terms(x).objective == "KL + I"
    assert objective.guide.conditional(x).mean.std(0).max() < 0.15 and objective.terms(x).kl < 0.02
