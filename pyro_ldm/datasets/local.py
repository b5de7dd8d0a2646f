"""Where a real data set lies on the user's disk. Nothing is ever downloaded."""

import os
from collections.abc import Sequence
from pathlib import Path

from pyro_ldm.datasets.data import DataError


class MissingDataError(DataError):
    """Files of a data set that are not on this machine; the message says which, and where to put them."""


def find_folder(name: str, folder: str | os.PathLike[str] | None = None, *, files: Sequence[str]) -> Path:
    """The folder that holds the files of a data set.

    Without an argument, the first that holds them all, of `$PYRO_LDM_DATA/name`, the user's cache
    (`$XDG_CACHE_HOME/pyro_ldm/name`, or `~/.cache/pyro_ldm/name`) and Debian's `/usr/share/datasets/name`.

    Args:
        name: Name of the folder where none is given, such as "fashion-mnist".
        folder: The folder itself, if it lies elsewhere.
        files: Names of the files that it must hold.

    Raises:
        MissingDataError: If no folder holds them all.

    Example:
        >>> import pathlib, tempfile
        >>> folder = pathlib.Path(tempfile.mkdtemp())
        >>> _ = (folder / "train.bin").write_bytes(b"...")
        >>> find_folder("pets", folder, files=["train.bin"]) == folder
        True
    """
    if folder is not None:
        place = Path(folder).expanduser()
        missing = _missing(place, files)
        if missing:
            found = "lacks" if place.is_dir() else "is no folder that holds"
            raise MissingDataError(
                f"{place}: it {found} {', '.join(missing)}: put them there, or give the folder that holds them"
            )
        return place
    root, cache = os.environ.get("PYRO_LDM_DATA"), os.environ.get("XDG_CACHE_HOME") or "~/.cache"
    cached = Path(cache, "pyro_ldm", name).expanduser()
    places = [*([Path(root, name).expanduser()] if root else []), cached, Path("/usr/share/datasets", name)]
    for place in places:
        missing = _missing(place, files)
        if not missing:
            return place
        if len(missing) < len(files):  # an incomplete copy: going on in silence would hide it
            raise MissingDataError(f"{place}: it lacks {', '.join(missing)}: put them there, beside the others")
    raise MissingDataError(
        f"{name}: there is no such data in {', '.join(map(str, places))}: put {', '.join(files)} into {cached}, "
        f"or name the folder above {name} in PYRO_LDM_DATA (nothing is downloaded)"
    )


def _missing(place: Path, files: Sequence[str]) -> list[str]:
    return [file for file in files if not os.path.isfile(place / file)]
