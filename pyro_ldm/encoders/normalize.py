r"""Onto the unit sphere."""

import torch
from torch import Tensor, nn


class Normalize(nn.Module):
    r"""Scale each row to length 1: the last layer of an encoder onto the sphere.

    .. math:: z \mapsto z / \|z\|

    A row whose entries are all below 1e-12 in size has no direction: it becomes the first unit vector, with a gradient
    of zero, so that one dead row neither leaves the sphere nor spoils the batch. Rows of any other size are safe from
    overflow and underflow, and NaN stays NaN.

    Shape:
        z (..., N, D) to the same; float32 or better, under autocast too.

    Example:
        >>> Normalize()(torch.tensor([[3.0, 4.0], [0.0, 0.0]]))
        tensor([[0.6000, 0.8000],
                [1.0000, 0.0000]])
    """

    def forward(self, z: Tensor) -> Tensor:
        """Normalise."""
        z = z.to(torch.promote_types(z.dtype, torch.float32))
        # The result does not depend on this scale, and so neither does its gradient.
        scale = z.detach().abs().amax(-1, keepdim=True)
        dead = scale < 1e-12
        z = z / scale.masked_fill(dead, 1.0)
        first = torch.zeros_like(z)
        first[..., 0] = 1.0
        z = torch.where(dead, first, z)
        return z / torch.linalg.vector_norm(z, dim=-1, keepdim=True)
