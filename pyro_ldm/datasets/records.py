"""Labelled colour images from files of byte records, the format of CIFAR's binary version.

A record is one byte for each label, then the pixels: red, green and blue planes, each row by row. There is no header.
"""

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import torch

from pyro_ldm.datasets.data import DataError


def read_records(
    paths: Sequence[Path], *, classes: Sequence[int], shape: tuple[int, ...] = (3, 32, 32)
) -> tuple[torch.Tensor, torch.Tensor]:
    r"""Images and labels of files of byte records, one file after the other.

    Args:
        paths: The files.
        classes: Number of classes of each label byte: (10,) for CIFAR-10, (20, 100) for CIFAR-100.
        shape: That of an image.

    Shape:
        Images (N, \*shape), float32 in [0, 1]; labels (N, labels), int64.

    Raises:
        DataError: If a file cannot be opened, is cut off, or holds a label that is no class.

    Example:
        >>> import pathlib, tempfile
        >>> path = pathlib.Path(tempfile.mkdtemp(), "train.bin")
        >>> _ = path.write_bytes(bytes([7, 0, 255, 9, 255, 0]))
        >>> images, labels = read_records([path], classes=[10], shape=(1, 1, 2))
        >>> images.tolist(), labels.tolist()
        ([[[[0.0, 1.0]]], [[[1.0, 0.0]]]], [[7], [9]])
    """
    records = np.concatenate([_read(path, classes, int(np.prod(shape))) for path in paths])
    images = torch.as_tensor(records[:, len(classes) :].astype("float32")).div_(255)
    return images.reshape(-1, *shape), torch.as_tensor(records[:, : len(classes)].astype("int64"))


def _read(path: Path, classes: Sequence[int], pixels: int) -> np.ndarray:
    size = len(classes) + pixels
    try:
        content = np.fromfile(path, np.uint8)
    except OSError as error:
        raise DataError(f"{path}: it cannot be opened ({error.strerror or error}): check its permissions") from error
    if not len(content) or len(content) % size:
        raise DataError(
            f"{path}: it holds {len(content)} bytes where records of {size} are wanted: get the file again, "
            "of the binary version"
        )
    records = content.reshape(-1, size)
    bad = (records[:, : len(classes)] >= np.asarray(classes)).any(1)
    if bad.any():
        first = int(bad.argmax())
        raise DataError(
            f"{path}: record {first} has the label {', '.join(map(str, records[first, : len(classes)]))}, "
            f"beyond the {', '.join(map(str, classes))} classes: get the file again, of the binary version"
        )
    return records
