r"""Linear recurrences, of vectors and of covariances, by parallel scans.

.. math:: m_t = m_{t-1} F_t + u_t, \qquad P_t = F_t^\top P_{t-1} F_t + D_t
"""

from typing import Any

import torch
from torch import Tensor

from pyro_ldm.distributions.state_space.scan import Elements, associative_scan, step_by_step
from pyro_ldm.distributions.state_space.small import rows, symmetric, transpose


def linear_recurrence(matrix: Tensor, inputs: Tensor, initial: Tensor) -> Tensor:
    r"""States of :math:`m_t = m_{t-1} F_t + u_t`.

    Its derivative is the same recurrence, backwards; the scan leaves no graph.

    Args:
        matrix: F (T, \*batch or ones, S, S).
        inputs: u (T, \*batch, S).
        initial: m_0 (\*batch, S).

    Returns:
        m_1 to m_T (T, \*batch, S).

    Example:
        >>> linear_recurrence(torch.full((3, 1, 1), 0.5), torch.ones(3, 1), torch.zeros(1)).flatten()
        tensor([1.0000, 1.5000, 1.7500])
    """
    return _LinearRecurrence.apply(matrix, inputs, initial)


def quadratic_recurrence(matrix: Tensor, inputs: Tensor, initial: Tensor) -> Tensor:
    r"""Covariances of :math:`P_t = F_t^\top P_{t-1} F_t + D_t`.

    Args:
        matrix: F (T, \*batch, S, S).
        inputs: D (T, \*batch, S, S), symmetric.
        initial: P_0 (\*batch, S, S), symmetric.

    Returns:
        P_1 to P_T (T, \*batch, S, S).

    Example:
        >>> quadratic_recurrence(torch.full((2, 1, 1), 0.5), torch.ones(2, 1, 1), torch.zeros(1, 1)).flatten()
        tensor([1.0000, 1.2500])
    """
    if step_by_step(torch.Size((len(inputs), *torch.broadcast_shapes(matrix.shape[1:], initial.shape))), matrix.device):
        states = [initial]
        for f, d in zip(matrix.expand(len(inputs), *matrix.shape[1:]), inputs, strict=True):
            states.append(symmetric(transpose(f) @ states[-1] @ f) + d)
        return torch.stack(torch.broadcast_tensors(*states[1:]))
    first = transpose(matrix[0]) @ initial @ matrix[0] + inputs[0]
    shape = (len(inputs) - 1, *first.shape)
    elements = (matrix.expand(len(inputs), *first.shape), torch.cat([first.unsqueeze(0), inputs[1:].expand(shape)]))
    return associative_scan(_combine_quadratic, elements)[1]


def _combine_quadratic(left: Elements, right: Elements) -> Elements:
    (f, d), (g, e) = left, right
    return f @ g, transpose(g) @ d @ g + e


def _combine_linear(left: Elements, right: Elements) -> Elements:
    (f, u), (g, v) = left, right
    return f @ g, torch.baddbmm(v, u, g) if g.dim() == 3 else rows(u, g) + v


def _scan(matrix: Tensor, inputs: Tensor, initial: Tensor) -> Tensor:
    if step_by_step(matrix.shape, matrix.device):
        states = [initial.expand(inputs.shape[1:])]
        for f, u in zip(matrix, inputs, strict=True):
            states.append(u + rows(states[-1].unsqueeze(0), f.unsqueeze(0))[0])
        return torch.stack(states[1:])
    first = inputs[:1] + rows(initial.unsqueeze(0), matrix[:1])
    elements = (matrix, torch.cat([first, inputs[1:]]))
    if matrix.shape[:-2].numel() == len(matrix):  # one for all series: rows of one product each
        matrix = matrix.reshape(len(matrix), *matrix.shape[-2:])
        flat = elements[1].reshape(len(inputs), -1, inputs.shape[-1])
        return associative_scan(_combine_linear, (matrix, flat))[1].reshape(inputs.shape)
    return associative_scan(_combine_linear, elements)[1]


class _LinearRecurrence(torch.autograd.Function):
    @staticmethod
    def forward(ctx: Any, matrix: Tensor, inputs: Tensor, initial: Tensor) -> Tensor:
        states = _scan(matrix, inputs, initial)
        ctx.save_for_backward(matrix, states, initial)
        return states

    @staticmethod
    def backward(ctx: Any, *gradients: Tensor):
        matrix, states, initial = ctx.saved_tensors
        # The gradient of each input is l_t = g_t + l_{t+1} F_{t+1}'.
        later = transpose(torch.cat([matrix[1:], torch.zeros_like(matrix[:1])]))
        adjoint = linear_recurrence(later.flip(0), gradients[0].flip(0), torch.zeros_like(initial)).flip(0)
        before = torch.cat([initial.expand_as(states[0]).unsqueeze(0), states[:-1]])
        to_matrix = None
        if ctx.needs_input_grad[0]:
            to_matrix = before.unsqueeze(-1) * adjoint.unsqueeze(-2)
            shared = [dim for dim in range(1, matrix.dim() - 2) if matrix.shape[dim] == 1]
            to_matrix = to_matrix.sum(shared, keepdim=True) if shared else to_matrix
        to_initial = rows(adjoint[:1], transpose(matrix[:1]))[0] if ctx.needs_input_grad[2] else None
        return to_matrix, adjoint, to_initial
