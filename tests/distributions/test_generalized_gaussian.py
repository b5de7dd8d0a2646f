import math

import pyro
import pyro.distributions as dist
import pytest
import scipy.special
import scipy.stats
import torch
from pyro.infer import Predictive

from pyro_ldm.distributions import GeneralizedGaussian

POWERS = [0.3, 0.7, 1.0, 1.7, 2.0, 8.0, 60.0]


def test_power_one_is_laplace():
    x = torch.linspace(-5, 5, 11)
    ours, laplace = GeneralizedGaussian(0.3, 1.4, 1.0), dist.Laplace(0.3, 1.4)
    torch.testing.assert_close(ours.log_prob(x), laplace.log_prob(x))
    torch.testing.assert_close(ours.cdf(x), laplace.cdf(x))
    torch.testing.assert_close(ours.variance, laplace.variance)
    torch.testing.assert_close(ours.entropy(), laplace.entropy())


def test_power_two_is_normal():
    x = torch.linspace(-5, 5, 11)
    ours, normal = GeneralizedGaussian(0.3, 1.4, 2.0), dist.Normal(0.3, 1.4 / math.sqrt(2))
    torch.testing.assert_close(ours.log_prob(x), normal.log_prob(x))
    torch.testing.assert_close(ours.cdf(x), normal.cdf(x))
    torch.testing.assert_close(ours.variance, normal.variance)
    torch.testing.assert_close(ours.entropy(), normal.entropy())


@pytest.mark.parametrize("power", POWERS)
def test_formulas_equal_scipy(power):
    ours, reference = GeneralizedGaussian(-0.5, 2.0, power), scipy.stats.gennorm(power, -0.5, 2.0)
    x = torch.linspace(-2.4, 1.4, 9)
    torch.testing.assert_close(ours.log_prob(x), torch.tensor(reference.logpdf(x)))
    torch.testing.assert_close(ours.cdf(x), torch.tensor(reference.cdf(x)))
    assert ours.variance.item() == pytest.approx(reference.var())
    assert ours.entropy().item() == pytest.approx(float(reference.entropy()))
    assert ours.mean.item() == -0.5


@pytest.mark.parametrize("power", POWERS)
def test_density_integrates_to_one(power):
    distance = torch.logspace(-10, 6 if power < 1 else 2, 40_001)
    density = GeneralizedGaussian(0.0, 0.5, power).log_prob(distance).exp()
    assert 2 * torch.trapezoid(density, distance).item() == pytest.approx(1, abs=1e-5)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", POWERS)
def test_samples_follow_the_cdf_and_the_variance(power, dtype):
    d = GeneralizedGaussian(*(torch.tensor(v, dtype=dtype) for v in (1.0, 0.5, power)))
    x = d.sample((20_000,))
    assert x.dtype == dtype
    assert scipy.stats.kstest(x.double().numpy(), lambda x: d.cdf(torch.tensor(x)).numpy()).pvalue > 1e-3
    # At power 0.3 the kurtosis is 62: ten standard errors would be needed to say little.
    if power >= 0.7:
        assert x.var().item() == pytest.approx(d.variance.item(), rel=0.1)


@pytest.mark.parametrize("power", [0.8, 2.0, 5.0])
def test_rsample_gradients_equal_those_of_the_moments(power):
    loc, scale, power = (torch.tensor(v, requires_grad=True) for v in (0.4, 1.3, power))
    d = GeneralizedGaussian(loc, scale, power)
    second = (d.rsample((200_000,)) ** 2).mean()
    got = torch.autograd.grad(second, (loc, scale, power))
    want = torch.autograd.grad(d.variance + loc**2, (loc, scale, power))
    torch.testing.assert_close(torch.stack(got), torch.stack(want), rtol=0.06, atol=0.02)


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("power", [0.1, 0.5, 1.0, 2.0, 7.0])
def test_gradients_at_the_mode_and_next_to_it_are_finite(power, dtype):
    tiny, eps = torch.finfo(dtype).tiny, torch.finfo(dtype).eps
    x = torch.tensor([0.0, tiny * eps, -tiny], dtype=dtype)  # the second is the smallest number there is
    inputs = [torch.tensor(v, dtype=dtype) for v in (0.0, 1.0, power)]
    inputs = [t.requires_grad_() for t in (x, *inputs)]
    value = GeneralizedGaussian(*inputs[1:]).log_prob(inputs[0])
    gradients = torch.autograd.grad(value.sum(), inputs)
    assert torch.isfinite(value).all()
    assert all(torch.isfinite(g).all() for g in gradients)
    assert gradients[0][0] == 0
    # At the mode the log-density is -log 2 Gamma(1 + 1/p): so is its slope in the power, psi(1 + 1/p) / p^2.
    at_mode = GeneralizedGaussian(*inputs[1:]).log_prob(torch.zeros((), dtype=dtype))
    (slope,) = torch.autograd.grad(at_mode, inputs[3])
    assert slope.item() == pytest.approx(scipy.special.digamma(1 + 1 / power) / power**2, rel=1e-5)


def test_gradcheck_of_log_prob():
    x = torch.tensor([-2.0, -0.1, 0.4, 3.0], requires_grad=True)
    parameters = [torch.tensor(v, requires_grad=True) for v in (0.2, 1.3, 0.7)]

    def log_prob(x, loc, scale, power):
        return GeneralizedGaussian(loc, scale, power).log_prob(x)

    assert torch.autograd.gradcheck(log_prob, (x, *parameters))
    assert torch.autograd.gradgradcheck(log_prob, (x, *parameters))


def test_gradient_of_cdf_is_the_density_and_is_refused_in_the_power():
    x = torch.tensor([-2.0, 0.1, 3.0], requires_grad=True)
    power = torch.tensor(0.7, requires_grad=True)
    (slope,) = torch.autograd.grad(GeneralizedGaussian(0.2, 1.3, 0.7).cdf(x).sum(), x)
    torch.testing.assert_close(slope, GeneralizedGaussian(0.2, 1.3, 0.7).log_prob(x).exp())
    with pytest.raises(RuntimeError, match="not implemented"):
        GeneralizedGaussian(0.2, 1.3, power).cdf(x).sum().backward()


def test_shapes_broadcast_and_expand():
    d = GeneralizedGaussian(torch.zeros(4, 1), torch.ones(3), 0.7)
    assert (d.batch_shape, d.event_shape) == ((4, 3), ())
    wide = d.expand((5, 4, 3))
    x = wide.rsample((2,))
    assert x.shape == (2, 5, 4, 3)
    torch.testing.assert_close(wide.log_prob(x), d.log_prob(x))
    assert d.to_event(1).log_prob(x).shape == (2, 5, 4)


def test_in_a_plate_under_predictive():
    def model(n=7):
        with pyro.plate("batch", n):
            return pyro.sample("z", GeneralizedGaussian(torch.zeros(3), 1.0, 0.7).to_event(1))

    trace = pyro.poutine.trace(model).get_trace()
    assert trace.nodes["z"]["value"].shape == (7, 3)
    assert torch.isfinite(trace.log_prob_sum())
    assert Predictive(model, num_samples=5)()["z"].shape == (5, 7, 3)


def test_errors():
    for name, arguments in {"scale": (0.0, -1.0, 1.0), "power": (0.0, 1.0, 0.0)}.items():
        with pytest.raises(ValueError, match=name):
            GeneralizedGaussian(*map(torch.tensor, arguments))
    with pytest.raises(ValueError, match="support"):
        GeneralizedGaussian(0.0, 1.0, 1.0).log_prob(torch.tensor(math.nan))
