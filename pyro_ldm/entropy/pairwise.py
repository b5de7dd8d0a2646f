r"""Sums over pairs of rows, by one Gram matrix, in chunks, with their own backward.

Plain autograd through a pairwise kernel keeps several N x M matrices and walks each of them again. Here the forward is
one matrix product and one exponential, and the backward two products with the weights it kept, or made again per chunk
where N x M is large: memory is O(N * chunk). Rows against themselves are a symmetric matrix: each block of it stands
for its mirror image too, which saves half of the forward and a third of the backward.
"""

import math
from functools import reduce

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable

CHUNK = 2**23  # entries of the pairwise matrix held at once: 32 MiB in float32


def logsumexp_inner(
    x: Tensor, y: Tensor, bias: Tensor | None = None, *, scale: float = 1.0, skip: int | None = None
) -> Tensor:
    r"""Log-sum-exp of inner products, without ever holding more than a chunk of them.

    .. math:: o_i = \log \sum_{j \ne \mathrm{skip} + i} \exp(s \, x_i \cdot y_j + b_j)

    Args:
        x: Queries (..., N, D). Where they are the keys, the same tensor, the work is halved.
        y: Keys (..., M, D).
        bias: (..., M), or ``None`` for zero.
        scale: s.
        skip: Row i leaves out key ``skip + i``; ``None`` leaves out none.

    Returns:
        (..., N).
    """
    if x is y and skip in (None, 0):
        return _LogSumExpSymmetric.apply(x, bias, scale, skip is not None)
    return _LogSumExpInner.apply(x if scale == 1.0 else scale * x, y, bias, skip)


class _LogSumExpSymmetric(torch.autograd.Function):
    """Rows against themselves, over the blocks on and above the diagonal."""

    @staticmethod
    def forward(ctx, x, bias, scale, skip):
        out = x.new_full(x.shape[:-1], -torch.inf)
        ctx.scale, ctx.skip, ctx.kept = scale, skip, []
        keep = x.requires_grad and _batch(x) * x.shape[-2] ** 2 <= CHUNK
        for a, b in _blocks(x):
            scores = _block(x, a, b, scale, skip)
            _log_add(out[..., a], scores if bias is None else scores + bias[..., None, b], -1)
            if a != b:
                _log_add(out[..., b], scores if bias is None else scores + bias[..., a, None], -2)
            if keep:
                ctx.kept.append(scores)
        ctx.save_for_backward(x, bias, out)
        return out

    @staticmethod
    @once_differentiable
    def backward(ctx, grad):
        x, bias, out = ctx.saved_tensors
        grad_x, grad_bias = torch.zeros_like(x), torch.zeros_like(out)
        for i, (a, b) in enumerate(_blocks(x)):
            scores = ctx.kept[i] if ctx.kept else _block(x, a, b, ctx.scale, ctx.skip)
            # What the keys b weigh in the sums of the rows a.
            weights = scores - out[..., a, None]
            if bias is not None:
                weights += bias[..., None, b]
            weights.exp_().mul_(grad[..., a, None])
            if bias is not None:
                grad_bias[..., b] += weights.sum(-2)
            if a == b:
                grad_x[..., a, :] += (weights + weights.mT) @ x[..., a, :]
                continue
            # What the keys a weigh in the sums of the rows b.
            mirrored = scores - out[..., None, b]
            if bias is not None:
                mirrored += bias[..., a, None]
            mirrored.exp_().mul_(grad[..., None, b])
            if bias is not None:
                grad_bias[..., a] += mirrored.sum(-1)
            weights += mirrored
            grad_x[..., a, :] += weights @ x[..., b, :]
            grad_x[..., b, :] += weights.mT @ x[..., a, :]
        return grad_x.mul_(ctx.scale), None if bias is None else grad_bias, None, None


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
        grad_x, grad_y, grad_bias = torch.empty_like(x), torch.zeros_like(y), y.new_zeros(y.shape[:-1])
        for start, stop in _chunks(x, y):
            if kept is not None:
                weights = kept * grad.unsqueeze(-1)
            else:
                scores = _scores(x, y, bias, ctx.skip, start, stop)
                weights = scores.sub_(out[..., start:stop, None]).exp_().mul_(grad[..., start:stop, None])
            grad_x[..., start:stop, :] = weights @ y
            grad_y += weights.mT @ x[..., start:stop, :]
            grad_bias += weights.sum(-2)
        return grad_x, grad_y, None if bias is None else grad_bias, None


