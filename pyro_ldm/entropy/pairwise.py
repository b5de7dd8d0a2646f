r"""Sums over pairs of rows, by one Gram matrix, in chunks, with their own backward.

Plain autograd through a pairwise kernel keeps several N x M matrices and walks each of them again. Here the forward is
one matrix product and one exponential, and the backward two products with the weights it kept, or made again per chunk
where N x M is large: memory is O(N * chunk).
"""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 2**23  # entries of the pairwise matrix held at once: 32 MiB in float32


def logsumexp_inner(x: Tensor, y: Tensor, bias: Tensor, *, skip: int | None = None) -> Tensor:
    r"""Log-sum-exp of inner products, without ever holding more than a chunk of them.

    .. math:: o_i = \log \sum_{j \ne \mathrm{skip} + i} \exp(x_i \cdot y_j + b_j)

    Args:
        x: Queries (..., N, D).
        y: Keys (..., M, D).
        bias: (..., M).
        skip: Row i leaves out key ``skip + i``; ``None`` leaves out none.

    Returns:
        (..., N).
    """
    return _LogSumExpInner.apply(x, y, bias, skip)


class _LogSumExpInner(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x, y, bias, skip):
        chunks = _chunks(x, y)
        out = x.new_empty(x.shape[:-1])
        weights = None
        for start, stop in chunks:
            scores = _scores(x, y, bias, skip, start, stop)
            peak = scores.amax(-1, keepdim=True)
            weights = scores.sub_(peak).exp_()
            total = weights.sum(-1, keepdim=True)
            out[..., start:stop] = (peak + total.log()).squeeze(-1)
            weights.div_(total)
        ctx.skip = skip
        ctx.save_for_backward(x, y, bias, out, weights if len(chunks) == 1 else None)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, y, bias, out, kept = ctx.saved_tensors
        grad_x, grad_y, grad_bias = torch.empty_like(x), torch.zeros_like(y), torch.zeros_like(bias)
        for start, stop in _chunks(x, y):
            if kept is not None:
                weights = kept * grad.unsqueeze(-1)
            else:
                scores = _scores(x, y, bias, ctx.skip, start, stop)
                weights = scores.sub_(out[..., start:stop, None]).exp_().mul_(grad[..., start:stop, None])
            grad_x[..., start:stop, :] = weights @ y
            grad_y += weights.mT @ x[..., start:stop, :]
            grad_bias += weights.sum(-2)
        return grad_x, grad_y, grad_bias, None


@torch.no_grad()
def nearest(z: Tensor, support: Tensor, num_neighbors: int, *, skip: int) -> Tensor:
    """Index in ``support`` of the k-th nearest row to each of ``z``, itself (row ``skip + i``) left out.

    Shape:
        z (..., N, D), support (..., M, D) to (..., N), integers.
    """
    half_norm = 0.5 * support.square().sum(-1)
    index = torch.empty(z.shape[:-1], dtype=torch.long, device=z.device)
    for start, stop in _chunks(z, support):
        # Minus half the squared distance, up to a constant of each row.
        closeness = _scores(z, support, -half_norm, skip, start, stop)
        index[..., start:stop] = closeness.topk(num_neighbors, dim=-1).indices[..., -1]
    return index


def _scores(x: Tensor, y: Tensor, bias: Tensor, skip: int | None, start: int, stop: int) -> Tensor:
    """Inner products plus bias of queries ``start`` to ``stop``, minus infinity where a query meets itself."""
    scores = x[..., start:stop, :] @ y.mT
    scores += bias.unsqueeze(-2)
    if skip is not None:
        scores.diagonal(offset=skip + start, dim1=-2, dim2=-1).fill_(-torch.inf)
    return scores


def _chunks(x: Tensor, y: Tensor) -> list[tuple[int, int]]:
    """Ranges of queries whose pairwise matrix has at most ``CHUNK`` entries."""
    rows = x.shape[-2]
    batch = x.numel() // max(1, rows * x.shape[-1])
    step = max(1, min(rows, CHUNK // max(1, batch * y.shape[-2])))
    return [(start, min(start + step, rows)) for start in range(0, rows, step)]
