"""CIFAR-100: small colour photographs in a hundred classes, from the user's own copy."""

import os

from pyro_ldm.datasets.data import Data
from pyro_ldm.datasets.local import find_folder
from pyro_ldm.datasets.records import read_records


def cifar100(folder: str | os.PathLike[str] | None = None, *, train: bool = True) -> Data:
    """Colour photographs in a hundred classes, 32 x 32 pixels in [0, 1], with labels (50000 images; your own copy).

    Args:
        folder: Holds `train.bin` and `test.bin`, as the archive of the *binary* version unpacks them; the Python
            version, which is pickled, is never loaded. By default the first of `$PYRO_LDM_DATA/cifar-100-binary`,
            `~/.cache/pyro_ldm/cifar-100-binary` and `/usr/share/datasets/cifar-100-binary`.
        train: The 50000 images to train on, or else the 10000 to test on.

    Shape:
        x (50000, 3, 32, 32) or (10000, 3, 32, 32); y, the fine class from 0 to 99 in alphabetical order, apple to worm.
        The 20 coarse classes are left out.

    Raises:
        DataError: If the files are not there (a `MissingDataError`), cut off, or other than these.

    References:
        A. Krizhevsky (2009), Learning Multiple Layers of Features from Tiny Images,
        https://www.cs.toronto.edu/~kriz/cifar.html. Intensities 0 to 255 are divided by 255.

    Example:
        >>> cifar100(train=False)  # doctest: +SKIP
        Data('cifar100', 10000 x (3, 32, 32), y)
    """
    place = find_folder("cifar-100-binary", folder, files=["train.bin", "test.bin"])
    x, y = read_records([place / ("train.bin" if train else "test.bin")], classes=[20, 100])
    return Data(x, y=y[:, 1], name="cifar100")