@torch.no_grad()
def nearest(z: Tensor, support: Tensor, num_neighbors: int, *, skip: int, parts: int = 1) -> Tensor:
    """Index in ``support`` of the k-th nearest row to each of ``z``, itself (row ``skip + i``) left out.

    Rows of several parts are as near as their most distant part. Those of z and support are to be of one norm each, as
    on spheres, so that inner products compare across parts.

    Shape:
        z (..., N, D), support (..., M, D) to (..., N), integers.
    """
    chunks = zip(z.chunk(parts, -1), support.chunk(parts, -1), strict=True)
    pairs = [(own, other, -0.5 * other.square().sum(-1)) for own, other in chunks]
    index = torch.empty(z.shape[:-1], dtype=torch.long, device=z.device)
    for start, stop in _chunks(z, support):
        # Minus half the squared distance, up to a constant of each row.
        each = [_scores(own, other, bias, skip, start, stop) for own, other, bias in pairs]
        closeness = reduce(torch.minimum, each)
        index[..., start:stop] = closeness.topk(num_neighbors, dim=-1).indices[..., -1]
    return index


def _scores(x: Tensor, y: Tensor, bias: Tensor | None, skip: int | None, start: int, stop: int) -> Tensor:
    """Inner products plus bias of queries ``start`` to ``stop``, minus infinity where a query meets itself."""
    scores = x[..., start:stop, :] @ y.mT
    if bias is not None:
        scores += bias.unsqueeze(-2)
    if skip is not None:
        scores.diagonal(offset=skip + start, dim1=-2, dim2=-1).fill_(-torch.inf)
    return scores


def _chunks(x: Tensor, y: Tensor) -> list[tuple[int, int]]:
    """Ranges of queries whose pairwise matrix has at most ``CHUNK`` entries."""
    rows = x.shape[-2]
    step = max(1, min(rows, CHUNK // max(1, _batch(x) * y.shape[-2])))
    return [(start, min(start + step, rows)) for start in range(0, rows, step)]


def _block(x: Tensor, a: slice, b: slice, scale: float, skip: bool) -> Tensor:
    """Scaled inner products of rows ``a`` with rows ``b``, minus infinity where a row meets itself."""
    scores = (scale * x[..., a, :]) @ x[..., b, :].mT
    if skip and a == b:
        scores.diagonal(dim1=-2, dim2=-1).fill_(-torch.inf)
    return scores


def _blocks(x: Tensor) -> list[tuple[slice, slice]]:
    """The blocks on and above the diagonal; on a CPU small enough to stay in its cache."""
    rows = x.shape[-2]
    side = max(1, math.isqrt((CHUNK if x.is_cuda else CHUNK // 32) // _batch(x)))
    if rows <= 2 * side:  # two a side, where that leaves them large: a single block has no mirror image
        side = min(side, max(256, -(-rows // 2)))
    slices = [slice(start, min(start + side, rows)) for start in range(0, rows, side)]
    return [(a, b) for i, a in enumerate(slices) for b in slices[i:]]


def _log_add(total: Tensor, scores: Tensor, dim: int) -> None:
    """Add the exponentials of scores, along a dim, to a total held as its logarithm."""
    torch.logaddexp(total, scores.logsumexp(dim), out=total)


def _batch(x: Tensor) -> int:
    return max(1, x.shape[:-2].numel())
