"""Augmentations that change values where they are."""

import torch
from torch import Tensor

from pyro_ldm.encoders.augment.base import Augmentation


class ColorJitter(Augmentation):
    """Change brightness and contrast, each sample by its own draw.

    Args:
        brightness: Largest change of the mean, either way, in units of x.
        contrast: Largest change of the spread about the mean, either way, as a fraction.
        generator: Source of the random numbers; see :class:`Augmentation`.

    Shape:
        x (N, C, H, W) to the same.

    Raises:
        ValueError: If x is not a batch of images.

    Example:
        >>> ColorJitter(brightness=0.1)(torch.rand(5, 3, 8, 8)).shape
        torch.Size([5, 3, 8, 8])
    """

    def __init__(self, *, brightness: float = 0.2, contrast: float = 0.2, generator: torch.Generator | None = None):
        super().__init__(generator=generator)
        self.brightness, self.contrast = brightness, contrast

    def forward(self, x: Tensor) -> Tensor:
        """Draw and apply."""
        mean = self.images(x).mean((1, 2, 3), keepdim=True)
        lift, stretch = (2 * self.rand(x, 2, len(x), 1, 1, 1) - 1).unbind(0)
        return mean + self.brightness * lift + (1 + self.contrast * stretch) * (x - mean)


class Cutout(Augmentation):
    """Blank a square at a random place of each image.

    Args:
        size: Side of the square, as a fraction of the image's.
        generator: Source of the random numbers; see :class:`Augmentation`.

    Shape:
        x (N, C, H, W) to the same.

    Raises:
        ValueError: If x is not a batch of images.

    References:
        DeVries and Taylor (2017), https://arxiv.org/abs/1708.04552

    Example:
        >>> Cutout(size=0.5)(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(self, *, size: float = 0.3, generator: torch.Generator | None = None):
        super().__init__(generator=generator)
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Draw and apply."""
        inside = []
        for length in self.images(x).shape[-2:]:
            center = self.rand(x, len(x), 1) * length
            places = torch.arange(length, device=x.device) + 0.5
            inside.append((places - center).abs() < 0.5 * self.size * length)
        square = inside[0].unsqueeze(-1) & inside[1].unsqueeze(-2)
        return x.masked_fill(square.unsqueeze(1), 0.0)


class Mask(Augmentation):
    """Set each number of a datum to zero with some probability.

    Args:
        probability: Of a number to be masked.
        generator: Source of the random numbers; see :class:`Augmentation`.

    Shape:
        x (N, ...) to the same.

    Example:
        >>> Mask(probability=0.5)(torch.rand(5, 3)).shape
        torch.Size([5, 3])
    """

    def __init__(self, *, probability: float = 0.2, generator: torch.Generator | None = None):
        super().__init__(generator=generator)
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Draw and apply."""
        return x * (self.rand(x, *x.shape) >= self.probability)


class Noise(Augmentation):
    """Add white Gaussian noise.

    Args:
        std: Standard deviation, in units of x.
        generator: Source of the random numbers; see :class:`Augmentation`.

    Shape:
        x (N, ...) to the same.

    Example:
        >>> Noise(std=0.1)(torch.rand(5, 3)).shape
        torch.Size([5, 3])
    """

    def __init__(self, *, std: float = 0.1, generator: torch.Generator | None = None):
        super().__init__(generator=generator)
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """Draw and apply."""
        return x + self.std * torch.randn(x.shape, generator=self.generator, dtype=x.dtype, device=x.device)
