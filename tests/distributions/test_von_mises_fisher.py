import math

import pyro
import pyro.distributions as dist
import pytest
import scipy.stats
import torch
from pyro.infer import Predictive
from torch.nn.functional import normalize

from pyro_ldm.distributions import VonMisesFisher


def axis(dim, **kwargs):
    return torch.eye(dim, **kwargs)[-1]


@pytest.mark.parametrize(("dim", "concentration"), [(2, 0.5), (3, 20.0), (16, 3.0), (64, 300.0)])
def test_log_prob_and_entropy_equal_scipy(dim, concentration):
    loc, z = normalize(torch.randn(2, dim), dim=-1)
    d = VonMisesFisher(loc, concentration)
    reference = scipy.stats.vonmises_fisher(loc.numpy(), concentration)
    assert d.log_prob(z).item() == pytest.approx(float(reference.logpdf(z.numpy())), rel=1e-9)
    assert d.entropy().item() == pytest.approx(float(reference.entropy()), rel=1e-9)


def test_circle_equals_von_mises():
    angles, center = torch.linspace(-3, 3, 9), 0.7
    loc = torch.tensor([math.cos(center), math.sin(center)])
    z = torch.stack([angles.cos(), angles.sin()], -1)
    expected = dist.VonMises(center, 4.0).log_prob(angles)
    # The reference evaluates the Bessel function by polynomials of seven digits.
    torch.testing.assert_close(VonMisesFisher(loc, 4.0).log_prob(z), expected, rtol=0, atol=1e-6)


@pytest.mark.parametrize("concentration", [0.0, 3.0, 1e5])
def test_density_integrates_to_one(concentration):
    cosine = 1 - torch.logspace(-12, math.log10(2), 4001)
    z = torch.stack([(1 - cosine**2).clamp_min(0).sqrt(), 0 * cosine, cosine], -1)
    density = VonMisesFisher(axis(3), concentration, validate_args=False).log_prob(z).exp()
    mass = 2 * math.pi * torch.trapezoid(density, 1 - cosine)
    assert mass.item() == pytest.approx(1, abs=1e-4)


# From the whole sphere to a tiny cap.
@pytest.mark.parametrize(
    ("dim", "concentration"), [(2, 0.0), (2, 3.0), (2, 1e5), (3, 1.0), (10, 0.0), (10, 30.0), (300, 1e5), (2048, 500.0)]
)
def test_samples_have_the_right_angle_and_are_symmetric_around_loc(dim, concentration):
    loc = normalize(torch.randn(dim), dim=-1)
    z = VonMisesFisher(loc, concentration).sample((1500,))
    assert VonMisesFisher.support.check(z).all()
    angle = 2 * (0.5 * (z - loc).norm(dim=-1)).asin()  # no cancellation where it is small
    # Its law, independently: sin(angle)^(D - 2) exp(kappa cos(angle)), integrated on a grid.
    grid = torch.logspace(-8, math.log10(math.pi) - 1e-12, 100_001)
    log_density = (dim - 2) * grid.sin().log() - 2 * concentration * (grid / 2).sin() ** 2
    cdf = torch.cumulative_trapezoid((log_density - log_density.max()).exp(), grid)
    cdf = torch.cat([torch.zeros(1), cdf / cdf[-1]])
    uniform = cdf[torch.searchsorted(grid, angle).clamp_max(len(grid) - 1)]
    assert scipy.stats.kstest(uniform.numpy(), "uniform").pvalue > 1e-3
    tangent = normalize(z - (z @ loc).unsqueeze(-1) * loc, dim=-1)
    assert (tangent.mean(0).square().sum() * len(z)).item() < 1 + 4 * math.sqrt(2 / (dim - 1)) + 10 / dim


@pytest.mark.parametrize("first", [1.0, -1.0])
def test_samples_at_the_axis_of_reflection(first):
    loc = torch.tensor([first, 0.0, 0.0])
    assert (VonMisesFisher(loc, 1e4).sample((100,)) @ loc > 0.99).all()


def test_mean_and_entropy_equal_those_of_samples():
    d = VonMisesFisher(axis(5), 4.0)
    z = d.sample((20_000,))
    torch.testing.assert_close(z.mean(0), d.mean, rtol=0, atol=0.02)
    assert -d.log_prob(z).mean().item() == pytest.approx(d.entropy().item(), abs=0.03)


