r"""Patches of natural images, the data on which ICA finds edges.

.. math:: x_i = (p_i - \bar p_i) / \sigma, \qquad p_i \text{ the pixels of a patch, } \bar p_i \text{ their mean}
"""

import numpy as np
import torch

from pyro_ldm.datasets.data import Data, DataError
from pyro_ldm.datasets.photographs import grey_photographs


def patches(size: int = 12, *, num: int = 20000, seed: int = 0) -> Data:
    """Natural-image patches, 12 x 12 grey pixels without their mean (scikit-learn's two photographs; 20000 patches).

    Places are drawn without replacement, so no patch comes twice from one place. Each patch loses its mean, and one
    number scales them all to unit variance. A mean taken off leaves rank size^2 - 1: reduce by PCA before a square map.

    Args:
        size: Height and width of a patch, in pixels.
        num: Number of patches.
        seed: Seed of the places.

    Shape:
        x (num, 1, size, size).

    Raises:
        DataError: If a patch does not fit into the photographs or there are fewer places than num.

    References:
        A. J. Bell and T. J. Sejnowski (1997), https://doi.org/10.1016/S0042-6989(97)00121-1, 12 x 12 patches; J. H. van
        Hateren and A. van der Schaaf (1998), https://doi.org/10.1098/rspb.1998.0303, who take the logarithm of
        linear intensities. Ours are the stored values, which the camera's gamma has compressed already.

    Example:
        >>> patches(8, num=1000)
        Data('patches', 1000 x (1, 8, 8))
    """
    images = grey_photographs()
    if not 2 <= size <= min(images.shape[1:]):
        raise DataError(f"patches: size {size} does not fit: give 2 to {min(images.shape[1:])} pixels")
    windows = np.lib.stride_tricks.sliding_window_view(images, (size, size), axis=(1, 2))
    places = int(np.prod(windows.shape[:3]))
    if not 2 <= num <= places:
        raise DataError(f"patches: cannot draw {num} patches of size {size}: give num from 2 to {places}")
    chosen = np.random.default_rng(seed).choice(places, num, replace=False)
    x = windows[np.unravel_index(chosen, windows.shape[:3])].reshape(num, 1, size, size)
    x = x - x.mean((1, 2, 3), keepdims=True)
    return Data(torch.as_tensor(x / x.std()), name="patches")
