r"""The Rauch-Tung-Striebel smoother, from h_0 on, as two recurrences backwards in time.

.. math:: G_t = (P^-_{t+1})^{-1} A_{t+1}^\top P_t, \qquad
    \bar m_t = m_t + (\bar m_{t+1} - m^-_{t+1}) G_t, \qquad
    \bar P_t = G_t^\top \bar P_{t+1} G_t + (I - A G_t)^\top P_t (I - A G_t) + G_t^\top Q G_t
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_ldm.distributions.state_space.filter import Gains, Model, precise
from pyro_ldm.distributions.state_space.recurrence import linear_recurrence, quadratic_recurrence
from pyro_ldm.distributions.state_space.small import inverse_and_log_det, rows, symmetric, transpose


class Smoothed(NamedTuple):
    r"""Moments of the states h_0 to h_T given all observations.

    Attributes:
        loc: Means (T + 1, \*batch, S).
        covariance: Covariances (T + 1, \*batch, S, S), batch dims of 1 where shared.
        pull: Means of the process noises times their precision, :math:`\bar w_t Q_t^{-1}` (T, \*batch, S).
        tie: Covariance of h_{t-1} with w_t, times that precision (T, \*batch, S, S).
        information: What the observations tell of w_t, :math:`Q_t^{-1} - Q_t^{-1} \mathrm{Cov}(w_t) Q_t^{-1}`
            (T, \*batch, S, S). Both, and the pull, would drown in rounding as differences of states' moments.
    """

    loc: Tensor
    covariance: Tensor
    pull: Tensor
    tie: Tensor
    information: Tensor


def smooth(model: Model, gains: Gains, filtered: Tensor, predicted: Tensor) -> Smoothed:
    r"""Smooth a filter's output.

    Args:
        model: The model.
        gains: Of :func:`~pyro_ldm.distributions.state_space.covariances`.
        filtered: Means m (T, \*batch, S).
        predicted: Means m^- (T, \*batch, S).
    """
    a, q = precise(model.transition), precise(model.transition_noise)
    before = torch.cat([precise(model.initial_noise).expand_as(gains.filtered[0]).unsqueeze(0), gains.filtered[:-1]])
    precision = inverse_and_log_det(gains.predicted)[0]
    gain = precision @ transpose(a) @ before
    kept = torch.eye(a.shape[-1], dtype=a.dtype, device=a.device) - a @ gain
    noise = symmetric(transpose(kept) @ before @ kept) + symmetric(transpose(gain) @ q @ gain)
    backwards = quadratic_recurrence(gain.flip(0), noise.flip(0), gains.filtered[-1]).flip(0)
    covariance = torch.cat([backwards, gains.filtered[-1:]])
    information = precision @ (gains.predicted - covariance[1:]) @ precision
    gain, pulling = gain.to(filtered.dtype), precision.to(filtered.dtype)
    start = model.initial.to(filtered.dtype).expand_as(filtered[:1])
    inputs = torch.cat([start, filtered[:-1]]) - rows(predicted, gain)
    loc = linear_recurrence(gain.flip(0), inputs.flip(0), filtered[-1]).flip(0)
    loc = torch.cat([loc, filtered[-1:]])
    return Smoothed(loc, covariance, rows(loc[1:] - predicted, pulling), -before @ a @ information, information)
