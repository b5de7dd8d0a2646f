r"""The log-likelihood of series, and its derivative by Fisher's identity.

.. math:: \log p(y) = \sum_t \log \mathcal N(y_t;\, m^-_t C_t,\, S_t), \qquad
    \nabla \log p(y) = \mathbb{E}_{h \mid y} \nabla \log p(h, y)

The expectation is over the smoother's moments, so that no graph of the filter is kept: memory is linear in T. Only for
a second derivative (``create_graph=True``, as a Hessian takes) filter and smoother run again, with a graph.
"""

import math
from typing import Any

import torch
from torch import Tensor

from pyro_ldm.distributions.state_space.filter import Gains, Model, covariances, filter_means, precise
from pyro_ldm.distributions.state_space.small import inverse_and_log_det, quadratic_form, rows, transpose
from pyro_ldm.distributions.state_space.smoother import Smoothed, smooth


def log_likelihood(model: Model, y: Tensor) -> Tensor:
    r"""Log-density of each series.

    Args:
        model: The model.
        y: Observations (T, \*batch, L).

    Returns:
        (\*batch), nats.

    References:
        Fisher's identity: Cappé, Moulines and Rydén (2005), Inference in hidden Markov models, section 10.1.6.
    """
    return _LogLikelihood.apply(y, *model)


class _LogLikelihood(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, y: Tensor, *parameters: Tensor) -> Tensor:
        model = Model(*parameters)
        gains = covariances(model, len(y))
        filtered, predicted = filter_means(model, gains, y)
        ctx.save_for_backward(y, *parameters, *gains, filtered, predicted)
        error = y - rows(predicted, model.observation.to(y.dtype))
        # Where more is observed than there are states, the precision's entries are large and cancel.
        form = quadratic_form(precise(error), gains.precision)
        constant = gains.log_det + y.shape[-1] * math.log(2 * math.pi)
        return -0.5 * (form + constant).sum(0).to(y.dtype)

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor):
        size = len(Model._fields) + 1
        inputs, (*gains, filtered, predicted) = ctx.saved_tensors[:size], ctx.saved_tensors[size:]
        wanted = ctx.needs_input_grad
        again = torch.is_grad_enabled()  # what comes out is to be differentiated in turn
        moments, model = Gains(*gains), Model(*inputs[1:])
        if again:
            moments = covariances(model, len(inputs[0]))
            filtered, predicted = filter_means(model, moments, inputs[0])
        smoothed = smooth(model, moments, filtered, predicted)
        # Of these alone the first derivative is taken; the moments' own is that of the second.
        leaves = [t.view_as(t) if again else t.detach().requires_grad_(w) for t, w in zip(inputs, wanted, strict=True)]
        with torch.enable_grad():
            expected = _expected_log_joint(Model(*leaves[1:]), leaves[0], smoothed)
        by = [t for t, w in zip(leaves, wanted, strict=True) if w]
        found = iter(torch.autograd.grad(expected, by, gradients[0], create_graph=again))
        return tuple(next(found) if w else None for w in wanted)


def _expected_log_joint(model: Model, y: Tensor, h: Smoothed) -> Tensor:
    """E log p(h, y) of each series, up to a constant."""
    a, q, c, r, p = (precise(t) for t in (model.transition, model.transition_noise, *model[3:5], model.initial_noise))
    before, after = h.covariance[:-1], h.covariance[1:]
    cross = transpose(h.lag) @ a
    states = h.loc[1:]
    step = states - rows(h.loc[:-1], a.to(y.dtype)) - model.drift
    parts = (
        (h.loc[:1] - model.initial, p.unsqueeze(0), h.covariance[:1]),
        (
            step + (h.noise - step).detach(),  # the derivative of the one, the value of the other, which rounds less
            q,
            after - cross - transpose(cross) + transpose(a) @ before @ a,
        ),
        (y - rows(states, c.to(y.dtype)), r, transpose(c) @ after @ c),
    )
    return sum((_expected_log_normal(*part) for part in parts), y.new_zeros(()))


def _expected_log_normal(error: Tensor, noise: Tensor, covariance: Tensor) -> Tensor:
    """Sum over steps of E log N of an error with this mean and covariance, up to a constant."""
    precision, log_det = inverse_and_log_det(noise)
    spread = (precision * covariance).sum((-1, -2)) + log_det
    return -0.5 * (quadratic_form(error, precision.to(error.dtype)) + spread.to(error.dtype)).sum(0)
