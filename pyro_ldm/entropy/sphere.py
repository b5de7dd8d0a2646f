r"""The unit sphere of any dimension: areas, caps, and the constant of the von Mises-Fisher density.

.. math:: S^{D-1} = \{ z \in \mathbb R^D : \|z\| = 1 \}, \qquad
    C_D(\kappa) = \frac{\kappa^{D/2-1}}{(2\pi)^{D/2} I_{D/2-1}(\kappa)}

Densities are with respect to surface measure. Everything is computed in float64 and returned in the input's dtype.
"""

import math
from fractions import Fraction
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

# With this many terms the relative error of the expansion of I_nu is below 1e-13 at this order and above.
_MIN_ORDER = 16
_NUM_TERMS = 12


def log_sphere_area(dim: int) -> float:
    r"""Log surface area of the unit sphere in :math:`\mathbb R^D`, :math:`\log 2 \pi^{D/2} / \Gamma(D/2)`.

    Example:
        >>> round(math.exp(log_sphere_area(3)) / math.pi, 6)   # 4 pi
        4.0
    """
    return math.log(2) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)


def log_ball_volume(dim: int) -> float:
    r"""Log volume of the unit ball in :math:`\mathbb R^D`, :math:`\log \pi^{D/2} / \Gamma(D/2 + 1)`.

    Example:
        >>> round(math.exp(log_ball_volume(3)) / math.pi, 6)   # 4 pi / 3
        1.333333
    """
    return 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim + 1)


def log_cap_area(dim: int, angle: Tensor) -> Tensor:
    r"""Log surface area of the spherical cap of polar angle :math:`\theta`, the points within it of a pole.

    .. math:: \log \left( |S^{D-2}| \int_0^\theta \sin^{D-2} t \, dt \right)

    Args:
        dim: D, of the space around the sphere.
        angle: Polar angle in (0, pi), radians. At 0 and pi themselves value and gradient stay finite.

    Shape:
        angle (...) to (...), nats.

    Raises:
        ValueError: If D < 2.

    Example:
        >>> hemisphere = log_cap_area(3, torch.tensor(math.pi / 2))
        >>> round(hemisphere.exp().item() / math.pi, 4)   # half of 4 pi
        2.0
    """
    _check_dim(dim)
    theta = angle.double()
    total = log_sphere_area(dim)
    # Beyond the equator the complement is the small one; the floor keeps sin and log finite at the poles.
    theta_small = torch.where(theta > math.pi / 2, math.pi - theta, theta).clamp_min(torch.finfo(theta.dtype).tiny)
    log_peak = theta_small.sin().log()
    # The integrand peaks at theta. Below this angle it has fallen by exp(-40), so nodes there would be wasted; the
    # bound is a constant for the gradient, since nothing is lost at it.
    fall = math.exp(-40 / (dim - 2)) if dim > 2 else 0.0
    start = (theta_small.detach().sin() * fall).asin()
    nodes, weights = (array.to(theta.device) for array in _gauss_legendre())
    span = theta_small - start
    points = start.unsqueeze(-1) + span.unsqueeze(-1) * nodes
    integral = (weights * ((dim - 2) * (points.sin().log() - log_peak.unsqueeze(-1))).exp()).sum(-1) * span
    log_area = log_sphere_area(dim - 1) + (dim - 2) * log_peak + integral.log()
    return torch.where(theta > math.pi / 2, total + torch.log1p(-(log_area - total).exp()), log_area).to(angle.dtype)


def log_bessel_i(order: float, x: Tensor) -> Tensor:
    r"""Log of the modified Bessel function of the first kind, :math:`\log I_\nu(x)`; differentiable in x, repeatedly.

    Olver's uniform expansion in the order, taken at an order of at least 16; from there down to :math:`\nu` by the
    stable recurrence of ratios, :math:`I_{m-1} = I_{m+1} + (2m/x) I_m`.

    Args:
        order: :math:`\nu \ge 0`, a number.
        x: Argument, >= 0. At 0 the result is -inf unless :math:`\nu = 0`.

    Shape:
        x (...) to (...).

    Raises:
        ValueError: If the order is negative.

    References:
        NIST Digital Library of Mathematical Functions, eqs. 10.41.3, 10.41.9 and 10.29.1. https://dlmf.nist.gov/10.41
        Amos (1974), Computation of modified Bessel functions and their ratios, on the direction of the recurrence.

    Example:
        >>> round(log_bessel_i(0, torch.tensor(1.0)).item(), 4)   # log 1.2660658
        0.2359
        >>> round(log_bessel_i(1023, torch.tensor(10.0, dtype=torch.float64)).item(), 3)
        -4424.801
    """
    value = _log_bessel_i_over_power(order, x.double())
    return (value + order * x.double().log() if order else value).to(x.dtype)


