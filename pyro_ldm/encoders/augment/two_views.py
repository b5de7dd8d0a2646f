"""Two augmented views of each datum."""

from collections.abc import Callable

import torch
from torch import Tensor, nn


class TwoViews(nn.Module):
    """Two independent augmentations of each datum.

    Args:
        augmentation: Drawn anew at each call, such as ``nn.Sequential(Affine(), Noise())``.
        symmetric: Whether to return the pairs in both orders, (x, x') and (x', x), for an objective that treats its two
            views differently; the loss is then the mean over both, as in BYOL and SimSiam.

    Shape:
        x (N, ...) to two tensors of the same shape, or of 2 N rows if symmetric.

    Example:
        >>> from pyro_ldm.encoders import Noise
        >>> x, x_prime = TwoViews(Noise())(torch.rand(5, 3))
    """

    def __init__(self, augmentation: Callable[[Tensor], Tensor], *, symmetric: bool = False):
        super().__init__()
        self.augmentation, self.symmetric = augmentation, symmetric

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Draw twice."""
        first, second = self.augmentation(x), self.augmentation(x)
        return (torch.cat([first, second]), torch.cat([second, first])) if self.symmetric else (first, second)
