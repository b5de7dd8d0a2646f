"""Priors and encoders of the user's own, named on the command line."""

import importlib
import importlib.util
import inspect
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from torch import nn


class Program(nn.Module):
    """What stands in the options for a program of the user's own.

    Args:
        path: ``file.py:name`` or ``package.module:name``. The name is a function of the batch, a module, or a class.
    """

    def __init__(self, path: str):
        super().__init__()
        self.path = path

    def load(self, **shape: Any) -> Any:
        """The object itself. A class is called with those shapes that its constructor cannot go without.

        Raises:
            ValueError: If there is no such file, module or name, with what there is; or if it does not run.
        """
        place, _, name = self.path.rpartition(":")
        if not place or not name.isidentifier():
            raise ValueError(f"{self.path!r} names no program: write file.py:name or package.module:name")
        module = _from_file(Path(place)) if place.endswith(".py") else _from_module(place)
        if not callable(getattr(module, name, None)):
            known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
            raise ValueError(f"{place} has no program {name!r}; it has {known}")
        program = getattr(module, name)
        if not inspect.isclass(program):
            return program
        needed = [n for n, p in inspect.signature(program).parameters.items() if p.default is p.empty]
        try:
            return program(**{n: value for n, value in shape.items() if n in needed})
        except Exception as error:
            raise ValueError(f"{self.path} cannot be built: {type(error).__name__}: {error}") from error


def _from_file(path: Path):
    from cloudpickle import register_pickle_by_value

    if not path.is_file():
        raise ValueError(f"there is no file {path}: check the path in {path}:name")
    spec: Any = importlib.util.spec_from_file_location(f"program_{path.stem}", path)
    module = importlib.util.module_from_spec(spec)
    sys.modules[spec.name] = module  # as dataclasses and pickle expect
    register_pickle_by_value(module)  # a chain of NUTS may run in a process that knows no such module
    try:
        with _importing_from(path.resolve().parent):
            spec.loader.exec_module(module)
    except Exception as error:
        raise ValueError(f"{path} does not run: {type(error).__name__}: {error}") from error
    return module


def _from_module(name: str):
    try:
        with _importing_from(Path.cwd()):
            return importlib.import_module(name)
    except ImportError as error:
        raise ValueError(f"there is no module {name}: {error}") from error


@contextmanager
def _importing_from(folder: Path) -> Iterator[None]:
    """What Python does for a script, the console's entry points lack: imports from beside it."""
    sys.path.insert(0, str(folder))
    try:
        yield
    finally:
        sys.path.remove(str(folder))
