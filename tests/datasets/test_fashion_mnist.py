import gzip
import struct

import numpy as np
import pytest
import torch

from pyro_ldm.datasets import DataError, MissingDataError, fashion_mnist


def write(path, array):
    header = bytes([0, 0, 8, array.ndim]) + struct.pack(f">{array.ndim}I", *array.shape)
    path.write_bytes(gzip.compress(header + array.astype(np.uint8).tobytes()))


@pytest.fixture
def folder(tmp_path):
    """A tiny data set of the format: 5 images to train on, 3 to test on."""
    rng = np.random.default_rng(0)
    for part, num in (("train", 5), ("t10k", 3)):
        write(tmp_path / f"{part}-images-idx3-ubyte.gz", rng.integers(0, 256, (num, 28, 28)))
        write(tmp_path / f"{part}-labels-idx1-ubyte.gz", np.arange(num) + 7 - num)
    return tmp_path


def test_both_parts(folder):
    pixels = np.random.default_rng(0).integers(0, 256, (5, 28, 28))
    data = fashion_mnist(folder)
    assert repr(data) == "Data('fashion_mnist', 5 x (1, 28, 28), y)"
    assert data.x.dtype == torch.float32 and data.y.tolist() == [2, 3, 4, 5, 6] and data.y.dtype == torch.int64
    assert np.allclose(data.x[:, 0] * 255, pixels, atol=1e-4)
    assert fashion_mnist(str(folder), train=False).y.tolist() == [4, 5, 6]


def test_a_missing_file_is_named(folder):
    (folder / "t10k-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(MissingDataError, match=r"it lacks t10k-labels-idx1-ubyte\.gz"):
        fashion_mnist(folder)


def test_files_that_do_not_belong_together(folder):
    write(folder / "train-labels-idx1-ubyte.gz", np.arange(4))
    with pytest.raises(DataError, match=r"train-labels.*: it has 4 labels for 5 images: get both"):
        fashion_mnist(folder)
    write(folder / "train-labels-idx1-ubyte.gz", np.arange(5) + 10)
    with pytest.raises(DataError, match="holds class 14 where 0 to 9 are wanted"):
        fashion_mnist(folder)
    write(folder / "train-images-idx3-ubyte.gz", np.zeros((5, 32, 32)))
    with pytest.raises(DataError, match=r"shape \(5, 32, 32\) where \(N, 28, 28\) is wanted"):
        fashion_mnist(folder)


def test_the_real_data():
    try:
        train, test = fashion_mnist(), fashion_mnist(train=False)
    except MissingDataError as error:
        pytest.skip(str(error))
    assert train.x.shape == (60000, 1, 28, 28) and test.x.shape == (10000, 1, 28, 28)
    assert train.x.min() == 0 and train.x.max() == 1
    assert torch.bincount(train.y).tolist() == [6000] * 10 and torch.bincount(test.y).tolist() == [1000] * 10
    # The first labels as published: ankle boot, two T-shirts, dress; and the mean that recipes normalise by.
    assert train.y[:4].tolist() == [9, 0, 0, 3] and float(train.x.double().mean()) == pytest.approx(0.2860, abs=1e-4)
