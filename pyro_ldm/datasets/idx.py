"""Arrays of bytes from gzipped idx files, the format of MNIST and its successors.

A file is two zero bytes, the type (8: unsigned bytes), the number of axes, each axis' length as a big-endian 32-bit
number, and the bytes themselves.
"""

import gzip
import math
import zlib
from pathlib import Path

import numpy as np

from pyro_ldm.datasets.data import DataError


def read_idx(path: Path, *, shape: tuple[int, ...]) -> np.ndarray:
    r"""The array of a gzipped idx file.

    Args:
        path: The file.
        shape: What one datum must be: (28, 28) for images, () for labels.

    Shape:
        (N, \*shape), uint8.

    Raises:
        DataError: If the file cannot be opened, is damaged or cut off, is not idx, or holds something else.

    References:
        Y. LeCun, C. Cortes and C. Burges, http://yann.lecun.com/exdb/mnist/

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "labels.gz")
        >>> _ = path.write_bytes(gzip.compress(bytes([0, 0, 8, 1, 0, 0, 0, 3, 7, 8, 9])))
        >>> read_idx(path, shape=())
        array([7, 8, 9], dtype=uint8)
    """
    try:
        with gzip.open(path) as file:
            content = file.read()
    except (gzip.BadGzipFile, EOFError, zlib.error) as error:
        raise DataError(f"{path}: the gzip file is damaged or cut off ({error}): get the file again") from error
    except OSError as error:
        raise DataError(f"{path}: it cannot be opened ({error.strerror or error}): check its permissions") from error
    if len(content) < 4 or content[:3] != b"\0\0\x08" or len(content) < 4 + 4 * content[3]:
        begins = content[:4].hex() or "nothing"
        raise DataError(f"{path}: this is no idx file of bytes (it begins with {begins}): get the file again")
    start = 4 + 4 * content[3]
    lengths = tuple(np.frombuffer(content[4:start], ">u4").tolist())
    if not lengths or lengths[1:] != shape:
        wanted = ", ".join(map(str, ("N", *shape)))
        raise DataError(f"{path}: it holds an array of shape {lengths} where ({wanted}) is wanted: check its name")
    if len(content) - start != math.prod(lengths):
        raise DataError(
            f"{path}: it holds {len(content) - start} bytes where its header says {math.prod(lengths)}: "
            "get the file again"
        )
    return np.frombuffer(content, np.uint8, offset=start).reshape(lengths)
