"""What augmentations share: a random number of its own for each sample, on the device of x."""

import torch
from torch import Tensor, nn


class Augmentation(nn.Module):
    """Base of the augmentations here: where their random numbers come from.

    One's own is any module or function from x (N, ...) to the same shape; it need not derive from this.

    Args:
        generator: Source of the random numbers, on the device of x. By default torch's own, which ``torch.manual_seed``
            sets and which a resumed :func:`pyro_ldm.fit` restores; it does not restore one that is given here.
    """

    def __init__(self, *, generator: torch.Generator | None = None):
        super().__init__()
        self.generator = generator

    def rand(self, x: Tensor, *shape: int) -> Tensor:
        """Uniform on [0, 1), of x's dtype."""
        return torch.rand(shape, generator=self.generator, dtype=x.dtype, device=x.device)

    def images(self, x: Tensor) -> Tensor:
        """The same x, or an error where it is none of images."""
        if x.dim() != 4:
            name = type(self).__name__
            raise ValueError(f"{name} takes images (N, C, H, W), got {tuple(x.shape)}: use Noise or Mask for vectors")
        return x
