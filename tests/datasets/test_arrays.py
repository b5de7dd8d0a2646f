import zipfile

import numpy as np
import pytest

from pyro_ldm.datasets import DataError
from pyro_ldm.datasets.arrays import read_npy, read_npz


@pytest.fixture
def table():
    return np.random.default_rng(0).normal(size=(5, 3))


def test_npy(tmp_path, table):
    np.save(tmp_path / "a.npy", table)
    assert np.array_equal(read_npy(tmp_path / "a.npy"), table)


def test_npz(tmp_path, table):
    np.savez(tmp_path / "one.npz", table)
    np.savez_compressed(tmp_path / "two.npz", x=table, y=np.arange(5))
    assert np.array_equal(read_npz(tmp_path / "one.npz"), table)
    assert np.array_equal(read_npz(tmp_path / "two.npz", key="x"), table)


@pytest.mark.parametrize("key", [None, "z"])
def test_npz_lists_its_keys(tmp_path, table, key):
    np.savez(tmp_path / "two.npz", x=table, labels=np.arange(5))
    with pytest.raises(DataError, match="choose one by key, of x, labels"):
        read_npz(tmp_path / "two.npz", key=key)


def test_pickled_objects_are_refused(tmp_path):
    array = np.array([{"a": 1}, None], dtype=object)
    np.save(tmp_path / "a.npy", array, allow_pickle=True)
    np.savez(tmp_path / "a.npz", array)
    for read, name in ((read_npy, "a.npy"), (read_npz, "a.npz")):
        with pytest.raises(DataError, match="pickled objects, which are not loaded: save it with a numeric dtype"):
            read(tmp_path / name)


def test_empty_and_damaged_files(tmp_path, table):
    path = tmp_path / "a.npy"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"a\.npy: the file is empty"):
        read_npy(path)
    path.write_bytes(b"no array at all")
    with pytest.raises(DataError, match=r"a\.npy: the array cannot be read"):
        read_npy(path)
    np.save(path, table)
    path.write_bytes(path.read_bytes()[:-20])
    with pytest.raises(DataError, match=r"a\.npy: the array cannot be read"):
        read_npy(path)


def test_damaged_npz(tmp_path, table):
    path = tmp_path / "a.npz"
    path.write_bytes(b"")
    with pytest.raises(DataError, match=r"this is no \.npz file"):
        read_npz(path)
    np.savez_compressed(path, table)
    damaged = bytearray(path.read_bytes())
    damaged[80:100] = bytes(20)
    path.write_bytes(damaged)
    with pytest.raises(DataError, match="the array cannot be read"):
        read_npz(path)
    with zipfile.ZipFile(path, "w"):
        pass
    with pytest.raises(DataError, match="no arrays"):
        read_npz(path)
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("readme.txt", "hello")
    with pytest.raises(DataError, match=r"'readme\.txt' is not an array"):
        read_npz(path)
