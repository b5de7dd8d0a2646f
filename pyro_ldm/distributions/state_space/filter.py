r"""The Kalman filter: covariances and gains first, which no datum enters, then the means of each series.

.. math:: P^-_t = A_t^\top P_{t-1} A_t + Q_t, \qquad S_t = C_t^\top P^-_t C_t + R_t, \qquad
    K_t = S_t^{-1} C_t^\top P^-_t

.. math:: m_t = m^-_t + (y_t - m^-_t C_t) K_t, \qquad
    P_t = (I - C_t K_t)^\top P^-_t (I - C_t K_t) + K_t^\top R_t K_t
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_ldm.distributions.state_space.recurrence import linear_recurrence
from pyro_ldm.distributions.state_space.scan import Elements, associative_scan, step_by_step
from pyro_ldm.distributions.state_space.small import inverse, inverse_and_log_det, rows, symmetric, transpose


class Model(NamedTuple):
    r"""Parameters of :math:`h_t = h_{t-1} A_t + b_t + w_t` and :math:`y_t = h_t C_t + v_t`, time-major.

    Attributes:
        transition: A (T or 1, \*batch, S, S).
        drift: b (T or 1, \*batch, S).
        transition_noise: Covariance Q of w (T or 1, \*batch, S, S).
        observation: C (T or 1, \*batch, S, L).
        observation_noise: Covariance R of v (T or 1, \*batch, L, L).
        initial: Mean of h_0 (\*batch, S).
        initial_noise: Covariance of h_0 (\*batch, S, S).
    """

    transition: Tensor
    drift: Tensor
    transition_noise: Tensor
    observation: Tensor
    observation_noise: Tensor
    initial: Tensor
    initial_noise: Tensor


class Gains(NamedTuple):
    r"""What a filter knows before it sees data. Batch dims of 1 where the series share it.

    Attributes:
        predicted: P^- (T, \*batch, S, S).
        filtered: P (T, \*batch, S, S).
        gain: K (T, \*batch, L, S).
        precision: Inverse of the innovations' covariance (T, \*batch, L, L).
        log_det: Log-determinant of that covariance (T, \*batch).
    """

    predicted: Tensor
    filtered: Tensor
    gain: Tensor
    precision: Tensor
    log_det: Tensor


def covariances(model: Model, num_steps: int) -> Gains:
    """Covariances and gains of all steps, in float64, by the parallel scan of Särkkä and García-Fernández.

    Or by a loop over steps, where that is faster.

    References:
        Särkkä and García-Fernández (2021), Temporal parallelization of Bayesian smoothers, eqs. 10-15.
        https://arxiv.org/abs/1905.13002
    """
    a, q, c, r, initial = (
        precise(t)
        for t in (
            model.transition,
            model.transition_noise,
            model.observation,
            model.observation_noise,
            model.initial_noise,
        )
    )
    batch = torch.broadcast_shapes(*(t.shape[1:-2] for t in (a, q, c, r)), initial.shape[:-2])
    if step_by_step(torch.Size((num_steps, *batch, *a.shape[-2:])), a.device):
        return _loop(a, q, c, r, initial.expand(*batch, *a.shape[-2:]), num_steps)
    first = symmetric(transpose(a[:1]) @ initial.unsqueeze(0) @ a[:1]) + q[:1]
    elements = _elements(a, q, c, r, first, num_steps)
    filtered = associative_scan(_combine, elements)[1]
    later = symmetric(transpose(a[1:] if len(a) > 1 else a) @ filtered[:-1] @ (a[1:] if len(a) > 1 else a))
    predicted = torch.cat([first.expand_as(filtered[:1]), later + (q[1:] if len(q) > 1 else q)])
    gain, precision, log_det, filtered = _update(predicted, c, r)
    return Gains(predicted, filtered, gain, precision, log_det)


def _loop(a: Tensor, q: Tensor, c: Tensor, r: Tensor, covariance: Tensor, num_steps: int) -> Gains:
    """The same, one step after the other."""
    steps = []
    for t in range(num_steps):
        a_t, q_t, c_t, r_t = (m[t] if len(m) > 1 else m[0] for m in (a, q, c, r))
        predicted = symmetric(transpose(a_t) @ covariance @ a_t) + q_t
        gain, precision, log_det, covariance = _update(predicted, c_t, r_t)
        steps.append((predicted, covariance, gain, precision, log_det))
    return Gains(*(torch.stack(parts) for parts in zip(*steps, strict=True)))


def precise(tensor: Tensor) -> Tensor:
    """In float64, where the device has it: covariances are few, and lose digits in differences."""
    return tensor if tensor.device.type == "mps" else tensor.double()


def _update(predicted: Tensor, c: Tensor, r: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Gain, innovations' precision and log-determinant, and the covariance after the update, in Joseph's form."""
    cross = transpose(c) @ predicted
    precision, log_det = inverse_and_log_det(symmetric(cross @ c) + r)
    gain = precision @ cross
    kept = torch.eye(predicted.shape[-1], dtype=predicted.dtype, device=predicted.device) - c @ gain
    filtered = symmetric(transpose(kept) @ predicted @ kept) + symmetric(transpose(gain) @ r @ gain)
    return gain, precision, log_det, filtered


