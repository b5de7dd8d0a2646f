import numpy as np
import pytest
import torch

from pyro_ldm.datasets import DataError, MissingDataError, cifar100

RECORDS = np.random.default_rng(0).integers(0, 256, (8, 3074), dtype=np.uint8)
RECORDS[:, 0], RECORDS[:, 1] = np.arange(8) + 12, np.arange(8) + 92


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A tiny data set of the format, where the search finds it."""
    monkeypatch.setenv("PYRO_LDM_DATA", str(tmp_path))
    place = tmp_path / "cifar-100-binary"
    place.mkdir()
    RECORDS[:5].tofile(place / "train.bin")
    RECORDS[5:].tofile(place / "test.bin")
    return place


def test_both_parts_with_their_fine_labels(folder):
    data = cifar100()
    assert repr(data) == "Data('cifar100', 5 x (3, 32, 32), y)"
    assert data.x.dtype == torch.float32 and data.y.tolist() == [92, 93, 94, 95, 96]
    assert np.allclose(data.x.flatten(1) * 255, RECORDS[:5, 2:], atol=1e-4)
    assert cifar100(folder, train=False).y.tolist() == [97, 98, 99]


def test_a_missing_file_is_named(folder):
    (folder / "test.bin").unlink()
    with pytest.raises(MissingDataError, match=r"cifar-100-binary: it lacks test\.bin"):
        cifar100()


def test_a_file_of_cifar_10_is_refused(folder):
    np.zeros((5, 3073), dtype=np.uint8).tofile(folder / "train.bin")
    with pytest.raises(DataError, match=r"train\.bin: it holds 15365 bytes where records of 3074 are wanted"):
        cifar100()
