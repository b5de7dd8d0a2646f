"""Tables of numbers from .csv and .parquet files; one row per datum, one column per dimension."""

import csv
import warnings
from pathlib import Path

import numpy as np

from pyro_ldm.datasets.data import DataError


def read_csv(path: Path) -> np.ndarray:
    """The numbers of a .csv file: commas, UTF-8, with or without one header line.

    The first line is a header if none of its cells is a number. Blank lines are skipped.

    Shape:
        (N, D), float64; D = 1 for a single column.

    Raises:
        DataError: If the file is empty, a line has another number of cells, or a cell is no number; with the line.
    """
    try:
        with path.open(encoding="utf-8-sig", newline="") as file:
            reader = csv.reader(file)
            first = next((row for row in reader if row), None)
            header_lines = reader.line_num
    except (UnicodeDecodeError, csv.Error) as error:
        raise DataError(f"{path}: the file is not text in UTF-8 ({error}): save it as such") from error
    if first is None:
        raise DataError(f"{path}: the file is empty: give one row of numbers per datum")
    has_header = not any(_is_number(cell) for cell in first)
    try:
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*input contained no data")  # reported below, as an error
            table = np.loadtxt(
                path,
                delimiter=",",
                skiprows=header_lines if has_header else 0,
                ndmin=2,
                encoding="utf-8-sig",
                comments=None,
                quotechar='"',
            )
    except ValueError as error:
        # The fast reader failed; a slow second look finds the line, as an editor counts it.
        raise DataError(f"{path}: {_first_fault(path, has_header) or error}") from error
    if has_header and table.size and table.shape[1] != len(first):
        raise DataError(f"{path}: {_first_fault(path, has_header)}")
    if table.size == 0:
        raise DataError(f"{path}: the file has a header ({', '.join(first[:3])} ...) and no rows of numbers: add some")
    return table


def read_parquet(path: Path) -> np.ndarray:
    """The numbers of a .parquet file; missing values become NaN. Needs pyarrow.

    Shape:
        (N, D), float64.

    Raises:
        DataError: If pyarrow is not installed, the file is damaged, or a column holds no numbers.
    """
    try:
        import pyarrow  # noqa: F401  (loaded here, since it is an extra; pandas' own message names no remedy)
    except ImportError as error:
        raise DataError(f"{path}: .parquet needs pyarrow: pip install 'pyro_ldm[parquet]'") from error
    import pandas

    try:
        frame = pandas.read_parquet(path, engine="pyarrow")
    except (ValueError, OSError, NotImplementedError) as error:
        reason = str(error).splitlines()[0]
        raise DataError(f"{path}: the file cannot be read as parquet ({reason}): write it again") from error
    bad = [str(name) for name, dtype in frame.dtypes.items() if getattr(dtype, "kind", "O") not in "biuf"]
    if bad:
        raise DataError(f"{path}: not real numbers are the columns {', '.join(bad)}: drop or encode them")
    return frame.to_numpy(dtype=np.float64, na_value=np.nan)


def _is_number(cell: str) -> bool:
    try:
        float(cell)
    except ValueError:
        return False
    return True


def _first_fault(path: Path, has_header: bool) -> str | None:
    """What is wrong with the first bad line of a .csv file."""
    width = None
    with path.open(encoding="utf-8-sig", newline="", errors="replace") as file:
        reader = csv.reader(file)
        try:
            for row in reader:
                if not row:
                    continue
                if width is None:
                    width = len(row)
                    if has_header:
                        continue
                if len(row) != width:
                    return (
                        f"line {reader.line_num} has {len(row)} cell(s), the first line {width}: make all equally long"
                    )
                for column, cell in enumerate(row, 1):
                    if not _is_number(cell):
                        return (
                            f"line {reader.line_num}, column {column} holds {cell[:40]!r}, which is no number: "
                            "fill in or drop missing values, and keep columns of numbers only, separated by commas"
                        )
        except csv.Error as error:
            return f"line {reader.line_num} cannot be read ({error}): write it as numbers separated by commas"
    return None
