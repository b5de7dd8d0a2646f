import numpy as np
import pytest
import torch

from pyro_ldm.datasets import DataError, MissingDataError, cifar10

RECORDS = np.random.default_rng(0).integers(0, 256, (18, 3073), dtype=np.uint8)
RECORDS[:, 0] = np.arange(18) % 10
NAMES = [*(f"data_batch_{i}.bin" for i in (1, 2, 3, 4, 5)), "test_batch.bin"]


@pytest.fixture
def folder(tmp_path, monkeypatch):
    """A tiny data set of the format, three images a file, where the search finds it."""
    monkeypatch.setenv("PYRO_LDM_DATA", str(tmp_path))
    place = tmp_path / "cifar-10-batches-bin"
    place.mkdir()
    for name, records in zip(NAMES, RECORDS.reshape(6, 3, 3073), strict=True):
        records.tofile(place / name)
    return place


def test_both_parts(folder):
    data = cifar10()
    assert repr(data) == "Data('cifar10', 15 x (3, 32, 32), y)"
    assert data.x.dtype == torch.float32 and data.y.tolist() == [*range(10), *range(5)]
    # Red, green, blue planes, each row by row.
    assert float(data.x[4, 2, 5, 7]) == pytest.approx(RECORDS[4, 1 + 2 * 1024 + 5 * 32 + 7] / 255)
    test = cifar10(folder, train=False)
    assert test.y.tolist() == [5, 6, 7] and np.allclose(test.x.flatten(1) * 255, RECORDS[15:, 1:], atol=1e-4)


def test_a_missing_file_is_named(folder):
    (folder / "data_batch_3.bin").unlink()
    with pytest.raises(MissingDataError, match=r"cifar-10-batches-bin: it lacks data_batch_3\.bin"):
        cifar10()


def test_a_file_cut_off_is_named(folder):
    path = folder / "data_batch_2.bin"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(DataError, match=r"data_batch_2\.bin: it holds 9218 bytes where records of 3073 are wanted"):
        cifar10()


def test_labels_are_checked(folder):
    np.full((3, 3073), 10, dtype=np.uint8).tofile(folder / "test_batch.bin")
    with pytest.raises(DataError, match=r"test_batch\.bin: record 0 has the label 10, beyond the 10 classes"):
        cifar10(train=False)
