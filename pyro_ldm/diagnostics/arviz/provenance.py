"""Where a result comes from: versions, the time, and what the caller says of the inference."""

from collections.abc import Mapping
from datetime import UTC, datetime
from importlib.metadata import version
from typing import Any

import numpy as np
import torch


def provenance() -> dict[str, str]:
    """Attributes that every tree carries, ArviZ's own among them."""
    return {
        "created_at": datetime.now(UTC).isoformat(),
        "creation_library": "pyro_ldm",
        "creation_library_version": version("pyro_ldm"),
        "inference_library": "pyro",
        "inference_library_version": version("pyro-ppl"),
        "pyro_ldm_version": version("pyro_ldm"),
        "pyro_version": version("pyro-ppl"),
        "torch_version": str(torch.__version__),
        "arviz_version": version("arviz"),
    }


def storable_attrs(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Attributes that NetCDF can hold: ``None`` is left out, truth values are 0 or 1, what it cannot hold is text.

    Args:
        attrs: By name.
    """
    return {str(name): _storable(value) for name, value in attrs.items() if value is not None}


def _storable(value: Any) -> Any:
    if hasattr(value, "item") and getattr(value, "ndim", None) == 0:
        value = value.item()  # a number of numpy or torch
    if isinstance(value, bool):
        return int(value)
    if isinstance(value, np.ndarray):
        return value if value.dtype.kind in "iuf" else str(value)
    # Of larger integers HDF5 has no type.
    fits = isinstance(value, float | str) or (isinstance(value, int) and -(2**63) <= value < 2**63)
    return value if fits else str(value)
