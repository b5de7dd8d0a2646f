"""A linear map."""

import torch
from torch import Tensor, nn


class Linear(nn.Linear):
    """Linear map, orthogonal to begin with; images are flattened.

    Args:
        in_features: Numbers in a datum.
        out_features: Latent dims.
        bias: Whether to shift the output.

    Shape:
        x (N, ...) to z (N, out_features).

    Example:
        >>> Linear(64, 2)(torch.randn(5, 1, 8, 8)).shape
        torch.Size([5, 2])
    """

    def __init__(self, in_features: int, out_features: int, *, bias: bool = False):
        super().__init__(in_features, out_features, bias=bias)

    def reset_parameters(self) -> None:
        """An orthogonal matrix, which no scale of a random one can make singular."""
        nn.init.orthogonal_(self.weight)
        if self.bias is not None:
            nn.init.zeros_(self.bias)

    def forward(self, x: Tensor) -> Tensor:
        """Flatten and map."""
        return super().forward(torch.flatten(x, 1))
