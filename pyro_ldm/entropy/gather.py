"""Rows of all processes: under data-parallel training, each rank scores its own rows against everybody's."""

import torch
import torch.distributed as distributed
from torch import Tensor


def gather_rows(z: Tensor) -> tuple[Tensor, int]:
    """All ranks' rows, and where this rank's begin among them.

    The backward sums over ranks, and data-parallel training averages: with each rank returning the mean over its own
    rows, the gradient is that of the whole batch, with no extra factor. Collective: every rank must call it, with
    equally many rows.

    Shape:
        z (..., N, D) to (..., world size * N, D), and the index of the first own row. On one process, z itself and 0.
    """
    if not (distributed.is_available() and distributed.is_initialized() and distributed.get_world_size() > 1):
        return z, 0
    return _Gather.apply(z), distributed.get_rank() * z.shape[-2]


class _Gather(torch.autograd.Function):
    @staticmethod
    def forward(ctx, z):
        parts = [torch.empty_like(z) for _ in range(distributed.get_world_size())]
        distributed.all_gather(parts, z.contiguous())
        ctx.rows = z.shape[-2]
        return torch.cat(parts, dim=-2)

    @staticmethod
    def backward(ctx, grad):
        grad = grad.contiguous()
        distributed.all_reduce(grad)
        return grad.narrow(-2, distributed.get_rank() * ctx.rows, ctx.rows)
