r"""No entropy: :math:`\log R(z_i) := 0`."""

import torch
from torch import Tensor

from pyro_ldm.entropy.base import Entropy


class Zero(Entropy):
    r"""No entropy: for conditioning sites, the targets of stop-gradient methods, and the collapse control.

    .. math:: \log \hat R(z_i) = 0

    Training on alignment alone collapses unless something else prevents it: what is reported is a score, not a KL.

    Shape:
        z of any event shape, to the shape of its batch, zeros.

    Example:
        >>> Zero()(torch.randn(4, 2))
        tensor([0., 0., 0., 0.])
    """

    event_dim = None
    divergence = "score"

    def forward(self, z: Tensor, conditional=None, mask: Tensor | None = None) -> Tensor:
        """Zeros, (..., N)."""
        event_dim = 1 if conditional is None else conditional.event_dim
        dtype = z.dtype if z.is_floating_point() else torch.get_default_dtype()
        return torch.zeros(z.shape[: z.dim() - event_dim], dtype=dtype, device=z.device)
