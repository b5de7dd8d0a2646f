r"""The states of all steps given the observations: one Gaussian whose precision matrix is block tridiagonal.

.. math:: \Lambda_{t,t} = Q_t^{-1} + A_{t+1} Q_{t+1}^{-1} A_{t+1}^\top + C_t R_t^{-1} C_t^\top, \qquad
    \Lambda_{t,t+1} = -A_{t+1} Q_{t+1}^{-1}

.. math:: -2 \log p(y) = \sum_t \big( \hat w_t Q_t^{-1} \hat w_t^\top + \hat v_t R_t^{-1} \hat v_t^\top
    + \log |2 \pi R_t| + \log |Q_t| \big) + \dots + \log |\Lambda|

with the noises at the states' means; of :math:`h_0`, :math:`P_0` takes the place of Q.
"""

import math

import torch
from torch import Tensor

from pyro_ldm.distributions.state_space.filter import Model, precise
from pyro_ldm.distributions.state_space.reduction import Chain, solve
from pyro_ldm.distributions.state_space.small import inverse_and_log_det, quadratic_form, rows, transpose
from pyro_ldm.distributions.state_space.smoother import Smoothed


def path(model: Model, y: Tensor) -> tuple[Tensor, Smoothed] | None:
    r"""The log-likelihood of series (\*batch), nats, and the smoothed states.

    Args:
        model: The model.
        y: Observations (T, \*batch, L).

    Returns:
        ``None`` where there is no such precision matrix, or one that loses digits: where a noise is none, or next to
        none. There the filter is right.
    """
    a, q, c, r, p = (precise(t) for t in (model.transition, model.transition_noise, *model[3:5], model.initial_noise))
    z, drift, initial = precise(y), precise(model.drift), precise(model.initial)
    num_steps, states = len(z), a.shape[-1]
    (q, log_q), (r, log_r), (p, log_p) = (inverse_and_log_det(t) for t in (q, r, p.unsqueeze(0)))
    forward, seen = a @ q, c @ r
    batch = torch.broadcast_shapes(*(t.shape[1:-2] for t in (forward, seen, p)))
    steps = (num_steps, *batch, states, states)
    diagonal = torch.cat([p.expand(1, *steps[1:]), (q + seen @ transpose(c)).expand(steps)])
    diagonal[:-1] += forward @ transpose(a)
    information = torch.cat([rows(initial.expand(1, *z.shape[1:-1], states), p), rows(z, transpose(seen))])
    information[1:] += rows(drift, q)
    information[:-1] -= rows(drift, transpose(forward))
    solved = solve(Chain(diagonal, (-forward).expand(steps), information))
    if solved is None:
        return None
    loc, covariance, lag, log_det = solved
    noise = loc[1:] - rows(loc[:-1], a) - drift
    error, pull = z - rows(loc[1:], c), rows(noise, q)
    form = quadratic_form(loc[:1] - initial, p)[0]
    form = form + (noise * pull).sum((0, -1)) + (error * rows(error, r)).sum((0, -1))
    log_det = log_det + log_p[0] + num_steps * (log_q.mean(0) + log_r.mean(0) + z.shape[-1] * math.log(2 * math.pi))
    return (-0.5 * (form + log_det)).to(y.dtype), Smoothed(loc.to(y.dtype), covariance, lag, pull.to(y.dtype))
