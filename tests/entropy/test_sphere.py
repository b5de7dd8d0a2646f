import math

import mpmath
import numpy as np
import pytest
import scipy.special
import torch

from pyro_ldm.entropy.sphere import (
    log_ball_volume,
    log_bessel_i,
    log_cap_area,
    log_sphere_area,
    von_mises_fisher_log_normalizer,
)

DIMS = [2, 3, 4, 8, 33, 34, 64, 512, 2048]
CONCENTRATIONS = [1e-3, 0.1, 1.0, 7.0, 50.0, 1e3, 1e5]
CAP_DIMS = [2, 3, 8, 64, 512]
ANGLES = [1e-6, 0.01, 0.7, 1.5, math.pi / 2, math.pi / 2 + 1e-9, 2.0, 3.1]


@pytest.fixture(autouse=True)
def precision():
    with mpmath.workdps(30):
        yield


def exact_log_normalizer(dim, concentration):
    order, kappa = mpmath.mpf(dim) / 2 - 1, mpmath.mpf(concentration)
    log_bessel = mpmath.log(mpmath.besseli(order, kappa))
    return order * mpmath.log(kappa) - (order + 1) * mpmath.log(2 * mpmath.pi) - log_bessel


def exact_log_cap_area(dim, angle):
    """By the regularised incomplete beta function (Li, 2011), where the code under test integrates."""
    theta = mpmath.mpf(angle)
    half = mpmath.mpf(1) / 2
    upper = mpmath.sin(theta) ** 2
    fraction = half * mpmath.betainc((dim - 1) * half, half, 0, upper, regularized=True)
    fraction = fraction if theta <= mpmath.pi / 2 else 1 - fraction
    return mpmath.log(fraction * 2 * mpmath.pi ** (dim * half) / mpmath.gamma(dim * half))


@pytest.mark.parametrize("dim", DIMS)
def test_log_normalizer_and_its_gradient_equal_mpmath(dim):
    kappa = torch.tensor(CONCENTRATIONS, requires_grad=True)
    value = von_mises_fisher_log_normalizer(dim, kappa)
    (gradient,) = torch.autograd.grad(value.sum(), kappa)
    expected = [float(exact_log_normalizer(dim, k)) for k in CONCENTRATIONS]
    ratio = [float(mpmath.besseli(dim / 2, k) / mpmath.besseli(dim / 2 - 1, k)) for k in CONCENTRATIONS]
    torch.testing.assert_close(value, torch.tensor(expected), rtol=1e-12, atol=1e-13)
    torch.testing.assert_close(gradient, -torch.tensor(ratio), rtol=1e-12, atol=0)


@pytest.mark.parametrize("order", [0, 0.5, 1, 3.5, 15.5, 16, 31])
def test_log_bessel_i_equals_scipy(order):
    x = np.logspace(-1, 5, 25)
    expected = np.log(scipy.special.ive(order, x)) + x
    # Where I is next to 1 its logarithm has lost digits: hence an absolute tolerance as well.
    np.testing.assert_allclose(log_bessel_i(order, torch.tensor(x)), expected, rtol=1e-11, atol=1e-12)


def test_log_bessel_i_at_zero():
    assert log_bessel_i(0, torch.tensor(0.0)).item() == pytest.approx(0, abs=1e-14)
    assert log_bessel_i(2, torch.tensor(0.0)).item() == -math.inf


@pytest.mark.parametrize("dim", [2, 5, 700])
def test_log_normalizer_at_zero_is_uniform(dim):
    kappa = torch.tensor(0.0, requires_grad=True)
    value = von_mises_fisher_log_normalizer(dim, kappa)
    (first,) = torch.autograd.grad(value, kappa, create_graph=True)
    (second,) = torch.autograd.grad(first, kappa)
    assert value.item() == pytest.approx(-log_sphere_area(dim), rel=1e-12)
    assert first.item() == 0
    assert second.item() == pytest.approx(-1 / dim, rel=1e-10)  # A_D(kappa) = kappa / D + O(kappa^3)


