import sys

import numpy as np
import pandas as pd
import pytest

from pyro_ldm.datasets import DataError
from pyro_ldm.datasets.tables import read_csv, read_parquet


@pytest.fixture
def write(tmp_path):
    def write(text, encoding="utf-8"):
        path = tmp_path / "a.csv"
        path.write_bytes(text.encode(encoding))
        return path

    return write


@pytest.mark.parametrize(
    "text",
    [
        "1,2\n3,4\n",
        "1,2\r\n3,4",
        "a,b\n1,2\n3,4\n",
        '\n"width, cm","height"\n"1",2\n\n3, 4.0\n\n',
        ",b\n1e0,2\n3,4\n",
        "# a,b\n1,2\n3,4\n",
    ],
)
def test_csv_with_and_without_header(write, text):
    assert read_csv(write(text)).tolist() == [[1, 2], [3, 4]]


def test_csv_written_by_a_spreadsheet_begins_with_a_byte_order_mark(write):
    assert read_csv(write("1,2\n3,4\n", "utf-8-sig")).tolist() == [[1, 2], [3, 4]]
    assert read_csv(write("größe,b\n1,2\n3,4\n", "utf-8-sig")).tolist() == [[1, 2], [3, 4]]


def test_csv_of_one_column(write):
    assert read_csv(write("h\n1\n2\n")).tolist() == [[1], [2]]


@pytest.mark.parametrize(
    "text, message",
    [
        ("", "the file is empty"),
        ("\n\n", "the file is empty"),
        ("a,b\n", r"a header \(a, b ...\) and no rows"),
        ("a,b\n1,2\n\n3,4,5\n", r"line 4 has 3 cell\(s\), the first line 2"),
        ("1,2\n3\n", r"line 2 has 1 cell\(s\), the first line 2"),
        ("a,b,c\n1,2\n3,4\n", r"line 2 has 2 cell\(s\), the first line 3"),
        ("a,b\n1,2\n3,x\n", "line 3, column 2 holds 'x', which is no number"),
        ("a,b\n1,2\n3,\n", "line 3, column 2 holds '', which is no number: fill in or drop"),
        ("1,x\n3,4\n", "line 1, column 2 holds 'x'"),
        ("1;2\n3;4\n", "line 2, column 1 holds '3;4', .* separated by commas"),
    ],
)
def test_bad_csv_names_the_line(write, text, message):
    with pytest.raises(DataError, match=message) as caught:
        read_csv(write(text))
    assert "a.csv: " in str(caught.value) and "\n" not in str(caught.value)


def test_csv_that_is_no_text(write):
    with pytest.raises(DataError, match="not text in UTF-8"):
        read_csv(write("größe\n1\n", "latin-1"))
    with pytest.raises(DataError, match="line 20001, column 1"):
        read_csv(write("1\n" * 20000 + "ö\n", "latin-1"))
    with pytest.raises(DataError, match="line 2 cannot be read"):
        read_csv(write("1\n" + "9" * 200_000 + "x\n"))


def test_a_large_csv_is_exact(write):
    table = np.random.default_rng(0).normal(size=(2000, 5))
    assert np.array_equal(read_csv(write("\n".join(",".join(map(repr, row)) for row in table.tolist()))), table)


def test_parquet(tmp_path):
    frame = pd.DataFrame({"a": [1, 2], "b": [0.5, None], "c": [True, False], "d": pd.array([1, None], dtype="Int64")})
    frame.to_parquet(tmp_path / "a.parquet")
    expected = np.array([[1, 0.5, 1, 1], [2, np.nan, 0, np.nan]])
    assert np.array_equal(read_parquet(tmp_path / "a.parquet"), expected, equal_nan=True)


def test_parquet_of_other_things(tmp_path):
    frame = pd.DataFrame({"a": [1, 2], "name": ["x", "y"], "when": pd.to_datetime(["2020-01-01", "2020-01-02"])})
    frame.to_parquet(tmp_path / "a.parquet")
    with pytest.raises(DataError, match="not real numbers are the columns name, when: drop or encode them"):
        read_parquet(tmp_path / "a.parquet")


@pytest.mark.parametrize("content", [b"", b"no parquet at all"])
def test_damaged_parquet(tmp_path, content):
    path = tmp_path / "a.parquet"
    path.write_bytes(content)
    with pytest.raises(DataError, match="cannot be read as parquet") as caught:
        read_parquet(path)
    assert "\n" not in str(caught.value)


def test_parquet_without_pyarrow(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "pyarrow", None)
    with pytest.raises(DataError, match=r"pip install 'pyro_ldm\[parquet\]'"):
        read_parquet(tmp_path / "a.parquet")
