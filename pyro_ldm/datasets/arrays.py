"""Arrays from NumPy's files. Pickled objects are refused: loading one can run any program."""

import zipfile
import zlib
from pathlib import Path

import numpy as np

from pyro_ldm.datasets.data import DataError


def read_npy(path: Path) -> np.ndarray:
    """The array of an .npy file.

    Raises:
        DataError: If the file is empty or damaged, or holds pickled objects.
    """
    try:
        with path.open("rb") as file:
            return np.lib.format.read_array(file, allow_pickle=False)
    except (ValueError, EOFError, MemoryError) as error:
        raise _unreadable(path, error) from error


def read_npz(path: Path, *, key: str | None = None) -> np.ndarray:
    """One array of an .npz file.

    Args:
        path: The file.
        key: Name of the array; may be None if the file holds one array only.

    Raises:
        DataError: If the file is damaged, the key is missing or not among its arrays, or the array is pickled objects.
    """
    if not zipfile.is_zipfile(path):
        raise DataError(f"{path}: this is no .npz file: write it with numpy.savez")
    try:
        with np.load(path, allow_pickle=False) as archive:
            keys = archive.files
            if not keys:
                raise DataError(f"{path}: the file holds no arrays: write one with numpy.savez")
            if key is None and len(keys) > 1:
                raise DataError(f"{path}: the file holds {len(keys)} arrays: choose one by key, of {', '.join(keys)}")
            key = keys[0] if key is None else key
            if key not in keys:
                raise DataError(f"{path}: the file holds no array {key!r}: choose one by key, of {', '.join(keys)}")
            array = archive[key]
    except DataError:
        raise
    except (ValueError, EOFError, MemoryError, RuntimeError, zipfile.BadZipFile, zlib.error) as error:
        raise _unreadable(path, error) from error
    if not isinstance(array, np.ndarray):  # numpy hands out other members of a zip file as bytes
        raise DataError(f"{path}: {key!r} is not an array: write the file with numpy.savez")
    return array


def _unreadable(path: Path, error: Exception) -> DataError:
    if path.stat().st_size == 0:
        return DataError(f"{path}: the file is empty: write it again with numpy.save")
    if "allow_pickle" in str(error):
        return DataError(f"{path}: the array holds pickled objects, which are not loaded: save it with a numeric dtype")
    return DataError(f"{path}: the array cannot be read ({error}): write it again with numpy.save or numpy.savez")
