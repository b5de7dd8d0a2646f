"""Linear-Gaussian inference over time: filter, smoother and likelihood on tensors, all of them parallel over steps.

Tensors are time-major: (T, *batch, ...), T or 1 for what is constant. What does not depend on the series has batch dims
of 1, and is computed once. Linear maps act on row vectors.
"""

from pyro_ldm.distributions.state_space.filter import Gains, Model, covariances, filter_means
from pyro_ldm.distributions.state_space.likelihood import log_likelihood
from pyro_ldm.distributions.state_space.recurrence import linear_recurrence, quadratic_recurrence
from pyro_ldm.distributions.state_space.simulate import Noise, draw_noise, simulate
from pyro_ldm.distributions.state_space.smoother import Smoothed, smooth

__all__ = [
    "Gains",
    "Model",
    "Noise",
    "Smoothed",
    "covariances",
    "draw_noise",
    "filter_means",
    "linear_recurrence",
    "log_likelihood",
    "quadratic_recurrence",
    "simulate",
    "smooth",
]
