"""Augmentations: batched, on the device of x, with random numbers of its own for each sample."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
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


class Affine(Augmentation):
    """Rotate, shift and scale images, each sample by its own draw; borders are filled with zeros.

    Args:
        degrees: Largest rotation, either way.
        shift: Largest shift, either way, as a fraction of the side.
        scale: Largest change of size, either way, as a fraction below 1.
        generator: Source of the random numbers; see :class:`Augmentation`.

    Shape:
        x (N, C, H, W) to the same.

    Raises:
        ValueError: If x is not a batch of images, or ``scale`` is not in [0, 1).

    Example:
        >>> Affine(degrees=15)(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        *,
        degrees: float = 15.0,
        shift: float = 0.15,
        scale: float = 0.15,
        generator: torch.Generator | None = None,
    ):
        super().__init__(generator=generator)
        if not 0 <= scale < 1:
            raise ValueError(f"Affine takes a scale from 0 to below 1, got {scale}")
        self.degrees, self.shift, self.scale = degrees, shift, scale

    def forward(self, x: Tensor) -> Tensor:
        """Draw and apply."""
        height, width = self.images(x).shape[-2:]
        angle, size, across, down = (2 * self.rand(x, 4, len(x)) - 1).unbind(0)
        angle, size = angle * math.radians(self.degrees), 1 + self.scale * size
        # The grid runs from -1 to 1 along either side: off the square, a rotation of pixels is none of the grid.
        rows = [
            torch.stack([size * angle.cos(), -size * angle.sin() * height / width, 2 * self.shift * across], -1),
            torch.stack([size * angle.sin() * width / height, size * angle.cos(), 2 * self.shift * down], -1),
        ]
        grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


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


class Flip(Augmentation):
    """Mirror images left to right, each sample with probability one half.

    Args:
        generator: Source of the random numbers; see :class:`Augmentation`.

    Shape:
        x (N, C, H, W) to the same.

    Raises:
        ValueError: If x is not a batch of images.

    Example:
        >>> Flip()(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
    """

    def forward(self, x: Tensor) -> Tensor:
        """Draw and apply."""
        mirrored = self.images(x).flip(-1)
        return torch.where(self.rand(x, len(x), 1, 1, 1) < 0.5, mirrored, x)


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


class TwoViews(nn.Module):
    """Two independent augmentations of each datum.

    Args:
        augmentation: Drawn anew at each call, such as ``nn.Sequential(Affine(), Noise())``.

    Shape:
        x (N, ...) to two tensors of the same shape.

    Example:
        >>> x, x_prime = TwoViews(Noise())(torch.rand(5, 3))
    """

    def __init__(self, augmentation: Callable[[Tensor], Tensor]):
        super().__init__()
        self.augmentation = augmentation

    def forward(self, x: Tensor) -> tuple[Tensor, Tensor]:
        """Draw twice."""
        return self.augmentation(x), self.augmentation(x)
