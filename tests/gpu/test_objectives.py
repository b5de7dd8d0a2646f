"""On a GPU objectives are what they are on the CPU: every guide, under every kind of prior and likelihood."""

import inspect

import numpy
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from pyro.infer.autoguide import AutoNormal
from torch import nn

import pyro_ldm as ldm
from pyro_ldm import baselines, encoders, entropy, guides, priors
from pyro_ldm.entropy import KDE, KNN, Conditional, Joint, LogDet, Mixture, Pooled

GPU = torch.device("cuda")


def of_the_user(x):
    """A prior that says nothing of devices."""
    with pyro.plate("latent", 3):
        scale = pyro.sample("scale", dist.LogNormal(0.0, 0.5))
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.StudentT(4.0, torch.zeros(3), scale).to_event(1))


def composed(prior):
    encoder = guides.Deterministic(nn.Linear(6, 3), KNN())
    return prior, guides.Compose(AutoNormal(poutine.block(prior, hide=["z"])), encoder)


def vae(likelihood, decoder, shape, *, prior=None, guide=None):
    guide = guide or guides.Gaussian(encoders.MLP(torch.Size(shape).numel(), 6, batch_norm=False), Conditional())
    return baselines.Generative(prior or priors.Gaussian(3), decoder, likelihood), guide


def vamp():
    guide = guides.Gaussian(nn.Linear(6, 6), Conditional())
    prior = baselines.VampPrior(guide, torch.randn(4, 6))
    return vae(baselines.Gaussian(0.5), baselines.MLPDecoder(3, (6,)), (6,), prior=prior, guide=guide)


def deep_markov():
    guide = baselines.StructuredGuide(nn.Linear(6, 4), 3, features=4)
    decoder = encoders.PerStep(nn.Linear(3, 6))
    return vae(baselines.Gaussian(0.5), decoder, (6,), prior=baselines.DeepMarkov(3), guide=guide)


def byol():
    encoder = nn.Sequential(nn.Linear(6, 3), encoders.Normalize())
    target = encoders.ExponentialMovingAverage(encoder)
    prior = ldm.stop_gradient(priors.VonMisesFisherViews(3, predictor=nn.Linear(3, 3)), sites=["z_prime"])
    return prior, guides.Views(encoder, entropy.Zero(), target=target)


PAIRS = {
    "Deterministic": lambda: (priors.Laplace(3), guides.Deterministic(nn.Linear(6, 3), KDE())),
    "Gaussian": lambda: (priors.Gaussian(3), guides.Gaussian(nn.Linear(6, 6), Mixture())),
    "Invertible": lambda: (priors.Logistic(6), guides.Invertible(nn.Sequential(nn.Linear(6, 6), nn.Tanh()))),
    "Views": lambda: (priors.GaussianViews(3, scale=None), guides.Views(nn.Linear(6, 3), Joint(LogDet()))),
    "GaussianViews": lambda: (priors.GaussianViews(3), guides.GaussianViews(nn.Linear(6, 6), Joint(Mixture()))),
    "Categorical": lambda: (priors.CategoricalViews(4), guides.Categorical(nn.Linear(6, 4), 4)),
    "Compose": lambda: composed(of_the_user),
    "Bayesian": lambda: composed(priors.Laplace(3, scale=dist.LogNormal(torch.zeros(3), 0.5).to_event(1))),
    "series": lambda: (priors.Kalman(3), guides.Deterministic(encoders.Recurrent(6, 3), Pooled(LogDet()))),
    "BYOL": byol,
    "VampPrior": vamp,
    "DeepMarkov": deep_markov,
    "Bernoulli": lambda: vae(baselines.Bernoulli(), baselines.ConvDecoder(3, (1, 5, 6)), (1, 5, 6)),
    "DiscretizedLogistic": lambda: vae(
        baselines.DiscretizedLogistic(nn.Parameter(torch.tensor(0.1))), baselines.MLPDecoder(3, (6,)), (6,)
    ),
}
ELBOS = {"Categorical": TraceEnum_ELBO(max_plate_nesting=1), "Bernoulli": baselines.IWAE(5)}
ELBOS |= {"DiscretizedLogistic": baselines.Tempered(0.5)}


def test_every_guide_and_likelihood_is_there():
    for package, base in ((guides, nn.Module), (baselines, baselines.Likelihood)):
        found = [c for c in map(package.__dict__.get, package.__all__) if inspect.isclass(c) and issubclass(c, base)]
        assert {c.__name__ for c in found if not inspect.isabstract(c)} <= set(PAIRS)


@pytest.mark.parametrize("name", PAIRS)
def test_objectives(name, agrees, same_noise):
    pair, elbo = PAIRS[name](), ELBOS.get(name)
    x = torch.rand(40, *{"series": (5, 6), "DeepMarkov": (5, 6), "Bernoulli": (1, 5, 6)}.get(name, (6,)))
    x = (255 * x).round() / 255
    views = "Views" in name or name in ("Categorical", "BYOL")
    batch = (x, x + 0.1 * torch.randn(x.shape)) if views else (x,)
    objective = ldm.Objective(*pair, elbo)
    objective.check(*batch)  # an AutoGuide has no parameters before
    agrees(lambda objective, *batch: objective(*batch), objective, *batch)
    objective, batch = objective.to(GPU), tuple(view.to(GPU) for view in batch)
    assert numpy.isfinite([*objective.terms(*batch)[:4], *objective.reference(*batch)]).all()
