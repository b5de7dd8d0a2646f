r"""Frames with one dot each, all drawn at once, and the swirl that makes them hard to read.

.. math:: x_{ij} = \exp \Bigl( -\frac{(i - i_0)^2 + (j - j_0)^2}{2 w^2} \Bigr)
    = \exp \Bigl( -\frac{(i - i_0)^2}{2 w^2} \Bigr) \exp \Bigl( -\frac{(j - j_0)^2}{2 w^2} \Bigr)

The dot's profile is separable: two profiles of few numbers and one outer product draw a frame.
"""

import math

import numpy as np

_SERIES_AT_ONCE = 512  # so that the noise of a large data set needs no second copy of it


def draw_dots(position: np.ndarray, *, size: int, extent: float, width: float = 1.0) -> np.ndarray:
    """Frames of a Gaussian dot with peak 1 on a background of 0.

    The centers of the outermost pixels lie at -extent and extent. The first coordinate runs along the columns from left
    to right, the second along the rows from bottom to top, as in a plot: row 0 is at +extent.

    Args:
        position: Where the dot is.
        size: Height and width of a frame, in pixels.
        extent: Half the side of the field of view, in units of position.
        width: Standard deviation of the dot, in pixels.

    Shape:
        position (N, T, 2) to (N, T, 1, size, size), float32.

    Example:
        >>> import numpy as np
        >>> frame = draw_dots(np.array([[[-3.0, 3.0]]]), size=3, extent=3.0, width=0.1)[0, 0, 0]
        >>> frame.round().tolist()
        [[1.0, 0.0, 0.0], [0.0, 0.0, 0.0], [0.0, 0.0, 0.0]]
    """
    pixels = np.arange(size, dtype=np.float32)
    scale = (size - 1) / (2 * extent)
    column = ((position[..., :1] + extent) * scale).astype(np.float32)
    row = ((extent - position[..., 1:]) * scale).astype(np.float32)
    across, down = (np.exp(-0.5 * ((place - pixels) / width) ** 2) for place in (column, row))
    return (down[..., :, None] * across[..., None, :])[..., None, :, :]


def add_noise(frames: np.ndarray, variance: np.ndarray | float, rng: np.random.Generator) -> None:
    """Add white Gaussian noise to frames, in place.

    Args:
        frames: What is added to.
        variance: Of a pixel's noise, one for all frames or one each.
        rng: Where it is drawn from.

    Shape:
        frames (N, T, 1, H, W); variance () or (N, T).
    """
    scale = np.sqrt(np.broadcast_to(variance, frames.shape[:2])).astype(np.float32)
    for start in range(0, len(frames), _SERIES_AT_ONCE):
        part = frames[start : start + _SERIES_AT_ONCE]
        noise = rng.standard_normal(part.shape, dtype=np.float32)
        noise *= scale[start : start + _SERIES_AT_ONCE, :, None, None, None]
        part += noise


def swirl(frames: np.ndarray, *, strength: float = 10.0, radius: float = 200.0) -> np.ndarray:
    r"""Turn each ring of a frame about the center, the inner ones farther.

    A pixel at the distance rho of the center takes the value that lies :math:`s \, e^{-5 \rho / (r \log 2)}` radians
    farther around, by bilinear interpolation; beyond the edge the frame is mirrored.

    Args:
        frames: Frames, of at least 2 x 2 pixels.
        strength: The turn s at the center, in radians.
        radius: The reach r of the swirl, in pixels: there the turn has fallen to less than a thousandth.

    Shape:
        (..., H, W) to (..., H, W).

    References:
        `skimage.transform.swirl` of scikit-image, whose names and formula these are. Its center is half a pixel off
        the frame's own by default, (W / 2, H / 2); ours is ((W - 1) / 2, (H - 1) / 2).
    """
    height, width = frames.shape[-2:]
    mixing = _swirl_matrix(height, width, strength, radius).astype(frames.dtype)
    return (frames.reshape(-1, height * width) @ mixing).reshape(frames.shape)


def _swirl_matrix(height: int, width: int, strength: float, radius: float) -> np.ndarray:
    """The swirl as a linear map of pixels, (H W, H W) from old to new: one matrix product swirls all frames."""
    rows, columns = np.indices((height, width)).reshape(2, -1)
    center = (height - 1) / 2, (width - 1) / 2
    dy, dx = rows - center[0], columns - center[1]
    rho = np.hypot(dx, dy)
    angle = np.arctan2(dy, dx) + strength * np.exp(-rho / (radius / 5 * math.log(2)))
    place = center[0] + rho * np.sin(angle), center[1] + rho * np.cos(angle)
    below = [np.floor(p).astype(int) for p in place]
    mixing = np.zeros((height * width, height * width))
    for down in (0, 1):
        for right in (0, 1):
            weight = np.abs(1 - down - (place[0] - below[0])) * np.abs(1 - right - (place[1] - below[1]))
            source = _mirrored(below[0] + down, height) * width + _mirrored(below[1] + right, width)
            np.add.at(mixing, (source, np.arange(height * width)), weight)
    return mixing


def _mirrored(index: np.ndarray, size: int) -> np.ndarray:
    """Indices beyond an edge, mirrored at the outermost pixel."""
    index = np.abs(index) % (2 * (size - 1))
    return np.minimum(index, 2 * (size - 1) - index)