def von_mises_fisher_log_normalizer(dim: int, concentration: Tensor) -> Tensor:
    r"""Log of the constant of the von Mises-Fisher density, :math:`\log C_D(\kappa)`; differentiable, repeatedly.

    .. math:: \log p(z) = \log C_D(\kappa) + \kappa \, \mu^\top z, \qquad
        \frac{d}{d\kappa} \log C_D(\kappa) = -A_D(\kappa) = -\frac{I_{D/2}(\kappa)}{I_{D/2-1}(\kappa)}

    Args:
        dim: D, of the space around the sphere.
        concentration: :math:`\kappa \ge 0`. At 0 the density is uniform: minus the log area of the sphere.

    Shape:
        concentration (...) to (...), nats.

    Raises:
        ValueError: If D < 2.

    References:
        Mardia and Jupp (2000), Directional Statistics, eq. 9.3.4.

    Example:
        >>> round(von_mises_fisher_log_normalizer(3, torch.tensor(0.0)).exp().item(), 5)   # 1 / (4 pi)
        0.07958
    """
    _check_dim(dim)
    if concentration.numel() == 1 and concentration.is_cpu and not concentration.requires_grad:
        return torch.full_like(concentration, _fixed_log_normalizer(dim, float(concentration)))
    value = _log_bessel_i_over_power(0.5 * dim - 1, concentration.double())
    return (-0.5 * dim * math.log(2 * math.pi) - value).to(concentration.dtype)


def unexpanded(x: Tensor) -> Tensor:
    """The numbers that an expanded tensor repeats, once each: dims along which it does have length 1."""
    for axis, stride in enumerate(x.stride()):
        if stride == 0 and x.shape[axis] > 1:
            x = x.narrow(axis, 0, 1)
    return x


@lru_cache(maxsize=256)
def _fixed_log_normalizer(dim: int, concentration: float) -> float:
    """The same at a number, which stays the same from step to step."""
    value = _log_bessel_i_over_power(0.5 * dim - 1, torch.tensor(concentration, dtype=torch.float64))
    return -0.5 * dim * math.log(2 * math.pi) - float(value)


def _log_bessel_i_over_power(order: float, x: Tensor) -> Tensor:
    r"""Log of :math:`J_\nu(x) = x^{-\nu} I_\nu(x)`, smooth in x down to 0, where I itself vanishes."""
    if order < 0:
        raise ValueError(f"order must be >= 0, got {order}")
    steps = max(0, math.ceil(_MIN_ORDER - order))
    top = order + steps
    value = _olver(top, x)
    if steps == 0:
        return value
    ratio = (_olver(top + 1, x) - value).exp()  # J_{m+1} / J_m at m = top
    ratios = []
    for step in range(steps):
        # J_{m-1} = x^2 J_{m+1} + 2 m J_m: only positive terms, so that no digits cancel.
        ratio = 1 / (2 * (top - step) + x.square() * ratio)
        ratios.append(ratio)
    return value - torch.stack(ratios).log().sum(0)


def _olver(order: float, x: Tensor) -> Tensor:
    """Uniform expansion of log J for a large order, DLMF 10.41.3, with the powers of x taken out."""
    root = (order * order + x.square()).sqrt()
    p = order / root
    series = torch.zeros_like(x)
    for coefficient in reversed(_olver_coefficients(order)):
        series = coefficient + p * series
    return root - order * (order + root).log() - 0.5 * (2 * math.pi * root).log() + torch.log1p(p * series)


@lru_cache(maxsize=256)
def _olver_coefficients(order: float) -> tuple[float, ...]:
    r"""Coefficients of p, p^2, ... in :math:`\sum_{k \ge 1} U_k(p) / \nu^k`: one polynomial, as the order is known."""
    total = [0.0] * (3 * _NUM_TERMS + 1)
    for k, polynomial in enumerate(_olver_polynomials(), start=1):
        for power, coefficient in enumerate(polynomial):
            total[power] += float(coefficient) / order**k
    return tuple(total[1:])


@lru_cache(maxsize=1)
def _olver_polynomials() -> list[list[Fraction]]:
    r"""The polynomials U_1, U_2, ..., by their recurrence, DLMF 10.41.9:

    :math:`U_{k+1} = \tfrac12 p^2 (1 - p^2) U_k' + \tfrac18 \int_0^p (1 - 5 t^2) U_k \, dt`.
    """
    polynomials = [[Fraction(1)]]
    for _ in range(_NUM_TERMS):
        new = [Fraction(0)] * (len(polynomials[-1]) + 3)
        for power, c in enumerate(polynomials[-1]):
            new[power + 1] += c * power / 2 + c / (8 * (power + 1))
            new[power + 3] -= c * power / 2 + 5 * c / (8 * (power + 3))
        polynomials.append(new)
    return polynomials[1:]


@lru_cache(maxsize=1)
def _gauss_legendre() -> tuple[Tensor, Tensor]:
    """Nodes and weights of 64-point quadrature on [0, 1]."""
    nodes, weights = np.polynomial.legendre.leggauss(64)
    return torch.as_tensor((nodes + 1) / 2), torch.as_tensor(weights / 2)


def _check_dim(dim: int) -> None:
    if dim < 2:
        raise ValueError(f"a sphere needs dim >= 2, got {dim}")
