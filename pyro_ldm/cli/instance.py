"""Objects from the options that name their class."""

import importlib
import inspect
from typing import Any

from pyro_ldm.cli.program import Program


def instance(choice: Any, **shape: Any) -> Any:
    """An object from its class path and options; shapes are passed where the constructor takes them.

    Args:
        choice: A mapping of ``class_path`` and ``init_args``, as the parser makes it.
        **shape: Shapes by the names of a constructor's arguments.

    Example:
        >>> instance({"class_path": "pyro_ldm.priors.Gaussian"}, latent_dim=3, in_features=8)(range(5)).shape
        torch.Size([5, 3])
    """
    choice = choice.as_dict() if hasattr(choice, "as_dict") else choice
    module, _, name = choice["class_path"].rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    takes = inspect.signature(cls).parameters
    options = {k: instance(v) if _is_choice(v) else v for k, v in (choice.get("init_args") or {}).items()}
    made = cls(**{k: v for k, v in shape.items() if k in takes}, **options)
    return made.load(**shape) if isinstance(made, Program) else made


def _is_choice(value: Any) -> bool:
    return isinstance(value, dict) and "class_path" in value
