import numpy as np
import pytest
import torch

from pyro_ldm.datasets import DataError
from pyro_ldm.datasets.records import read_records


def test_files_are_joined_in_order(tmp_path):
    records = np.random.default_rng(0).integers(0, 10, (5, 2 + 3 * 4 * 4), dtype=np.uint8)
    records[:2].tofile(tmp_path / "a.bin")
    records[2:].tofile(tmp_path / "b.bin")
    x, y = read_records([tmp_path / "a.bin", tmp_path / "b.bin"], classes=(10, 100), shape=(3, 4, 4))
    assert x.dtype == torch.float32 and y.dtype == torch.int64
    assert np.array_equal(y, records[:, :2])
    assert np.allclose(x * 255, records[:, 2:].reshape(5, 3, 4, 4), atol=1e-5)


@pytest.mark.parametrize(
    "content, message",
    [
        (b"", "holds 0 bytes where records of 14 are wanted"),
        (bytes(15), "holds 15 bytes where records of 14 are wanted: get the file again, of the binary version"),
        (bytes(14) + b"\x01\x03" + bytes(12), "record 1 has the label 1, 3, beyond the 2, 3 classes: get the file"),
    ],
)
def test_other_files(tmp_path, content, message):
    (tmp_path / "a.bin").write_bytes(content)
    with pytest.raises(DataError, match=message) as caught:
        read_records([tmp_path / "a.bin"], classes=(2, 3), shape=(3, 2, 2))
    assert "a.bin: " in str(caught.value) and "\n" not in str(caught.value)


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(DataError, match="cannot be opened"):
        read_records([tmp_path], classes=(10,))