def _elements(a: Tensor, q: Tensor, c: Tensor, r: Tensor, first: Tensor, num_steps: int) -> Elements:
    """Each step as a map from the state before it: closed-loop transition, covariance, information."""
    gain, precision, _, covariance = _update(q, c, r)
    transition = a - a @ c @ gain
    seen = a @ c
    information = symmetric(seen @ precision @ transpose(seen))
    _, _, _, first_covariance = _update(first, c[:1], r[:1])
    batch = torch.broadcast_shapes(*(t.shape[1:-2] for t in (transition, covariance, first_covariance)))
    shape = (num_steps, *batch, *a.shape[-2:])
    transition, covariance, information = (t.expand(shape) for t in (transition, covariance, information))
    # The first step comes from a known distribution, and passes nothing of the state before it on.
    start = first_covariance.expand(1, *shape[1:])
    return (
        torch.cat([torch.zeros_like(start), transition[1:]]),
        torch.cat([start, covariance[1:]]),
        information,
    )


def _combine(left: Elements, right: Elements) -> Elements:
    (a, c, j), (b, d, k) = left, right
    solve = inverse(torch.eye(a.shape[-1], dtype=a.dtype, device=a.device) + k @ c)
    through = a @ solve
    return through @ b, transpose(b) @ (c @ solve @ b) + d, through @ (k @ transpose(a)) + j


def filter_means(model: Model, gains: Gains, y: Tensor) -> tuple[Tensor, Tensor]:
    r"""Means of the state, after and before each observation.

    Args:
        model: The model.
        gains: Of :func:`covariances`.
        y: Observations (T, \*batch, L).

    Returns:
        m and m^- (T, \*batch, S).
    """
    gain, observation = gains.gain.to(y.dtype), model.observation.to(y.dtype)
    transition, drift = model.transition.to(y.dtype), model.drift.to(y.dtype)
    kept = torch.eye(gain.shape[-1], dtype=y.dtype, device=y.device) - observation @ gain
    # The drift is small: many steps or many series, seldom both.
    inputs = rows(y, gain) + rows(*_same_steps(drift, kept))
    initial = model.initial.to(y.dtype).expand(*y.shape[1:-1], -1)
    filtered = linear_recurrence(transition @ kept, inputs, initial)
    before = torch.cat([initial.unsqueeze(0), filtered[:-1]])
    return filtered, rows(before, transition) + drift


def _same_steps(vectors: Tensor, matrix: Tensor) -> tuple[Tensor, Tensor]:
    return vectors.expand(len(matrix), *vectors.shape[1:]), matrix
