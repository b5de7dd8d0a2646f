"""The handwritten digits that come with scikit-learn."""

import torch

from pyro_ldm.datasets.data import Data


def digits() -> Data:
    """Handwritten digits, 8 x 8 pixels in [0, 1], with their labels (scikit-learn; 1797 images).

    `digits().split()` is the 80/20 split that all our figures use.

    Shape:
        x (1797, 1, 8, 8); y (1797,), the digit.

    References:
        E. Alpaydin and C. Kaynak (1998), https://doi.org/10.24432/C50P49; the copy in scikit-learn's `load_digits` is
        the test part. Intensities 0 to 16 are divided by 16.

    Example:
        >>> data = digits()
        >>> data.shape, data.y[:5].tolist()
        ((1, 8, 8), [0, 1, 2, 3, 4])
    """
    from sklearn.datasets import load_digits  # loaded here, so that importing the package stays fast

    bunch = load_digits()
    x = torch.as_tensor(bunch.images, dtype=torch.float32).unsqueeze(1) / 16
    return Data(x, y=torch.as_tensor(bunch.target), name="digits")
