import gzip

import numpy as np
import pytest

from pyro_ldm.datasets import DataError
from pyro_ldm.datasets.idx import read_idx


@pytest.fixture
def write(tmp_path):
    def write(content, compress=True):
        path = tmp_path / "a.gz"
        path.write_bytes(gzip.compress(bytes(content)) if compress else bytes(content))
        return path

    return write


def test_axes_are_big_endian_and_rows_run_first(write):
    path = write([0, 0, 8, 3, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 3, *range(6)])
    assert read_idx(path, shape=(1, 3)).tolist() == [[[0, 1, 2]], [[3, 4, 5]]]
    path = write([0, 0, 8, 1, 0, 0, 1, 2, *[5] * 258])
    assert np.array_equal(read_idx(path, shape=()), np.full(258, 5))


@pytest.mark.parametrize(
    "content, message",
    [
        ([], r"no idx file of bytes \(it begins with nothing\)"),
        ([0, 0], r"no idx file of bytes \(it begins with 0000\)"),
        ([0, 0, 8, 1, 0, 0], "no idx file"),  # cut off within its header
        ([0, 0, 13, 1, 0, 0, 0, 2, *[0] * 8], r"begins with 00000d01"),  # float32
        ([0, 0, 8, 0], r"shape \(\) where \(N\) is wanted: check its name"),
        ([0, 0, 8, 2, 0, 0, 0, 1, 0, 0, 0, 2, 1, 2], r"shape \(1, 2\) where \(N\) is wanted: check its name"),
        ([0, 0, 8, 1, 0, 0, 0, 3, 1, 2], "holds 2 bytes where its header says 3: get the file again"),
        ([0, 0, 8, 1, 0, 0, 0, 3, 1, 2, 3, 4], "holds 4 bytes where its header says 3"),
        ([0, 0, 8, 1, 255, 255, 255, 255, 1], "header says 4294967295"),
    ],
)
def test_other_files(write, content, message):
    with pytest.raises(DataError, match=message) as caught:
        read_idx(write(content), shape=())
    assert "a.gz: " in str(caught.value) and "\n" not in str(caught.value)


def test_damaged_gzip(write):
    content = [0, 0, 8, 1, 0, 0, 1, 0, *range(256)]
    whole = gzip.compress(bytes(content))
    cut, flipped = whole[: len(whole) // 2], bytearray(whole)
    flipped[-6] ^= 1  # in the checksum
    garbled = whole[:15] + bytes(20) + whole[35:]
    for damaged in (cut, flipped, garbled, content):
        with pytest.raises(DataError, match=r"a\.gz: the gzip file is damaged or cut off .*: get the file again"):
            read_idx(write(damaged, compress=False), shape=())


def test_a_file_that_cannot_be_opened(tmp_path):
    with pytest.raises(DataError, match="cannot be opened"):
        read_idx(tmp_path, shape=())  # a folder
