"""A stochastic encoder of views, and of series: scored jointly, by conditionals or by their marginal."""

import pyro
import pytest
import torch
from pyro import poutine
from torch.nn.functional import softplus

import pyro_ldm as ldm
from pyro_ldm.entropy import Conditional, Joint, LogDet, Mixture


@pytest.mark.parametrize("entropy", [Conditional, Mixture, LogDet])
def test_views_are_drawn_from_their_own_conditionals_under_one_score(entropy):
    encoder = torch.nn.Linear(6, 4)
    guide = ldm.guides.GaussianViews(encoder, Joint(entropy()))
    x = torch.randn(2, 30, 6)
    trace = poutine.trace(guide).get_trace(*x)
    z = torch.stack([trace.nodes["z"]["value"], trace.nodes["z_prime"]["value"]])
    out = encoder(x)
    normal = torch.distributions.Normal(out[..., :2], softplus(out[..., 2:]) + 1e-3)
    own = normal.log_prob(z).sum((0, -1))
    across = torch.distributions.Normal(normal.mean.unsqueeze(1), normal.stddev.unsqueeze(1))
    pairs = across.log_prob(z.unsqueeze(2)).sum((0, -1))  # row i under row j's conditionals
    expected = {
        Conditional: own,
        Mixture: pairs.logsumexp(-1) - torch.tensor(30.0).log(),
        LogDet: LogDet()(torch.cat([*z], -1)),
    }[entropy]
    torch.testing.assert_close(trace.log_prob_sum(), expected.sum())


def test_views_of_two_shapes_are_refused():
    guide = ldm.guides.GaussianViews(torch.nn.Linear(6, 4), Joint(Mixture()))
    with pytest.raises(ValueError, match="2 views of one shape"):
        guide(torch.randn(5, 6), torch.randn(4, 6))


def test_trains_latent_distribution_matching_with_noise():
    x = torch.randn(500, 6)
    encoder = torch.nn.Linear(6, 4)
    objective = ldm.Objective(ldm.priors.GaussianViews(2), ldm.guides.GaussianViews(encoder, Joint(LogDet())))
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.03)
    for _ in range(100):
        optimizer.zero_grad()
        objective(x, x + 0.1 * torch.randn_like(x)).backward()
        optimizer.step()
    terms = objective.terms(x, x + 0.1 * torch.randn_like(x))
    assert terms.divergence == "KL" and abs(terms.kl) < 0.1 and len(pyro.get_param_store()) == 0
    assert ldm.training.latents(objective.guide, x).shape == (500, 2)


def test_series_and_masks_of_the_gaussian_guide():
    guide = ldm.guides.Gaussian(ldm.encoders.PerStep(torch.nn.Linear(6, 4)), Conditional())
    x, mask = torch.randn(8, 5, 6), torch.rand(8, 5) < 0.5
    site = poutine.trace(guide).get_trace(x, mask).nodes["z"]
    assert site["fn"].event_shape == (5, 2)
    q = guide.conditional(x).base_dist
    expected = (q.log_prob(site["value"]).sum(-1) * mask).sum(-1)
    torch.testing.assert_close(site["fn"].log_prob(site["value"]), expected)
    with pytest.raises(ValueError, match="NaN or Inf in 1 of 8 rows"):
        guide(x.index_fill(0, torch.tensor([3]), torch.nan))
