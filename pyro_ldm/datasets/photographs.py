r"""Two photographs, mixed linearly: the classical picture of independent component analysis.

.. math:: x_i = s_i A, \qquad s_i \in R^2 \text{ the standardised grey values of both photographs at pixel } i
"""

from collections.abc import Sequence

import numpy as np
import torch

from pyro_ldm.datasets.data import Data, DataError


def photographs(mixing: Sequence[Sequence[float]] = ((1.0, 0.7), (0.7, 1.0))) -> Data:
    """Two photographs mixed linearly, one datum per pixel (scikit-learn's china and flower; 273280 pixels).

    Args:
        mixing: The matrix A in x = s @ A, dims (source, observed).

    Shape:
        x (273280, 2); truth (273280, 2), china then flower, each with mean 0 and variance 1; mixing (2, 2). Pixels run
        row by row: `data.truth.T.reshape(2, 427, 640)` is the two pictures.

    Raises:
        DataError: If mixing is not an invertible 2 x 2 matrix.

    References:
        F. A. Mikulasch and F. Zenke (2026), https://arxiv.org/abs/2605.03517, mix two photographs by this matrix.

    Example:
        >>> photographs()
        Data('photographs', 273280 x (2,), truth, mixing)
    """
    matrix = torch.as_tensor(mixing, dtype=torch.float64)
    if matrix.shape != (2, 2) or not matrix.isfinite().all() or torch.linalg.matrix_rank(matrix) < 2:
        raise DataError(f"photographs: mixing {matrix.tolist()} cannot be undone: give an invertible 2 x 2 matrix")
    sources = torch.as_tensor(grey_photographs()).reshape(2, -1).T
    sources = (sources - sources.mean(0)) / sources.std(0, correction=0)
    return Data(sources @ matrix, truth=sources, mixing=matrix, name="photographs")


def grey_photographs() -> np.ndarray:
    """The photographs china.jpg and flower.jpg in grey.

    Shape:
        (2, 427, 640), float64 in [0, 1], as stored: the display's gamma is not undone.

    References:
        Recommendation ITU-R BT.601, the luma of red, green and blue.
    """
    from sklearn.datasets import load_sample_images  # loaded here, so that importing the package stays fast

    images = np.stack(load_sample_images().images)
    return images @ np.array([0.299, 0.587, 0.114]) / 255
