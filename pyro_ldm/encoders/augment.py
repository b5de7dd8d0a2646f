"""Augmentations that run batched on the device, with random numbers of its own for each sample."""

import math
from collections.abc import Callable

import torch
import torch.nn.functional as F
from torch import Tensor, nn


class Affine(nn.Module):
    """Rotate, shift and scale images, each sample by its own draw; borders are filled with zeros.

    Args:
        degrees: Largest rotation, either way.
        shift: Largest shift, either way, as a fraction of the side.
        scale: Largest change of size, either way, as a fraction.

    Shape:
        x (N, C, H, W) to the same.

    Example:
        >>> Affine(degrees=15)(torch.rand(5, 1, 8, 8)).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(self, *, degrees: float = 15.0, shift: float = 0.15, scale: float = 0.15):
        super().__init__()
        self.degrees, self.shift, self.scale = degrees, shift, scale

    def forward(self, x: Tensor) -> Tensor:
        """Draw and apply."""
        if x.dim() != 4:
            raise ValueError(f"Affine takes images (N, C, H, W), got {tuple(x.shape)}: use Noise or Mask for vectors")
        angle, size, across, down = (2 * torch.rand(4, len(x), dtype=x.dtype, device=x.device) - 1).unbind(0)
        angle, size = angle * math.radians(self.degrees), 1 + self.scale * size
        rows = [
            torch.stack([size * angle.cos(), -size * angle.sin(), 2 * self.shift * across], -1),
            torch.stack([size * angle.sin(), size * angle.cos(), 2 * self.shift * down], -1),
        ]
        grid = F.affine_grid(torch.stack(rows, 1), list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, align_corners=False)


class ColorJitter(nn.Module):
    """Change brightness and contrast, each sample by its own draw.

    Args:
        brightness: Largest change of the mean, either way, in units of x.
        contrast: Largest change of the spread about the mean, either way, as a fraction.

    Shape:
        x (N, C, H, W) to the same.
    """

    def __init__(self, *, brightness: float = 0.2, contrast: float = 0.2):
        super().__init__()
        self.brightness, self.contrast = brightness, contrast

    def forward(self, x: Tensor) -> Tensor:
        """Draw and apply."""
        lift, stretch = (2 * torch.rand(2, len(x), 1, 1, 1, dtype=x.dtype, device=x.device) - 1).unbind(0)
        mean = x.mean((1, 2, 3), keepdim=True)
        return mean + self.brightness * lift + (1 + self.contrast * stretch) * (x - mean)


class Flip(nn.Module):
    """Mirror images left to right, each sample with probability one half.

    Shape:
        x (N, C, H, W) to the same.
    """

    def forward(self, x: Tensor) -> Tensor:
        """Draw and apply."""
        mirror = torch.rand(len(x), 1, 1, 1, device=x.device) < 0.5
        return torch.where(mirror, x.flip(-1), x)


class Cutout(nn.Module):
    """Blank a square at a random place of each image.

    Args:
        size: Side of the square, as a fraction of the image's.

    Shape:
        x (N, C, H, W) to the same.

    References:
        DeVries and Taylor (2017), https://arxiv.org/abs/1708.04552
    """

    def __init__(self, *, size: float = 0.3):
        super().__init__()
        self.size = size

    def forward(self, x: Tensor) -> Tensor:
        """Draw and apply."""
        inside = []
        for axis in (-2, -1):
            length = x.shape[axis]
            center = torch.rand(len(x), 1, device=x.device) * length
            places = torch.arange(length, device=x.device) + 0.5
            inside.append((places - center).abs() < 0.5 * self.size * length)
        square = inside[0].unsqueeze(-1) & inside[1].unsqueeze(-2)
        return x.masked_fill(square.unsqueeze(1), 0.0)


class Noise(nn.Module):
    """Add white Gaussian noise.

    Args:
        std: Standard deviation, in units of x.

    Shape:
        x (N, ...) to the same.

    Example:
        >>> Noise(std=0.1)(torch.rand(5, 3)).shape
        torch.Size([5, 3])
    """

    def __init__(self, *, std: float = 0.1):
        super().__init__()
        self.std = std

    def forward(self, x: Tensor) -> Tensor:
        """Draw and apply."""
        return x + self.std * torch.randn_like(x)


class Mask(nn.Module):
    """Set each number of a datum to zero with some probability.

    Args:
        probability: Of a number to be masked.

    Shape:
        x (N, ...) to the same.
    """

    def __init__(self, *, probability: float = 0.2):
        super().__init__()
        self.probability = probability

    def forward(self, x: Tensor) -> Tensor:
        """Draw and apply."""
        return x * (torch.rand_like(x) >= self.probability)


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