@pytest.mark.parametrize("order", [0.0, 6.5, 100.0])
def test_log_bessel_i_has_derivatives_of_any_order(order):
    x = torch.tensor([0.3, 4.0, 60.0], requires_grad=True)
    assert torch.autograd.gradcheck(lambda x: log_bessel_i(order, x), x)
    assert torch.autograd.gradgradcheck(lambda x: log_bessel_i(order, x), x)


def test_float32_keeps_its_dtype_and_digits():
    kappa = torch.tensor(CONCENTRATIONS)
    for dim in (2, 512):
        single = von_mises_fisher_log_normalizer(dim, kappa.float())
        assert single.dtype == torch.float32
        torch.testing.assert_close(single.double(), von_mises_fisher_log_normalizer(dim, kappa), rtol=2e-7, atol=0)
    assert log_cap_area(8, torch.tensor([0.1], dtype=torch.float32)).dtype == torch.float32


def test_areas_and_volumes():
    areas = [2 * math.pi, 4 * math.pi, 2 * math.pi**2]  # circle, sphere, glome
    volumes = [math.pi, 4 * math.pi / 3, math.pi**2 / 2]
    assert [math.exp(log_sphere_area(d)) for d in (2, 3, 4)] == pytest.approx(areas)
    assert [math.exp(log_ball_volume(d)) for d in (2, 3, 4)] == pytest.approx(volumes)
    assert math.exp(log_sphere_area(1)) == pytest.approx(2)


@pytest.mark.parametrize("dim", CAP_DIMS)
def test_log_cap_area_and_its_gradient_equal_mpmath(dim):
    angle = torch.tensor(ANGLES, requires_grad=True)
    value = log_cap_area(dim, angle)
    (gradient,) = torch.autograd.grad(value.sum(), angle)
    expected = torch.tensor([float(exact_log_cap_area(dim, a)) for a in ANGLES])
    torch.testing.assert_close(value, expected, rtol=1e-11, atol=1e-12)
    # The area grows by the circumference of its rim, a sphere of radius sin(angle) in one dimension less.
    log_rim = log_sphere_area(dim - 1) + (dim - 2) * angle.detach().sin().log()
    torch.testing.assert_close(gradient, (log_rim - expected).exp(), rtol=1e-10, atol=1e-300)


def test_log_cap_area_of_the_ordinary_sphere_and_the_circle():
    angle = torch.tensor(ANGLES)
    torch.testing.assert_close(log_cap_area(3, angle), (4 * math.pi * (angle / 2).sin() ** 2).log())
    torch.testing.assert_close(log_cap_area(2, angle), (2 * angle).log())


@pytest.mark.parametrize("dim", CAP_DIMS)
def test_log_cap_area_gradcheck(dim):
    angle = torch.tensor([0.2, 1.2, 1.57, 1.8], requires_grad=True)
    assert torch.autograd.gradcheck(lambda a: log_cap_area(dim, a), angle)
    assert torch.autograd.gradgradcheck(lambda a: log_cap_area(dim, a), angle)


@pytest.mark.parametrize("angle", [0.0, math.pi])
def test_log_cap_area_is_finite_at_the_poles(angle):
    angle = torch.tensor(angle, requires_grad=True)
    value = log_cap_area(512, angle)
    value.backward()
    assert torch.isfinite(value)
    assert torch.isfinite(angle.grad)


def test_errors():
    with pytest.raises(ValueError, match="dim >= 2"):
        von_mises_fisher_log_normalizer(1, torch.tensor(1.0))
    with pytest.raises(ValueError, match="dim >= 2"):
        log_cap_area(1, torch.tensor(1.0))
    with pytest.raises(ValueError, match="order must be >= 0"):
        log_bessel_i(-0.5, torch.tensor(1.0))
