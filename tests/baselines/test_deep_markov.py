"""The deep Markov model and its structured guide: equal to their steps written out, in a loop."""

import math

import pyro
import pytest
import torch
from torch.nn.functional import softplus

import pyro_ldm as ldm
from pyro_ldm import baselines


def normal(z, loc, scale):
    return (-0.5 * ((z - loc) / scale) ** 2 - scale.log() - 0.5 * math.log(2 * math.pi)).sum(-1)


def transition_by_hand(prior, z):
    net = prior.transition
    gate, proposal = net.gate(z), net.proposal(z)
    loc = (1 - gate) * (z @ net.linear.weight.T + net.linear.bias) + gate * proposal
    return loc, softplus(net.scale(proposal.relu())) + 1e-3


def test_prior_scores_step_by_step():
    prior, z = baselines.DeepMarkov(2, hidden=8), torch.randn(6, 5, 2)
    total, last = torch.zeros(6), prior.start.expand(6, 2)
    for t in range(5):
        total, last = total + normal(z[:, t], *transition_by_hand(prior, last)), z[:, t]
    torch.testing.assert_close(prior.distribution(z).log_prob(z), total)
    assert baselines.DeepMarkov(2, num_steps=4)(range(3)).shape == (3, 4, 2)


def test_guide_scores_step_by_step_and_sees_the_future():
    guide, x = baselines.StructuredGuide(torch.nn.Linear(3, 4), 2, features=4, hidden=8), torch.randn(6, 5, 3)
    q, z = guide.conditional(x), torch.randn(6, 5, 2)
    future, hidden = [], None
    for t in reversed(range(5)):  # the recurrent network, a step at a time, from the end
        out, hidden = guide.backward_network(guide.encoder(x[:, t]).unsqueeze(1), hidden)
        future.insert(0, out[:, 0])
    total, last = torch.zeros(6), torch.zeros(6, 2)
    net = guide.combiner
    for t in range(5):
        c = 0.5 * ((last @ net.last.weight.T + net.last.bias).tanh() + future[t])
        loc, scale = (c @ net.head.weight.T + net.head.bias).chunk(2, -1)
        total, last = total + normal(z[:, t], loc, softplus(scale) + 1e-3), z[:, t]
    torch.testing.assert_close(q.log_prob(z), total)
    changed = torch.cat([x[:, :4], x[:, 4:] + 1.0], 1)
    assert (guide.conditional(changed).mean[:, 0] - q.mean[:, 0]).abs().min() > 0


def test_guide_draws_each_state_given_the_last():
    """Its own loop over steps, against the densities."""
    guide, x = baselines.StructuredGuide(torch.nn.Linear(3, 4), 2, features=4, hidden=8), torch.randn(6, 5, 3)
    q = guide.conditional(x)
    z = q.rsample((4000,))
    assert z.shape == (4000, 6, 5, 2)
    steps = q.predictive(z)
    residuals = (z - steps.mean) / steps.variance.sqrt()
    torch.testing.assert_close(residuals.mean(0), torch.zeros(6, 5, 2), atol=0.08, rtol=0)
    torch.testing.assert_close(residuals.std(0), torch.ones(6, 5, 2), atol=0.06, rtol=0)
    torch.testing.assert_close(q.mean, q.predictive(q.mean).mean)
    assert torch.autograd.grad(z.sum(), guide.combiner.head.weight)[0].abs().min() > 0
    assert q.rollout(z[0, :, :2], 3, 7).shape == (7, 6, 3, 2)


def model():
    decoder = ldm.encoders.PerStep(torch.nn.Linear(2, 3))
    prior = baselines.DeepMarkov(2, hidden=8)
    guide = baselines.StructuredGuide(torch.nn.Linear(3, 4), 2, features=4, hidden=8)
    return baselines.Generative(prior, decoder, baselines.Gaussian()), guide


def test_trains_and_encodes():
    """An oscillation, seen in three noisy coordinates."""
    t = torch.arange(12.0) + torch.rand(200, 1) * 6.28
    state = torch.stack([t.sin(), t.cos()], -1)
    x = state @ torch.randn(2, 3) + 0.1 * torch.randn(200, 12, 3)
    pair = model()
    objective = ldm.Objective(*pair)
    terms = objective.terms(x)
    assert terms.objective == "-ELBO"
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.02)
    for _ in range(60):
        optimizer.zero_grad()
        objective(x[torch.randperm(200)[:50]]).backward()
        optimizer.step()
    assert objective.terms(x).loss < terms.loss - 10.0
    assert all(p.grad is not None for p in objective.parameters())
    assert ldm.training.latents(pair[1], x).shape == (200, 12, 2)
    assert len(pyro.get_param_store()) == 0


def test_missing_frames_count_nowhere():
    objective, x = ldm.Objective(*model()), torch.randn(20, 5, 3)
    mask = torch.rand(20, 5) < 0.6
    losses = []
    for filling in (0.0, 7.0, torch.nan):
        gaps = torch.where(mask.unsqueeze(-1), x, filling)
        objective.check(gaps, mask)
        pyro.set_rng_seed(3)
        losses.append(objective(gaps, mask))
    torch.testing.assert_close(losses[0], losses[1])
    torch.testing.assert_close(losses[0], losses[2])
    losses[2].backward()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters())


def test_needs_its_steps_to_generate():
    with pytest.raises(ValueError, match="pass num_steps="):
        baselines.DeepMarkov(2)(range(3))
