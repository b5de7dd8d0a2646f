r"""The log-likelihood of series, and its derivative by Fisher's identity.

.. math:: \log p(y) = \sum_t \log \mathcal N(y_t;\, m^-_t C_t,\, S_t), \qquad
    \nabla \log p(y) = \mathbb{E}_{h \mid y} \nabla \log p(h, y)

The expectation is over the smoothed states' moments, so that no graph is kept: memory is linear in T. The states come
from one sparse system where that is well conditioned and faster, else from the filter and the smoother. For a second
derivative (``create_graph=True``, as a Hessian takes) filter and smoother run again, with a graph.
"""

import math
from typing import Any

import torch
from torch import Tensor

from pyro_ldm.distributions.state_space.filter import Gains, Model, covariances, filter_means, precise
from pyro_ldm.distributions.state_space.gradient import gradient
from pyro_ldm.distributions.state_space.path import path
from pyro_ldm.distributions.state_space.small import quadratic_form, rows
from pyro_ldm.distributions.state_space.smoother import Smoothed, smooth

MANY = 2**17  # numbers observed, by measurement on two cores


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
        found = path(model, y) if _at_once(model, y) else None
        ctx.smoothed = found is not None
        if found is not None:
            ctx.save_for_backward(y, *parameters, *found[1])
            return found[0]
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
        y, *parameters = ctx.saved_tensors[: len(Model._fields) + 1]
        kept, model = ctx.saved_tensors[len(Model._fields) + 1 :], Model(*parameters)
        if torch.is_grad_enabled():  # what comes out is to be differentiated in turn
            gains = covariances(model, len(y))
            states = smooth(model, gains, *filter_means(model, gains, y))
        elif ctx.smoothed:
            states = Smoothed(*kept)
        else:
            *moments, filtered, predicted = kept
            states = smooth(model, Gains(*moments), filtered, predicted)
        return (*gradient(model, y, states, gradients[0], ctx.needs_input_grad),)


def _at_once(model: Model, y: Tensor) -> bool:
    """Whether to solve for all states at once: faster than the filter, but on a CPU for many series of one model."""
    if y.device.type != "cpu":
        return y.device.type == "cuda"  # others have no float64
    stepwise = (model.transition, model.transition_noise, model.observation, model.observation_noise)
    own = [t.shape[1:-2].numel() > 1 for t in stepwise]
    return y.numel() <= MANY or any(own) or model.initial_noise.shape[:-2].numel() > 1
