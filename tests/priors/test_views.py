"""Pairs of views: each coupling against its own formula, flat first views, predictors."""

import math

import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from scipy import special, stats

from pyro_ldm import priors


def log_probs(prior, z, z_prime):
    """Of the first view, and of the second given the first."""
    trace = poutine.trace(poutine.condition(prior, {"z": z, "z_prime": z_prime})).get_trace(range(len(z)))
    trace.compute_log_prob()
    return trace.nodes["z"]["log_prob"], trace.nodes["z_prime"]["log_prob"]


@pytest.fixture
def pair():
    return torch.randn(2, 7, 3)


def test_student_t(pair):
    _, second = log_probs(priors.StudentTViews(3, noise=0.7, df=3.0), *pair)
    expected = stats.t(3.0, loc=pair[0], scale=0.7).logpdf(pair[1]).sum(-1)
    torch.testing.assert_close(second, torch.as_tensor(expected))


def test_generalized_gaussian(pair):
    _, second = log_probs(priors.GeneralizedGaussianViews(3, noise=0.7, power=3.0), *pair)
    expected = stats.gennorm(3.0, loc=pair[0], scale=0.7).logpdf(pair[1]).sum(-1)
    torch.testing.assert_close(second, torch.as_tensor(expected))


def test_von_mises_fisher(pair):
    z, z_prime = torch.nn.functional.normalize(pair, dim=-1)
    first, second = log_probs(priors.VonMisesFisherViews(3, concentration=4.0), z, z_prime)
    torch.testing.assert_close(first, torch.full((7,), -math.log(4 * math.pi)))
    expected = math.log(4 / (4 * math.pi * math.sinh(4))) + 4 * (z * z_prime).sum(-1)
    torch.testing.assert_close(second, expected)


def test_von_mises_fisher_of_high_dimension():
    z = torch.nn.functional.normalize(torch.randn(2, 256), dim=-1)
    _, second = log_probs(priors.VonMisesFisherViews(256, concentration=20.0), z, z)
    log_normalizer = 127 * math.log(20.0) - 128 * math.log(2 * math.pi) - math.log(special.ive(127, 20.0)) - 20.0
    torch.testing.assert_close(second, torch.full((2,), log_normalizer + 20.0))


@pytest.mark.parametrize("prior", [priors.GaussianViews, priors.StudentTViews, priors.GeneralizedGaussianViews])
class TestOnThePlane:
    def test_flat(self, prior, pair):
        first, _ = log_probs(prior(3, scale=None), *pair)
        assert torch.equal(first, torch.zeros(7))
        with pytest.raises(NotImplementedError):
            prior(3, scale=None)(range(5))

    def test_predictor(self, prior, pair):
        predictor = torch.nn.Linear(3, 3)
        z, z_prime = pair
        _, second = log_probs(prior(3, predictor=predictor), z, z_prime)
        _, expected = log_probs(prior(3), predictor(z), z_prime)
        torch.testing.assert_close(second, expected)
        (grad,) = torch.autograd.grad(second.sum(), predictor.weight)
        assert grad.abs().min() > 0

    def test_hierarchical_coupling(self, prior):
        """A Bayesian coupling is one for all rows: sampled outside the plate, once."""
        noise = dist.LogNormal(torch.zeros(3), 1.0).to_event(1)
        trace = poutine.trace(prior(3, noise=noise)).get_trace(range(7))
        site = trace.nodes["noise"]
        assert site["value"].shape == (3,) and not site["cond_indep_stack"]


def test_a_predictor_to_the_sphere_takes_any_vector(pair):
    z, z_prime = pair[0], torch.nn.functional.normalize(pair[1], dim=-1)
    predictor = torch.nn.Linear(3, 3)
    first, second = log_probs(priors.VonMisesFisherViews(3, concentration=4.0, predictor=predictor), z, z_prime)
    assert torch.equal(first, torch.zeros(7))
    cosine = torch.nn.functional.cosine_similarity(predictor(z), z_prime)
    torch.testing.assert_close(second, math.log(4 / (4 * math.pi * math.sinh(4))) + 4 * cosine)


def test_no_sphere_in_one_dimension():
    with pytest.raises(ValueError, match="latent_dim >= 2"):
        priors.VonMisesFisherViews(1)
    with pytest.raises(ValueError, match=r"must be a number, got shape \(3,\)"):
        priors.VonMisesFisherViews(3, concentration=torch.ones(3))
