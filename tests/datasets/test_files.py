import numpy as np
import pandas as pd
import pytest
import torch
from PIL import Image

from pyro_ldm.datasets import DataError, read


@pytest.fixture
def table():
    return np.random.default_rng(0).normal(size=(5, 3))


def test_every_type_gives_the_same_numbers(tmp_path, table):
    np.save(tmp_path / "a.npy", table)
    np.savez(tmp_path / "a.npz", x=table, y=np.arange(5))
    np.savetxt(tmp_path / "a.csv", table, delimiter=",", header="a,b,c", fmt="%.18e")
    pd.DataFrame(table, columns=list("abc")).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "a.npy").rename(tmp_path / "A.NPY")
    for name, key in (("A.NPY", None), ("a.npz", "x"), ("a.csv", None), ("a.parquet", None)):
        data = read(tmp_path / name, key=key)
        assert data.name == name and data.x.dtype == torch.float32
        assert torch.equal(data.x, torch.as_tensor(table, dtype=torch.float32))
    assert read(str(tmp_path / "a.csv")).shape == (3,)


def test_folder_of_images(tmp_path):
    for i in range(3):
        Image.fromarray(np.full((4, 6), 51 * i, dtype=np.uint8)).save(tmp_path / f"{i}.png")
    data = read(tmp_path)
    assert data.shape == (1, 4, 6) and data.name == tmp_path.name
    assert torch.allclose(data.x[:, 0, 0, 0], torch.tensor([0, 0.2, 0.4], dtype=torch.float32))
    assert read(tmp_path, size=2).shape == (1, 2, 2)


@pytest.mark.parametrize("dtype", ["float16", ">f8", ">f4", "int8", "uint16", "bool", "longdouble"])
def test_any_real_dtype(tmp_path, dtype):
    array = np.array([[0, 1], [1, 0], [1, 1]]).astype(dtype)
    np.save(tmp_path / "a.npy", array)
    assert read(tmp_path / "a.npy").x.tolist() == [[0, 1], [1, 0], [1, 1]]


@pytest.mark.parametrize(
    "shape, event",
    [((4, 8, 6), (1, 8, 6)), ((4, 8, 6, 3), (3, 8, 6)), ((4, 3, 8, 6), (3, 8, 6)), ((4, 1, 8, 1), (1, 8, 1))],
)
def test_uint8_arrays_of_three_or_more_axes_are_images(tmp_path, shape, event):
    np.save(tmp_path / "a.npy", np.full(shape, 51, dtype=np.uint8))
    data = read(tmp_path / "a.npy")
    assert data.shape == event
    assert torch.allclose(data.x, torch.full_like(data.x, 0.2))


def test_channels_last_keeps_the_pixels(tmp_path):
    array = np.random.default_rng(0).integers(0, 256, (4, 8, 6, 3), dtype=np.uint8)
    np.save(tmp_path / "a.npy", array)
    assert np.allclose(read(tmp_path / "a.npy").x[:, 2] * 255, array[..., 2], atol=1e-4)


def test_uint8_tables_and_other_arrays_are_taken_as_they_are(tmp_path):
    np.save(tmp_path / "a.npy", np.full((4, 3), 51, dtype=np.uint8))
    np.save(tmp_path / "b.npy", np.full((4, 8, 6), 51.0))
    assert (read(tmp_path / "a.npy").x == 51).all()
    assert read(tmp_path / "b.npy").shape == (8, 6)


@pytest.mark.parametrize(
    "array, message",
    [
        (np.arange(5.0), r"a\.npy: x has shape \(5,\) where .*reshape\(-1, 1\)"),
        (np.zeros((1, 3)), "at least 2"),
        (np.zeros((0, 3)), "at least 2"),
        (np.array([[1.0], [np.nan], [np.inf]]), r"NaN or Inf in 2 of 3 rows \(first: row 1\)"),
        (np.array([["a"], ["b"]]), "dtype <U1, not real numbers"),
        (np.array([[1j], [2j]]), "dtype complex128, not real numbers"),
        (np.zeros(3, dtype=[("a", float)]), "not real numbers"),
        (np.full((2, 2), 1e300), "beyond the range of float32"),
    ],
)
def test_bad_arrays(tmp_path, array, message):
    np.save(tmp_path / "a.npy", array)
    with pytest.raises(DataError, match=message):
        read(tmp_path / "a.npy")


def test_missing_values_in_a_parquet_file_are_reported_by_row(tmp_path):
    pd.DataFrame({"a": [1.0, None, 3.0]}).to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match=r"a\.parquet: x contains NaN or Inf in 1 of 3 rows \(first: row 1\)"):
        read(tmp_path / "a.parquet")


def test_bad_paths(tmp_path):
    (tmp_path / "a.xlsx").write_bytes(b"x")
    (tmp_path / "a").write_bytes(b"x")
    (tmp_path / "a.png").write_bytes(b"x")
    for name, message in (
        ("missing.npy", "missing.npy: there is no such file or folder: check the path"),
        ("a.xlsx", r"files of type \.xlsx are not known: give \.csv, \.npy, \.npz, \.parquet or a folder of images"),
        ("a", "files without an ending are not known"),
        ("a.png", "one image is one datum: give a folder of images"),
    ):
        with pytest.raises(DataError, match=message):
            read(tmp_path / name)


def test_options_that_do_not_apply(tmp_path, table):
    np.save(tmp_path / "a.npy", table)
    with pytest.raises(DataError, match="leave the key out"):
        read(tmp_path / "a.npy", key="x")
    with pytest.raises(DataError, match="leave the key out"):
        read(tmp_path, key="x")
    with pytest.raises(DataError, match="leave the size out"):
        read(tmp_path / "a.npy", size=8)


def test_a_file_that_may_not_be_read(tmp_path, table, monkeypatch):
    np.save(tmp_path / "a.npy", table)

    def refuse(*args, **kwargs):
        raise PermissionError(13, "Permission denied")

    monkeypatch.setattr("pathlib.Path.open", refuse)
    with pytest.raises(DataError, match=r"cannot be opened \(Permission denied\): check its permissions"):
        read(tmp_path / "a.npy")
