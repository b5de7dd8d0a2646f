"""Data: worlds with known latents, real data that is never downloaded, and readers for data of one's own.

A built-in data set is one file in this package, holding a function of the same name that can be called without
arguments and returns `Data`. Nothing else needs to know of it: `builtin`, `load` and the command line find it. If its
first parameter is annotated with a `Literal` of names, these are its variants (`load("dots:circle")`). Sets too large
for a package are read from the user's own copy, which `local.find_folder` looks for.
"""

import difflib
import importlib
import os
import pkgutil
from collections.abc import Callable
from typing import Literal, get_args, get_origin, get_type_hints

from pyro_ldm.datasets.cifar10 import cifar10
from pyro_ldm.datasets.cifar100 import cifar100
from pyro_ldm.datasets.data import Data, DataError
from pyro_ldm.datasets.digits import digits
from pyro_ldm.datasets.dots import dots
from pyro_ldm.datasets.fashion_mnist import fashion_mnist
from pyro_ldm.datasets.files import FILE_TYPES, read
from pyro_ldm.datasets.kvae_physics import kvae_physics
from pyro_ldm.datasets.local import MissingDataError
from pyro_ldm.datasets.lorenz import lorenz
from pyro_ldm.datasets.ornstein_uhlenbeck import ornstein_uhlenbeck
from pyro_ldm.datasets.patches import patches
from pyro_ldm.datasets.pendulum import pendulum
from pyro_ldm.datasets.photographs import photographs
from pyro_ldm.datasets.pushed_dot import pushed_dot
from pyro_ldm.datasets.series import cut_series
from pyro_ldm.datasets.signal_and_nuisance import signal_and_nuisance
from pyro_ldm.datasets.sources import sources

__all__ = [
    "Data",
    "DataError",
    "MissingDataError",
    "builtin",
    "cifar10",
    "cifar100",
    "cut_series",
    "digits",
    "dots",
    "fashion_mnist",
    "kvae_physics",
    "load",
    "lorenz",
    "ornstein_uhlenbeck",
    "patches",
    "pendulum",
    "photographs",
    "pushed_dot",
    "read",
    "signal_and_nuisance",
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

    A built-in name wins over a folder of that name, which is then written `./digits`. One that has variants, as the
    worlds of `dots`, may carry one after a colon.

    Args:
        name: A name of `builtin`, alone or with a variant, or a path for `read`.
        key: See `read`.
        size: See `read`.

    Raises:
        DataError: If it is neither a built-in name nor a path, there is no such variant, or what `read` raises.

    Example:
        >>> load("digits")
        Data('digits', 1797 x (1, 8, 8), y)
        >>> load("dots:square")
        Data('dots:square', 1000 x (100, 1, 10, 10), truth)
    """
    known = builtin()
    base, colon, variant = name.partition(":") if isinstance(name, str) else ("", "", "")
    if base in known:
        if key is not None or size is not None:
            raise DataError(f"{name}: key and size are for files and folders, not for built-in data: leave them out")
        if not colon:
            return known[base]()
        variants = _variants(known[base])
        if variant not in variants:
            close = difflib.get_close_matches(variant, variants, n=1)
            hint = f" (did you mean {base}:{close[0]}?)" if close else ""
            remedy = f"give one of {', '.join(variants)}" if variants else f"{base} has none, so write {base} alone"
            raise DataError(f"{name}: there is no variant {variant!r} of {base}{hint}: {remedy}")
        return known[base](variant)
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


def _variants(make: Callable[..., Data]) -> tuple[str, ...]:
    """The variants of a built-in data set: the choices that its first parameter is annotated with, if it is."""
    hints = get_type_hints(make)
    first = next((hint for parameter, hint in hints.items() if parameter != "return"), None)
    return get_args(first) if get_origin(first) is Literal else ()
