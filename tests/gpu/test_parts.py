"""On a GPU every part computes what it computes on the CPU: values, and gradients in all that goes in."""

import copy
import inspect

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from pyro import poutine
from torch import nn

from pyro_ldm import baselines, encoders, entropy, priors
from pyro_ldm.encoders.augment import Augmentation
from pyro_ldm.entropy import KDE, KNN, Conditional, LogDet, Mixture, Sphere

GPU = torch.device("cuda")
KERNEL = entropy.VonMisesFisherKernel(5.0)


def classes(package, base, *, without=()):
    found = [c for c in map(package.__dict__.get, package.__all__) if inspect.isclass(c) and issubclass(c, base)]
    return [c for c in found if not inspect.isabstract(c) and c not in without]


ESTIMATORS = [c() for c in classes(entropy, entropy.SampleEntropy)]
ESTIMATORS += [LogDet(shrinkage="oas"), LogDet(shrinkage="ledoit-wolf"), LogDet(order=2), KDE(include_self=True)]
ESTIMATORS += [KDE(KERNEL), KNN(space=Sphere()), *(a(KNN()) for a in classes(entropy, entropy.Arrangement))]


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-9), (torch.float32, 1e-3)])
@pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: " ".join(repr(e).split()))
def test_estimators(estimator, dtype, tolerance, agrees):
    z = torch.randn(2, 60, *[3] * (estimator.event_dim or 1), dtype=dtype)
    z = F.normalize(z, dim=-1) if estimator.on_sphere else z
    agrees(estimator, z, tolerance=tolerance)
    mask = (torch.arange(60) % 7 > 0).reshape(60, *[1] * (z.dim() - 3)).expand(z.shape[1:-1])
    agrees(lambda z, mask: estimator(z, None, mask), z, mask, tolerance=tolerance)
    if estimator.on_sphere:
        return
    with torch.autocast("cuda", torch.bfloat16):
        assert torch.equal(estimator(z.to(GPU)), estimator(z.to(GPU))) and estimator(z.to(GPU)).dtype == dtype


def test_pairs_of_many_rows_in_chunks(agrees):
    z = torch.randn(5000, 4)
    for estimator in (KDE(), KNN(), KDE(include_self=True)):
        agrees(estimator, z)


@pytest.mark.parametrize("estimator", [Mixture(), Mixture(include_self=False), Conditional()], ids=repr)
def test_estimators_that_read_the_conditional(estimator, agrees):
    def score(z, loc, scale):
        return estimator(z, dist.Normal(loc, scale.exp()).to_event(1))

    agrees(score, *torch.randn(3, 50, 2))


BASES = (priors.Prior, priors.Sources, priors.PlaneViews, priors.Series)
MADE = {
    priors.CategoricalViews: lambda: priors.CategoricalViews(4),
    priors.Autoregressive: lambda: priors.Autoregressive(3, encoders.Recurrent(3, 3, hidden=8), df=5.0),
    priors.VonMisesFisherAutoregressive: lambda: priors.VonMisesFisherAutoregressive(3, encoders.LastSteps(3, 3)),
    priors.Kalman: lambda: priors.Kalman(3, 4),
}
PRIORS = [*classes(priors, priors.Prior, without=BASES), baselines.DeepMarkov]


def log_prob(prior, x, *values):
    pyro.clear_param_store()  # of the same prior on the other device
    trace = poutine.trace(poutine.condition(prior, dict(zip(("z", "z_prime"), values, strict=False))))
    return trace.get_trace(x).log_prob_sum()


@pytest.mark.parametrize("prior", PRIORS)
def test_priors(prior, agrees):
    if prior is priors.Flow:
        pytest.importorskip("zuko")
    made, x = MADE.get(prior, lambda: prior(3))(), torch.randn(7, 5, 3)
    trace = poutine.trace(copy.deepcopy(made).to(GPU)).get_trace(x.to(GPU))
    drawn = [trace.nodes[name]["value"] for name in ("z", "z_prime") if name in trace.nodes]
    assert all(z.is_cuda for z in drawn) and torch.isfinite(trace.log_prob_sum())
    agrees(log_prob, made, x, *(z.detach().cpu() for z in drawn))


