"""Fashion-MNIST: photographs of clothes in ten classes, from the user's own copy."""

import os

import torch

from pyro_ldm.datasets.data import Data, DataError
from pyro_ldm.datasets.idx import read_idx
from pyro_ldm.datasets.local import find_folder

_FILES = {
    True: ("train-images-idx3-ubyte.gz", "train-labels-idx1-ubyte.gz"),
    False: ("t10k-images-idx3-ubyte.gz", "t10k-labels-idx1-ubyte.gz"),
}


def fashion_mnist(folder: str | os.PathLike[str] | None = None, *, train: bool = True) -> Data:
    """Clothes in ten classes, 28 x 28 pixels in [0, 1], with their labels (60000 images; your own copy).

    Args:
        folder: Holds the four files as published, `train-images-idx3-ubyte.gz` and so on. By default the first of
            `$PYRO_LDM_DATA/fashion-mnist`, `~/.cache/pyro_ldm/fashion-mnist` and `/usr/share/datasets/fashion-mnist`,
            where Debian's package `dataset-fashion-mnist` puts it.
        train: The 60000 images to train on, or else the 10000 to test on.

    Shape:
        x (60000, 1, 28, 28) or (10000, 1, 28, 28); y, the class from 0 to 9: T-shirt or top, trouser, pullover, dress,
        coat, sandal, shirt, sneaker, bag, ankle boot.

    Raises:
        DataError: If the files are not there (a `MissingDataError`), damaged, or other than these.

    References:
        H. Xiao, K. Rasul and R. Vollgraf (2017), Fashion-MNIST, https://arxiv.org/abs/1708.07747; MIT licence.
        Intensities 0 to 255 are divided by 255.

    Example:
        >>> fashion_mnist(train=False)  # doctest: +SKIP
        Data('fashion_mnist', 10000 x (1, 28, 28), y)
    """
    place = find_folder("fashion-mnist", folder, files=[name for part in _FILES.values() for name in part])
    images_path, labels_path = (place / name for name in _FILES[train])
    images, labels = read_idx(images_path, shape=(28, 28)), read_idx(labels_path, shape=())
    if len(images) != len(labels):
        raise DataError(f"{labels_path}: it has {len(labels)} labels for {len(images)} images: get both files again")
    if labels.max(initial=0) > 9:
        raise DataError(f"{labels_path}: it holds class {labels.max()} where 0 to 9 are wanted: get the file again")
    x = torch.as_tensor(images.astype("float32")).div_(255).unsqueeze(1)
    return Data(x, y=torch.as_tensor(labels.astype("int64")), name="fashion_mnist")
