"""`read`: data of the user's own, from a file or a folder of images."""

import os
from pathlib import Path

import numpy as np
import torch

from pyro_ldm.datasets.arrays import read_npy, read_npz
from pyro_ldm.datasets.data import Data, DataError
from pyro_ldm.datasets.images import IMAGE_TYPES, read_images
from pyro_ldm.datasets.tables import read_csv, read_parquet

_READERS = {".csv": read_csv, ".npy": read_npy, ".npz": read_npz, ".parquet": read_parquet}

FILE_TYPES = (*_READERS, "a folder of images")


def read(path: str | os.PathLike[str], *, key: str | None = None, size: int | tuple[int, int] | None = None) -> Data:
    r"""Read data from a .npy, .npz, .csv or .parquet file, or from a folder of images.

    The first axis of an array counts the data. Numbers are taken as they are, but for uint8 arrays of three or more
    axes: these are images, divided by 255 into [0, 1]; (N, H, W) becomes (N, 1, H, W), and (N, H, W, 3) becomes
    (N, 3, H, W). Pickled objects are never loaded.

    Args:
        path: The file or folder.
        key: Name of the array in an .npz file; may be left out if there is one only.
        size: Height and width to resize the images of a folder to, in pixels, or one number for both.

    Shape:
        x (N, D) for tables, (N, C, H, W) for images, the array's own shape otherwise; float32.

    Raises:
        DataError: If the path is missing, of unknown type or unreadable, or what it holds fails the checks of `Data`.

    Example:
        >>> import tempfile, pathlib
        >>> path = pathlib.Path(tempfile.mkdtemp(), "heights.csv")
        >>> _ = path.write_text("mother,daughter\n1.65,1.70\n1.58,1.61\n")
        >>> read(path)
        Data('heights.csv', 2 x (2,))
    """
    path = Path(path).expanduser()
    suffix = path.suffix.lower()
    if not path.exists():
        raise DataError(f"{path}: there is no such file or folder: check the path")
    is_folder = path.is_dir()
    if key is not None and (is_folder or suffix != ".npz"):
        raise DataError(f"{path}: key {key!r} names an array of an .npz file, which this is not: leave the key out")
    if size is not None and not is_folder:
        raise DataError(f"{path}: a size is for folders of images, which this is not: leave the size out")
    try:
        if is_folder:
            array = read_images(path, size=size)
        elif suffix == ".npz":
            array = read_npz(path, key=key)
        elif suffix in _READERS:
            array = _READERS[suffix](path)
        elif suffix in IMAGE_TYPES:
            raise DataError(f"{path}: one image is one datum: give a folder of images")
        else:
            kind = f"files of type {suffix}" if suffix else "files without an ending"
            raise DataError(f"{path}: {kind} are not known: give {', '.join(FILE_TYPES[:-1])} or {FILE_TYPES[-1]}")
    except OSError as error:
        raise DataError(f"{path}: it cannot be opened ({error.strerror or error}): check its permissions") from error
    return Data(_as_float32(array, path), name=path.resolve().name)


def _as_float32(array: np.ndarray, path: Path) -> torch.Tensor:
    if array.dtype.kind not in "biuf":
        raise DataError(f"{path}: the array has dtype {array.dtype}, not real numbers: save it with a numeric dtype")
    if array.dtype == np.uint8 and array.ndim >= 3:
        array = array.astype(np.float32) / 255
        if array.ndim == 3:
            array = array[:, None]
        elif array.ndim == 4 and array.shape[-1] in (1, 3) and array.shape[1] not in (1, 3):
            array = np.moveaxis(array, -1, 1)
    # float64 is the widest that both libraries know; `Data` reports what float32 cannot hold.
    if array.dtype.newbyteorder("=") not in (np.float32, np.float64):
        array = array.astype(np.float64)
    # Torch warns about arrays it may not write to, such as pandas hands out.
    return torch.as_tensor(np.require(array, dtype=array.dtype.newbyteorder("="), requirements=["C", "W"]))
