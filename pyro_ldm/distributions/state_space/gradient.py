r"""The gradient of the expected log-joint, written out: a third of the calls that autograd makes of it.

.. math:: E = -\tfrac12 \sum_t \big( \mathbb{E}\, e_t N^{-1} e_t^\top + \log |N| \big), \qquad
    \partial_N E = \tfrac12 \sum_t N^{-1} \big( \mathbb{E}\, e_t^\top e_t - N \big) N^{-1}

for each of the errors: of the first state, :math:`e = h_0 - m`, of each step, :math:`e_t = h_t - h_{t-1} A_t - b_t`,
and of each observation, :math:`e_t = y_t - h_t C_t`. An error's mean times its precision is called its pull. Of the
steps the smoother gives these products itself, exact however small Q is.
"""

import torch
from torch import Tensor

from pyro_ldm.distributions.state_space.filter import Model, precise
from pyro_ldm.distributions.state_space.small import inverse, rows, transpose
from pyro_ldm.distributions.state_space.smoother import Smoothed


def gradient(model: Model, y: Tensor, h: Smoothed, weight: Tensor, wanted: tuple[bool, ...]) -> list[Tensor | None]:
    r"""Of the weighted sum of all series' E log p(h, y), over the smoothed states, by y and each parameter.

    Args:
        model: The model.
        y: Observations (T, \*batch, L).
        h: Moments of the states.
        weight: Of each series (\*batch).
        wanted: For y and each parameter, whether its gradient is.

    Returns:
        In the order of ``wanted``, ``None`` where it is not.
    """
    found: list[Tensor | None] = [None] * len(wanted)
    c, r, p = (precise(t) for t in (model.observation, model.observation_noise, model.initial_noise.unsqueeze(0)))
    by_y, by_a, by_b, by_q, by_c, by_r, by_m, by_p = range(len(wanted))
    weights = weight.unsqueeze(-1)
    if any(wanted[i] for i in (by_y, by_c, by_r)):
        precision, after = inverse(r), h.covariance[1:]
        pull = rows(y - rows(h.loc[1:], c.to(y.dtype)), precision.to(y.dtype))
        pulled = weights * pull
        after = after if len(c) > 1 or len(r) > 1 else after.sum(0, keepdim=True)
        if wanted[by_y]:
            found[by_y] = -pulled
        if wanted[by_c]:
            found[by_c] = _outer(h.loc[1:], pulled, c.shape) - _weighted(after @ c @ precision, weight, c.shape)
        if wanted[by_r]:
            found[by_r] = _by_noise(r, precision, pulled, pull, transpose(c) @ after @ c, weight)
    if any(wanted[i] for i in (by_a, by_b, by_q)):
        pulled = weights * h.pull
        if wanted[by_b]:
            found[by_b] = pulled.sum_to_size(model.drift.shape)
        if wanted[by_a]:
            shape = model.transition.shape
            found[by_a] = _outer(h.loc[:-1], pulled, shape) + _weighted(h.tie, weight, shape)
        if wanted[by_q]:
            shape = model.transition_noise.shape
            found[by_q] = 0.5 * (_outer(pulled, h.pull, shape) - _weighted(h.information, weight, shape))
    if wanted[by_m] or wanted[by_p]:
        precision = inverse(p)
        pull = rows(h.loc[:1] - model.initial.to(y.dtype), precision.to(y.dtype))
        pulled = weights * pull
        if wanted[by_m]:
            found[by_m] = pulled[0].sum_to_size(model.initial.shape)
        if wanted[by_p]:
            found[by_p] = _by_noise(p, precision, pulled, pull, h.covariance[:1], weight)[0]
    return found


def _by_noise(noise: Tensor, precision: Tensor, pulled: Tensor, pull: Tensor, spread: Tensor, weight: Tensor) -> Tensor:
    """By the errors' covariance, of their pulls, weighted and not, and their covariance about their means."""
    counts = (precise(weight) * (len(pull) // len(noise))).sum_to_size(noise.shape[1:-2])[..., None, None]
    spread = _weighted(spread, weight, noise.shape) - counts * noise
    return 0.5 * (_outer(pulled, pull, noise.shape) + precision @ spread @ precision)


def _outer(left: Tensor, right: Tensor, shape: torch.Size) -> Tensor:
    """Sum of the outer products of row vectors (T, *batch, n) and (T, *batch, m), over what ``shape`` shares."""
    if shape[1:-2].numel() > 1:
        return precise(left.unsqueeze(-1) * right.unsqueeze(-2)).sum_to_size(shape)
    # One matrix for all series, or one for each step: products of rows.
    left, right = (t.reshape(shape[0], -1, t.shape[-1]) for t in (left, right))
    return precise(transpose(left) @ right).reshape(shape)


def _weighted(matrices: Tensor, weight: Tensor, shape: torch.Size) -> Tensor:
    """Sum over series, with their weights, of matrices (T, *batch or ones, n, m), over what ``shape`` shares."""
    weight = weight.to(matrices.dtype)
    if matrices.shape[1:-2].numel() == 1 and shape[1:-2].numel() == 1:
        return matrices.sum_to_size(shape) * weight.sum()
    return (matrices * weight[..., None, None]).sum_to_size(shape)