@pytest.mark.parametrize("prior", [p for p in PRIORS if p not in (*MADE, priors.Flow, baselines.DeepMarkov)])
def test_bayesian_hyperparameters_go_along(prior):
    for name, shape in prior(3).shapes.items():
        if name not in ("loc", "weights"):
            bayesian = prior(3, **{name: dist.LogNormal(torch.zeros(shape), 0.1).to_event()}).to(GPU)
            assert poutine.trace(bayesian).get_trace(torch.empty(7, 5, 3, device=GPU)).log_prob_sum().is_cuda


@pytest.mark.parametrize(("dtype", "tolerance"), [(torch.float64, 1e-8), (torch.float32, 1e-3)])
@pytest.mark.parametrize("steps", [5, 60])
@pytest.mark.parametrize("dims", [(1, 1), (2, 2), (2, 3)])
def test_state_space(dims, steps, dtype, tolerance, agrees):
    prior, z = priors.Kalman(*dims, transition_matrix=nn.Parameter(0.9 * torch.eye(dims[1]))), torch.randn(6, steps, 3)
    prior, z = prior.to(dtype), z[..., : dims[0]].to(dtype)
    mask = torch.rand(6, steps) > 0.2
    calls = {
        "log_prob": lambda prior, z, mask: prior.distribution(z, mask).log_prob(z),
        "filter": lambda prior, z, mask: prior.distribution(z, mask).filter(z).mean,
        "smooth": lambda prior, z, mask: prior.distribution(z, mask).smooth(z).variance,
        "forecast": lambda prior, z, mask: prior.distribution(z).forecast(z, 9).mean,
        "forecast's spread": lambda prior, z, mask: prior.distribution(z).forecast(z, 9).variance,
    }
    for call in calls.values():
        agrees(call, prior, z, mask, tolerance=tolerance)
    ssm = copy.deepcopy(prior).to(GPU).distribution(z.to(GPU))
    assert ssm.posterior_sample(z.to(GPU)).is_cuda and ssm.predictive(z.to(GPU)).mean.is_cuda
    adaptive = priors.Kalman(*dims, adapt=nn.Sequential(nn.Linear(sum(dims), 1), nn.Softplus())).to(dtype)
    agrees(lambda prior, z: prior.distribution(z).log_prob(z), adaptive, z, tolerance=tolerance)
    assert adaptive.to(GPU).distribution(z.to(GPU)).sample().is_cuda


PREDICTORS = (encoders.CausalAttention, encoders.CausalConv, encoders.LastSteps, encoders.Recurrent)
NETWORKS = {
    encoders.ConvNet: (lambda: encoders.ConvNet((3, 9, 8), 2), (4, 3, 9, 8)),
    encoders.ResNet18: (lambda: encoders.ResNet18((3, 9, 8), 2, width=4), (4, 3, 9, 8)),
    encoders.PerStep: (lambda: encoders.PerStep(nn.Linear(3, 2)), (4, 6, 3)),
    encoders.Normalize: (encoders.Normalize, (4, 3)),
} | {predictor: (lambda c=predictor: c(3, 2), (4, 6, 3)) for predictor in PREDICTORS}
AUGMENTATIONS = classes(encoders, Augmentation)
OTHERS = (encoders.TwoViews, encoders.ExponentialMovingAverage, *AUGMENTATIONS)  # all of them below


@pytest.mark.parametrize("network", classes(encoders, nn.Module, without=OTHERS))
def test_encoders(network, agrees):
    make, shape = NETWORKS.get(network, (lambda: network(3, 2), (4, 3)))
    agrees(lambda net, x: net(x), make(), torch.randn(shape))


@pytest.mark.parametrize("predictor", PREDICTORS)
def test_predictors_pass_as_causal_in_single_precision(predictor):
    prior = priors.Autoregressive(3, predictor(3, 3)).float().to(GPU)
    z = torch.randn(16, 40, 3, dtype=torch.float32, device=GPU)
    assert torch.isfinite(prior.distribution(z).log_prob(z)).all()


@pytest.mark.parametrize("augmentation", AUGMENTATIONS)
def test_augmentations(augmentation):
    x = torch.rand(8, 3, 12, 12, device=GPU, dtype=torch.float32)
    draws = [augmentation(generator=torch.Generator(GPU).manual_seed(7))(x) for _ in range(2)]
    with torch.autocast("cuda", torch.bfloat16):
        draws.append(augmentation(generator=torch.Generator(GPU).manual_seed(7))(x))
    assert draws[0].is_cuda and torch.equal(draws[0], draws[1]) and torch.equal(draws[0], draws[2])
    assert all(view.is_cuda for view in encoders.TwoViews(augmentation())(x))
