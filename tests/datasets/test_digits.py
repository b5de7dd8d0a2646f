import torch

from pyro_ldm.datasets import digits


def test_digits():
    data = digits()
    assert data.x.shape == (1797, 1, 8, 8) and data.x.dtype == torch.float32
    assert data.x.min() == 0 and data.x.max() == 1
    # Rows 0 and 1 of the first image, a zero, as scikit-learn prints them.
    assert (data.x[0, 0, :2] * 16).tolist() == [[0, 0, 5, 13, 9, 1, 0, 0], [0, 0, 13, 15, 10, 15, 5, 0]]
    assert torch.bincount(data.y).tolist() == [178, 182, 177, 183, 181, 182, 181, 179, 174, 180]


def test_split_is_fixed():
    train, test = digits().split()
    again, _ = digits().split()
    assert (len(train), len(test)) == (1438, 359)
    assert torch.equal(train.x, again.x) and torch.equal(train.y, again.y)
