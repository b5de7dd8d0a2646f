"""Data: worlds with known latents, real data that is never downloaded, and readers for data of one's own.

A built-in data set is one file in this package, holding a function of the same name that can be called without
arguments and returns `Data`. Nothing else needs to know of it: `builtin`, `load` and the command line find it. Sets too
large for a package are read from the user's own copy, which `local.find_folder` looks for.
"""

import difflib
import importlib
import os
import pkgutil
from collections.abc import Callable

from pyro_ldm.datasets.cifar10 import cifar10
from pyro_ldm.datasets.cifar100 import cifar100
from pyro_ldm.datasets.data import Data, DataError
from pyro_ldm.datasets.digits import digits
from pyro_ldm.datasets.fashion_mnist import fashion_mnist
from pyro_ldm.datasets.files import FILE_TYPES, read
from pyro_ldm.datasets.local import MissingDataError
from pyro_ldm.datasets.ornstein_uhlenbeck import ornstein_uhlenbeck
from pyro_ldm.datasets.patches import patches
from pyro_ldm.datasets.photographs import photographs
from pyro_ldm.datasets.sources import sources

__all__ = [
    "Data",
    "DataError",
    "MissingDataError",
    "builtin",
    "cifar10",
    "cifar100",
    "digits",
    "fashion_mnist",
    "load",
    "ornstein_uhlenbeck",
    "patches",
    "photographs",
    "read",
    "sources",
]


def builtin() -> dict[str, Callable[..., Data]]:
    """The built-in data sets by name, each a function; the first line of its docstring says what it is.

    Example:
        >>> builtin()["digits"]()
        Data('digits', 1797 x (1, 8, 8), y)
    """
    names = sorted(module.name for module in pkgutil.iter_modules(__path__))
    modules = {name: importlib.import_module(f"{__name__}.{name}") for name in names}
    return {name: getattr(module, name) for name, module in modules.items() if hasattr(module, name)}


def load(name: str | os.PathLike[str], *, key: str | None = None, size: int | tuple[int, int] | None = None) -> Data:
    """A built-in data set by its name, or data of the user's own by its path.

    A built-in name wins over a folder of that name, which is then written `./digits`.

    Args:
        name: A name of `builtin`, or a path for `read`.
        key: See `read`.
        size: See `read`.

    Raises:
        DataError: If it is neither a built-in name nor a path, or what `read` raises.

    Example:
        >>> load("digits")
        Data('digits', 1797 x (1, 8, 8), y)
    """
    known = builtin()
    if isinstance(name, str) and name in known:
        if key is not None or size is not None:
            raise DataError(f"{name}: key and size are for files and folders, not for built-in data: leave them out")
        return known[name]()
    text = os.fspath(name)
    looks_like_path = os.path.splitext(text)[1] or os.path.dirname(text) or not isinstance(name, str)
    if looks_like_path or os.path.exists(text):
        return read(name, key=key, size=size)
    close = difflib.get_close_matches(text, known, n=1)
    hint = f" (did you mean {close[0]!r}?)" if close else ""
    raise DataError(
        f"{text!r} is neither built-in data nor a file{hint}: "
        f"give one of {', '.join(known)}, or a path to {', '.join(FILE_TYPES[:-1])} or {FILE_TYPES[-1]}"
    )
