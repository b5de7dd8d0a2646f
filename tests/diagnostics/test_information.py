"""Bounds on I(x; z): on both sides of closed forms, and the split of a VAE's KL."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_ldm as ldm
from pyro_ldm.diagnostics.information import mutual_information


def channel(noise, *, site="z"):
    def guide(x):
        with pyro.plate("batch", len(x)):
            return pyro.sample(site, dist.Normal(x, noise).to_event(1))

    return guide


@pytest.mark.parametrize(("dim", "noise"), [(1, 1.0), (1, 0.3), (2, 0.7)])
def test_gaussian_channel(dim, noise):
    found = mutual_information(channel(noise), torch.randn(3000, dim))
    truth = dim * 0.5 * math.log(1 + 1 / noise**2)
    assert found.lower == pytest.approx(truth, abs=0.06) and found.upper == pytest.approx(truth, abs=0.06)
    assert found.lower < found.upper and not found.saturated and found.num_rows == 3000


def test_an_encoder_that_says_nothing():
    found = mutual_information(lambda x: channel(1.0)(0.0 * x), torch.randn(500, 2))
    assert found.lower == pytest.approx(0.0, abs=1e-6) and found.upper == pytest.approx(0.0, abs=1e-6)


def test_the_lower_bound_is_at_most_the_logarithm_of_the_rows():
    found = mutual_information(channel(1e-3), torch.randn(200, 3))
    assert found.lower <= math.log(200) and found.saturated and found.upper > found.lower


def test_several_chunks_are_one_batch():
    """By hand: the pairs of all rows at once."""
    x = torch.randn(600, 1)
    found = mutual_information(channel(0.5), x, seed=3)
    with torch.random.fork_rng():
        torch.manual_seed(3)
        rows = torch.randperm(600).sort().values
        z = torch.cat([torch.normal(part, 0.5) for part in x[rows].tensor_split(3)])
    pairs = dist.Normal(x[rows].T, 0.5).log_prob(z)
    lower = (pairs.diagonal() - pairs.logsumexp(1) + math.log(600)).mean()
    pairs_of_others = pairs.clone().fill_diagonal_(-torch.inf)
    upper = (pairs.diagonal() - pairs_of_others.logsumexp(1) + math.log(599)).mean()
    assert found.lower == pytest.approx(float(lower)) and found.upper == pytest.approx(float(upper))


def test_a_last_chunk_of_one_row_is_none():
    """Of which a guide of views could not estimate an entropy."""
    guide = ldm.guides.GaussianViews(torch.nn.Linear(3, 4), ldm.entropy.Joint(ldm.entropy.LogDet()))
    assert mutual_information(guide, (torch.randn(257, 3), torch.randn(257, 3))).num_rows == 257


def test_it_is_what_scoring_by_conditionals_costs():
    """E KL(q || P) = KL(R || P) + I(x; z), both sides by the same rows."""
    encoder, x = torch.nn.Linear(3, 4), torch.randn(1000, 3)
    kl = {}
    for entropy in (ldm.entropy.Conditional(), ldm.entropy.Mixture()):
        torch.manual_seed(0)
        kl[type(entropy)] = ldm.Objective(ldm.priors.Gaussian(2), ldm.guides.Gaussian(encoder, entropy)).terms(x).kl
    difference = kl[ldm.entropy.Conditional] - kl[ldm.entropy.Mixture]
    found = mutual_information(ldm.guides.Gaussian(encoder, ldm.entropy.Conditional()), x)
    assert found.lower == pytest.approx(difference, abs=4 * found.standard_error)


def test_views_count_together():
    guide = ldm.guides.GaussianViews(torch.nn.Linear(3, 4), ldm.entropy.Joint(ldm.entropy.Conditional()))
    one = ldm.guides.Gaussian(guide.gaussian.encoder, ldm.entropy.Conditional())
    x = torch.randn(1000, 3)
    both = mutual_information(guide, x, views=lambda x: (x, x))
    assert both.lower > mutual_information(one, x).lower + 0.05


def test_state_is_left_alone():
    guide = ldm.guides.Gaussian(torch.nn.Linear(3, 4), ldm.entropy.Conditional()).train()
    state = torch.random.get_rng_state()
    mutual_information(guide, torch.randn(50, 3, generator=torch.Generator().manual_seed(0)))
    assert torch.equal(state, torch.random.get_rng_state()) and guide.training
    assert not list(pyro.get_param_store().keys())


def test_refusals():
    with pytest.raises(ValueError, match="deterministic, and I"):
        mutual_information(ldm.guides.Deterministic(torch.nn.Linear(3, 2), ldm.entropy.LogDet()), torch.randn(9, 3))
    with pytest.raises(ValueError, match="at least two rows"):
        mutual_information(channel(1.0), torch.randn(1, 3))
    with pytest.raises(ValueError, match="masked steps"):
        mask = torch.ones(4, 5, dtype=torch.bool)
        mask[0, 3:] = False
        mutual_information(channel(1.0), (torch.randn(4, 5, 2), mask))
    with pytest.raises(ValueError, match="samples nothing"):
        mutual_information(lambda x: None, torch.randn(4, 3))
