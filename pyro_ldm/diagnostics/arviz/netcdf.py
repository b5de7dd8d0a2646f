"""A tree as a NetCDF file, which either ArviZ opens."""

import os
from pathlib import Path
from typing import Literal

from pyro_ldm.diagnostics.arviz.adapter import Tree, datasets, make_tree

ENGINE: Literal["h5netcdf"] = "h5netcdf"


def save(tree: Tree, path: str | os.PathLike) -> None:
    """Write a tree to a NetCDF file, whole or not at all; ``arviz.from_netcdf`` of either version reads it, too.

    Args:
        tree: Of :func:`to_arviz`, or any other ``InferenceData`` or ``DataTree``.
        path: Of the file, by custom ``.nc``. One that is there is replaced.

    Raises:
        FileNotFoundError: If the folder is not there.
        IsADirectoryError: If the file is a folder.

    Example:
        >>> import tempfile
        >>> from pyro_ldm.diagnostics.arviz import group, to_arviz
        >>> with tempfile.TemporaryDirectory() as folder:
        ...     save(to_arviz(bounds={"kl": 0.1}), f"{folder}/posterior.nc")
        ...     float(group(load(f"{folder}/posterior.nc"), "bounds")["kl"])
        0.1
    """
    import xarray

    path = Path(path)
    if not path.parent.is_dir():
        raise FileNotFoundError(f"there is no folder {path.parent} to write {path.name} to: make it first")
    if path.is_dir():
        raise IsADirectoryError(f"{path} is a folder: name a file in it, {path / 'posterior.nc'} say")
    groups = datasets(tree)
    temporary = path.with_name(f".{path.name}.{os.getpid()}.partial")
    try:
        xarray.Dataset(attrs=dict(tree.attrs)).to_netcdf(temporary, mode="w", engine=ENGINE)
        for name, dataset in groups.items():
            dataset.to_netcdf(temporary, mode="a", group=name, engine=ENGINE)
        os.replace(temporary, path)
    except BaseException:
        temporary.unlink(missing_ok=True)
        raise


def load(path: str | os.PathLike) -> Tree:
    """Read a tree from a NetCDF file, of :func:`save` or of ArviZ, into memory.

    Args:
        path: Of the file.

    Raises:
        FileNotFoundError: If there is no such file.
        ValueError: If it is no NetCDF file, is broken, or holds no groups.
    """
    import h5netcdf
    import xarray

    path = Path(path)
    if not path.is_file():
        raise FileNotFoundError(f"there is no file {path}: save a tree first, or correct the path")
    try:
        with h5netcdf.File(path, "r") as file:
            names = list(file.groups)
        groups = {name: xarray.load_dataset(path, group=name, engine=ENGINE) for name in names}
        attrs = xarray.load_dataset(path, engine=ENGINE).attrs
    except (OSError, KeyError, RuntimeError, ValueError) as error:
        raise ValueError(f"{path} cannot be read as NetCDF, it is broken or of another kind: write it anew") from error
    if not groups:
        raise ValueError(f"{path} holds no groups, so it is no tree of results: pass a file that save wrote")
    return make_tree(groups, attrs)
