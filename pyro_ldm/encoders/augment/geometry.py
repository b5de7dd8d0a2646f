"""Augmentations that move pixels."""

import math

import torch
import torch.nn.functional as F
from torch import Tensor

from pyro_ldm.encoders.augment.base import Augmentation


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
        return _resampled(x, torch.stack(rows, 1))


class Crop(Augmentation):
    r"""Crop images and resize what is left to the old size, each sample by its own draw.

    .. math:: h w = a H W, \qquad w / h = r, \qquad a \sim U(scale), \qquad \log r \sim U(\log ratio)

    Of ten draws the first that fits into the image is taken, and placed uniformly within it. Where none fits, the crop
    is the largest central one of a permitted ratio, whatever its area. The resizing is bilinear.

    Args:
        scale: Smallest and largest area a, as a fraction of the image's.
        ratio: Smallest and largest width over height r, in pixels.
        generator: Source of the random numbers; see :class:`Augmentation`.

    Shape:
        x (N, C, H, W) to the same.

    Raises:
        ValueError: If x is not a batch of images, ``scale`` not within (0, 1], or ``ratio`` not positive.

    References:
        Szegedy et al. (2015), Going Deeper with Convolutions, https://arxiv.org/abs/1409.4842; Chen et al. (2020),
        SimCLR, appendix A, https://arxiv.org/abs/2002.05709. As torchvision's ``RandomResizedCrop``, but that sides and
        places are not rounded to whole pixels.

    Example:
        >>> Crop(scale=(0.2, 1.0))(torch.rand(5, 3, 8, 8)).shape
        torch.Size([5, 3, 8, 8])
    """

    def __init__(
        self,
        *,
        scale: tuple[float, float] = (0.08, 1.0),
        ratio: tuple[float, float] = (3 / 4, 4 / 3),
        generator: torch.Generator | None = None,
    ):
        super().__init__(generator=generator)
        if not 0 < scale[0] <= scale[1] <= 1:
            raise ValueError(f"Crop takes a scale from above 0 to at most 1, smallest first, got {tuple(scale)}")
        if not 0 < ratio[0] <= ratio[1]:
            raise ValueError(f"Crop takes a positive ratio, smallest first, got {tuple(ratio)}")
        self.scale, self.ratio = scale, ratio

    def forward(self, x: Tensor) -> Tensor:
        """Draw and apply."""
        height, width = self.images(x).shape[-2:]
        area, stretch = self.rand(x, 2, 10, len(x)).unbind(0)
        area = self.scale[0] + (self.scale[1] - self.scale[0]) * area
        low, high = math.log(self.ratio[0]), math.log(self.ratio[1])
        ratio = (low + (high - low) * stretch).exp() * height / width  # as if the image were a square of side 1
        across, down = (area * ratio).sqrt(), (area / ratio).sqrt()
        fits = (across <= 1) & (down <= 1)
        first = fits.to(torch.uint8).argmax(0, keepdim=True)
        # The permitted ratio nearest to the image's own.
        nearest = min(max(1.0, self.ratio[0] * height / width), self.ratio[1] * height / width)
        fallback = (min(1.0, nearest), min(1.0, 1 / nearest))
        across, down = (
            torch.where(fits.any(0), size.gather(0, first).squeeze(0), largest)
            for size, largest in zip((across, down), fallback, strict=True)
        )
        right, below = ((2 * self.rand(x, 2, len(x)) - 1) * fits.any(0)).unbind(0)
        zero = torch.zeros_like(across)
        rows = [
            torch.stack([across, zero, (1 - across) * right], -1),
            torch.stack([zero, down, (1 - down) * below], -1),
        ]
        # A crop at the border is read up to half a pixel beyond it, as every resizing is: no zeros from there.
        return _resampled(x, torch.stack(rows, 1), padding_mode="border")


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


def _resampled(x: Tensor, maps: Tensor, *, padding_mode: str = "zeros") -> Tensor:
    """Images (N, C, H, W), each read at the places that its affine map (N, 2, 3) takes the pixels to."""
    with torch.autocast(x.device.type, enabled=False):  # in half precision places would be off by a part of a pixel
        grid = F.affine_grid(maps, list(x.shape), align_corners=False)
        return F.grid_sample(x, grid, padding_mode=padding_mode, align_corners=False)
