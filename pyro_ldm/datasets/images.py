"""Images from a folder, all of one size and one kind."""

from pathlib import Path

import numpy as np
import torch

from pyro_ldm.datasets.data import DataError

IMAGE_TYPES = (".png", ".jpg", ".jpeg", ".bmp", ".gif", ".webp", ".tif", ".tiff")

# Pillow's names for one channel of 8 bits (with or without transparency) and of 16 bits.
_GREY_8 = ("1", "L", "LA", "La")
_GREY_16 = ("I", "I;16", "I;16L", "I;16B", "I;16N")


def read_images(folder: Path, *, size: int | tuple[int, int] | None = None) -> np.ndarray:
    r"""The images of a folder, in the order of their names.

    Hidden files, other files and sub-folders are left out. One colour image makes all of them RGB, and an image with a
    palette (many a .gif) counts as one. Transparency is dropped, of an animation the first frame is taken, and pixels
    stay as stored (no rotation by EXIF).

    Args:
        folder: Holds files ending in .png, .jpg, .jpeg, .bmp, .gif, .webp, .tif or .tiff.
        size: Height and width to resize to (bilinear, antialiased), in pixels, or one number for both. None keeps the
            images' own size, which must be one.

    Shape:
        (N, C, H, W), float32 in [0, 1]; C = 1 if all images are grey, else 3.

    Raises:
        DataError: If there is no image, one is damaged or holds floating-point numbers, or sizes differ without `size`.
    """
    from PIL import Image  # loaded here, so that importing the package stays fast

    paths = sorted(p for p in folder.iterdir() if p.suffix.lower() in IMAGE_TYPES and p.name[0] != "." and p.is_file())
    if not paths:
        raise DataError(f"{folder}: the folder itself holds no images: put some in, of type {', '.join(IMAGE_TYPES)}")
    target = (size, size) if isinstance(size, int) else size
    if target is not None and (len(target) != 2 or min(target) < 1):
        raise DataError(f"{folder}: cannot resize images to {size}: give a positive height and width")

    # Headers first: they tell sizes and kinds without decoding, so the result is laid out once.
    shapes, modes = [], []
    for path in paths:
        try:
            with Image.open(path) as image:
                shapes.append((image.height, image.width))
                modes.append(image.mode)
        except Exception as error:  # decoders raise whatever they like on damaged files
            raise _broken(path, error) from error
        if modes[-1] == "F":
            raise DataError(f"{path}: the image holds floating-point numbers of unknown range: save the stack as .npy")
        if target is None and shapes[-1] != shapes[0]:
            (h0, w0), (h1, w1) = shapes[0], shapes[-1]
            raise DataError(
                f"{folder}: images differ in size, {paths[0].name} is {h0} x {w0} and {path.name} {h1} x {w1} "
                f"(height x width): resize them, or pass a size to resize to, such as ({h0}, {w0})"
            )
    channels = 1 if all(mode in _GREY_8 + _GREY_16 for mode in modes) else 3
    result = np.empty((len(paths), channels, *(target or shapes[0])), dtype=np.float32)
    for i, (path, mode) in enumerate(zip(paths, modes, strict=True)):
        try:
            with Image.open(path) as image:
                if mode in _GREY_16:
                    pixels = np.asarray(image, dtype=np.float32)[None] / 65535
                    if pixels.min() < 0 or pixels.max() > 1:  # mode I also holds 32 bits, of unknown range
                        raise ValueError("more than 16 bits per pixel")
                elif channels == 1:
                    pixels = np.asarray(image.convert("L"), dtype=np.float32)[None] / 255
                else:
                    pixels = np.asarray(image.convert("RGB"), dtype=np.float32).transpose(2, 0, 1) / 255
        except Exception as error:
            raise _broken(path, error) from error
        result[i] = pixels if target is None or target == shapes[i] else _resize(pixels, target)
    return result


def _resize(pixels: np.ndarray, size: tuple[int, int]) -> np.ndarray:
    batch = torch.as_tensor(np.ascontiguousarray(pixels)).unsqueeze(0)
    resized = torch.nn.functional.interpolate(batch, size, mode="bilinear", antialias=True, align_corners=False)
    return resized.squeeze(0).numpy()


def _broken(path: Path, error: Exception) -> DataError:
    reason = str(error).removesuffix(f" {str(path)!r}").split("\n")[0]
    return DataError(f"{path}: the image cannot be read ({reason}): remove or replace it")
