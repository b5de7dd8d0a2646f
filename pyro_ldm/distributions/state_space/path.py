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

VAGUE = 1e9  # a variance of h_0, in units of what the first step leaves of it, that drowns its precision in rounding


def path(model: Model, y: Tensor) -> tuple[Tensor, Smoothed] | None:
    r"""The log-likelihood of series (\*batch), nats, and the smoothed states.

    What is constant over steps has its part in the gradient summed over them: ``tie`` and ``information`` are of one
    step then.

    Args:
        model: The model.
        y: Observations (T, \*batch, L).

    Returns:
        ``None`` where there is no such precision matrix, or one that loses digits: where a noise is none, or next to
        none, or nearly nothing is known of h_0. There the filter is right.
    """
    a, c, z, initial = (precise(t) for t in (model.transition, model.observation, y, model.initial))
    num_steps, states = len(z), a.shape[-1]
    # What is constant is one step of it, but for the drift: rows of vectors and of matrices are to be equally many.
    drift = precise(model.drift).expand(num_steps, *model.drift.shape[1:])
    q_inverse, log_q = inverse_and_log_det(precise(model.transition_noise))
    r_inverse, log_r = inverse_and_log_det(precise(model.observation_noise))
    p_inverse, log_p = inverse_and_log_det(precise(model.initial_noise).unsqueeze(0))
    forward, seen = a @ q_inverse, c @ r_inverse
    batch = torch.broadcast_shapes(*(t.shape[1:-2] for t in (forward, seen, p_inverse)))
    steps = (num_steps, *batch, states, states)
    diagonal = torch.cat([p_inverse.expand(1, *steps[1:]), (q_inverse + seen @ transpose(c)).expand(steps)])
    diagonal[:-1] += forward @ transpose(a)
    information = torch.cat([rows(initial.expand(1, *z.shape[1:-1], states), p_inverse), rows(z, transpose(seen))])
    information[1:] += rows(drift, q_inverse)
    information[:-1] -= rows(drift, transpose(forward))
    loc, covariance, lag, log_det, good = solve(Chain(diagonal, (-forward).expand(steps), information))
    vague = diagonal[0].diagonal(dim1=-2, dim2=-1) > VAGUE * p_inverse[0].diagonal(dim1=-2, dim2=-1)
    if not bool(good & ~vague.any()):
        return None
    noise = loc[1:] - rows(loc[:-1], a) - drift
    error, pull = z - rows(loc[1:], c), rows(noise, q_inverse)
    form = quadratic_form(loc[:1] - initial, p_inverse)[0]
    form = form + (noise * pull).sum((0, -1)) + (error * rows(error, r_inverse)).sum((0, -1))
    log_det = log_det + log_p[0] + num_steps * (log_q.mean(0) + log_r.mean(0) + z.shape[-1] * math.log(2 * math.pi))
    moments = covariance[:-1], covariance[1:], lag
    constant = len(a) == len(q_inverse) == 1
    before, after, lag = (t.sum(0, keepdim=True) for t in moments) if constant else moments
    cross = transpose(lag) @ a
    spread = after - cross - transpose(cross) + transpose(a) @ before @ a
    told = (num_steps if constant else 1) * q_inverse - q_inverse @ spread @ q_inverse
    tie = (lag - before @ a) @ q_inverse
    smoothed = Smoothed(loc.to(y.dtype), covariance, pull.to(y.dtype), tie, told)
    return (-0.5 * (form + log_det)).to(y.dtype), smoothed
