"""Weights of a mixture of priors."""

import numpy as np


def stacking_weights(pointwise: np.ndarray, *, steps: int = 2000) -> np.ndarray:
    r"""Weights of the mixture of the compared priors that predicts left-out latents best.

    .. math:: \max_w \sum_i \log \sum_k w_k \, p_k(z_i \mid z_{-i}), \qquad w_k \ge 0, \; \sum_k w_k = 1

    By expectation maximisation, which only ever improves this concave objective.

    Args:
        pointwise: Log-densities, (N, K), nats.
        steps: Of expectation maximisation.

    Shape:
        To (K,).

    References:
        Yao et al. (2018), Using stacking to average Bayesian predictive distributions, https://arxiv.org/abs/1704.02030.
    """
    density = np.exp(pointwise - pointwise.max(axis=1, keepdims=True))
    weights = np.full(density.shape[1], 1 / density.shape[1])
    for _ in range(steps):
        joint = density * weights
        weights = (joint / joint.sum(axis=1, keepdims=True)).mean(axis=0)
    return weights