def test_limits():
    uniform = VonMisesFisher(axis(3), 0.0)
    assert uniform.mean.tolist() == [0, 0, 0]
    assert uniform.entropy().item() == pytest.approx(math.log(4 * math.pi))
    # Concentrated, the sphere is a plane and the density Gaussian, up to terms of 1 / kappa.
    narrow = VonMisesFisher(axis(3), 1e5)
    assert narrow.entropy().item() == pytest.approx(math.log(2 * math.pi * math.e / 1e5), abs=1e-5)
    # The langevin function: coth kappa - 1 / kappa.
    assert VonMisesFisher(axis(3), 2.0).mean_resultant_length.item() == pytest.approx(1 / math.tanh(2) - 0.5)


def test_gradients_of_log_prob():
    loc, z = normalize(torch.randn(4, 6), dim=-1), normalize(torch.randn(4, 6), dim=-1)
    kappa = torch.tensor([0.1, 1.0, 10.0, 1000.0])
    inputs = [t.requires_grad_() for t in (loc, kappa, z)]

    def log_prob(loc, kappa, z):
        return VonMisesFisher(loc, kappa, validate_args=False).log_prob(z)

    assert torch.autograd.gradcheck(log_prob, inputs)
    assert torch.autograd.gradgradcheck(log_prob, inputs)


def test_float32_keeps_digits_at_a_large_concentration():
    z = normalize(torch.randn(20, 128) * 0.003 + axis(128), dim=-1)
    exact = VonMisesFisher(axis(128), 1e5).log_prob(z)
    single = VonMisesFisher(axis(128, dtype=torch.float32), 1e5).log_prob(z.float())
    assert single.dtype == torch.float32
    torch.testing.assert_close(single.double(), exact, rtol=0, atol=1e-3)
    assert VonMisesFisher(axis(128, dtype=torch.float32), 1e5).sample((3,)).dtype == torch.float32


def test_shapes_broadcast_and_expand():
    loc = normalize(torch.randn(4, 1, 6), dim=-1)
    d = VonMisesFisher(loc, torch.ones(3))
    assert (d.batch_shape, d.event_shape) == ((4, 3), (6,))
    assert d.sample((2,)).shape == (2, 4, 3, 6)
    assert d.log_prob(d.sample()).shape == (4, 3)
    assert d.log_prob(d.sample((2,))).shape == (2, 4, 3)
    assert (d.mean.shape, d.entropy().shape) == ((4, 3, 6), (4, 3))
    wide = d.expand((5, 4, 3))
    z = wide.sample()
    assert (z.shape, wide.mean.shape, wide.entropy().shape) == ((5, 4, 3, 6), (5, 4, 3, 6), (5, 4, 3))
    torch.testing.assert_close(wide.log_prob(z), d.log_prob(z))


def test_in_a_plate_under_predictive():
    def model(n=7):
        loc = pyro.sample("loc", VonMisesFisher(axis(3), 0.0))
        with pyro.plate("batch", n):
            return pyro.sample("z", VonMisesFisher(loc, torch.tensor(50.0)))

    trace = pyro.poutine.trace(model).get_trace()
    assert trace.nodes["z"]["value"].shape == (7, 3)
    assert torch.isfinite(trace.log_prob_sum())
    for parallel in (False, True):
        samples = Predictive(model, num_samples=11, parallel=parallel)()
        assert samples["z"].shape == (11, 7, 3)
        loc = samples["loc"].reshape(11, 1, 3)
        assert ((samples["z"] * loc).sum(-1) > 0.5).all()


def test_errors():
    with pytest.raises(ValueError, match="normalize"):
        VonMisesFisher(torch.tensor([1.0, 1.0]), 1.0)
    with pytest.raises(ValueError, match="concentration"):
        VonMisesFisher(axis(3), -1.0)
    with pytest.raises(ValueError, match="D >= 2"):
        VonMisesFisher(torch.ones(1), 1.0)
    with pytest.raises(ValueError, match="support"):
        VonMisesFisher(axis(3), 1.0).log_prob(torch.ones(3))


def test_an_unvalidated_nan_ends_in_nan_and_not_in_a_loop():
    z = VonMisesFisher(axis(3), torch.tensor(math.nan), validate_args=False).sample()
    assert torch.isnan(z).any()
