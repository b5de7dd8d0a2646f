"""CIFAR-10: small colour photographs in ten classes, from the user's own copy."""

import os

from pyro_ldm.datasets.data import Data
from pyro_ldm.datasets.local import find_folder
from pyro_ldm.datasets.records import read_records

_FILES = {True: [f"data_batch_{i}.bin" for i in range(1, 6)], False: ["test_batch.bin"]}


def cifar10(folder: str | os.PathLike[str] | None = None, *, train: bool = True) -> Data:
    """Colour photographs in ten classes, 32 x 32 pixels in [0, 1], with labels (50000 images; your own copy).

    Args:
        folder: Holds `data_batch_1.bin` to `data_batch_5.bin` and `test_batch.bin`, as the archive of the *binary*
            version unpacks them; the Python version, which is pickled, is never loaded. By default the first of
            `$PYRO_LDM_DATA/cifar-10-batches-bin`, `~/.cache/pyro_ldm/cifar-10-batches-bin` and
            `/usr/share/datasets/cifar-10-batches-bin`.
        train: The 50000 images to train on, or else the 10000 to test on.

    Shape:
        x (50000, 3, 32, 32) or (10000, 3, 32, 32); y, the class from 0 to 9: airplane, automobile, bird, cat, deer,
        dog, frog, horse, ship, truck.

    Raises:
        DataError: If the files are not there (a `MissingDataError`), cut off, or other than these.

    References:
        A. Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images,
        https://www.cs.toronto.edu/~kriz/cifar.html. Intensities 0 to 255 are divided by 255.

    Example:
        >>> cifar10(train=False)  # doctest: +SKIP
        Data('cifar10', 10000 x (3, 32, 32), y)
    """
    place = find_folder("cifar-10-batches-bin", folder, files=[*_FILES[True], *_FILES[False]])
    x, y = read_records([place / name for name in _FILES[train]], classes=[10])
    return Data(x, y=y[:, 0], name="cifar10")
