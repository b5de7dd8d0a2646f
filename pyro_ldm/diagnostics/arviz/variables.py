"""Arrays and tensors as the variables of one group: an ``xarray.Dataset`` with named dims."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np
import torch

if TYPE_CHECKING:
    from xarray import Dataset

SAMPLE_DIMS = ("chain", "draw")
SAMPLED = (
    "posterior",
    "prior",
    "posterior_predictive",
    "prior_predictive",
    "sample_stats",
    "log_likelihood",
)
OF_DATA = ("observed_data", "latents", "posterior_predictive", "prior_predictive")  # where a site has one row per datum
LATENT_SITES = ("z", "z_prime")


def make_group(
    name: str,
    variables: Mapping[str, Any],
    *,
    coords: Mapping[str, Sequence] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> "Dataset":
    """One group of a tree.

    Args:
        name: The group's.
        variables: Arrays or tensors of any device and dtype, by name.
        coords: Labels, by dim; those of dims that the group lacks are not used.
        dims: Names of a variable's dims, after (chain, draw), by variable.
        attrs: The group's attributes.

    Raises:
        ValueError: If names collide, or a shape does not fit its dims, their labels, or the other variables.
    """
    import xarray

    if not variables:
        raise ValueError(f"group {name!r} has no variables: leave it out, or pass a dict of arrays")
    coords, dims = coords or {}, dims or {}
    sample_dims = SAMPLE_DIMS if name in SAMPLED else ()
    arrays = {key: as_storable(values, name=f"{key!r} of {name}") for key, values in variables.items()}
    named = {key: _dims(name, key, array, sample_dims, dims.get(key)) for key, array in arrays.items()}
    sizes = _sizes(name, arrays, named)
    for dim in sizes:
        if dim in arrays:
            raise ValueError(
                f"{name} has both a variable and a dim called {dim!r}: rename the dim in dims, or the site"
            )
    for dim in sizes.keys() & coords.keys():
        if dim in SAMPLE_DIMS:
            raise ValueError(f"coords names {dim!r}, which ArviZ keeps for the samples: rename that coord and its dim")
        if len(coords[dim]) != sizes[dim]:
            raise ValueError(
                f"coords has {len(coords[dim])} labels of {dim!r}, which has size {sizes[dim]} in {name}: pass one "
                "label each, or give the variable another dim in dims"
            )
    labels = {dim: np.asarray(coords.get(dim, np.arange(size))) for dim, size in sizes.items()}
    data = {key: (named[key], array) for key, array in arrays.items()}
    return xarray.Dataset(data, coords=labels, attrs=dict(attrs or {}))


def as_storable(values: Any, *, name: str) -> np.ndarray:
    """An array that NetCDF can hold: detached, on the CPU, half precision as float32.

    Args:
        values: Array, tensor or number.
        name: What the caller calls it, for the message.

    Raises:
        ValueError: If it is not an array of numbers, truth values or strings.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu()
        values = (values.float() if values.dtype in (torch.bfloat16, torch.float16) else values).numpy()
    try:
        array = np.array(values)  # a copy, lest the caller's own changes it later
    except ValueError as error:
        raise ValueError(f"{name} is ragged: pass an array, padded, with its mask beside it") from error
    if array.dtype.kind not in "biufU":
        raise ValueError(f"{name} is of dtype {array.dtype}: pass an array of numbers, truth values or strings")
    return array.astype(np.float32) if array.dtype == np.float16 else array


def _dims(group: str, key: str, array: np.ndarray, sample_dims: tuple, given: Sequence[str] | None) -> tuple[str, ...]:
    """The names of all dims of a variable: of the samples, then as given or as ArviZ would call them."""
    if not isinstance(key, str) or not key or "/" in key:
        raise ValueError(f"{group} has a variable called {key!r}, which NetCDF cannot hold: rename it, without a slash")
    if sample_dims and 0 in array.shape[:2]:
        raise ValueError(f"{key!r} of {group} has shape {array.shape}, without a draw: leave it out, or draw some")
    if array.ndim < len(sample_dims):
        raise ValueError(
            f"{key!r} of {group} has shape {array.shape}, but its arrays lead with (chain, draw): put a chain of one "
            "in front with [None]"
        )
    num_dims = array.ndim - len(sample_dims)
    if given is not None and group == "log_likelihood" and not isinstance(given, str):
        given = given[:num_dims]  # a site's, without those of its event
    if given is None:
        return (*sample_dims, *default_dims(group, key, num_dims))
    if isinstance(given, str) or len(given) != num_dims:
        raise ValueError(
            f"dims of {key!r} are {given!r}, but in {group} it has shape {array.shape}: pass a list of {num_dims} "
            f"names{', without chain and draw' if sample_dims else ''}"
        )
    for dim in given:
        if dim in SAMPLE_DIMS:
            raise ValueError(f"a dim of {key!r} is called {dim!r}, which ArviZ keeps for the samples: rename the plate")
        if list(given).count(dim) > 1:
            raise ValueError(f"dims of {key!r} name {dim!r} twice: rename one, such as {dim + '_bis'!r}")
    return (*sample_dims, *given)


def default_dims(group: str, key: str, num_dims: int) -> list[str]:
    """What the dims of a variable are called, after those of the samples, where nothing else is said."""
    if group == "log_likelihood" and num_dims == 1:
        return ["batch"]
    if group in OF_DATA and key in LATENT_SITES and 1 <= num_dims <= 3:
        return ["batch", *["time"] * (num_dims == 3), *[f"{key}_dim"] * (num_dims > 1)]
    return [f"{key}_dim_{i}" for i in range(num_dims)]


def _sizes(group: str, arrays: Mapping[str, np.ndarray], named: Mapping[str, tuple[str, ...]]) -> dict[str, int]:
    """The size of each dim; refuses one name for two sizes."""
    sizes: dict[str, int] = {}
    owner: dict[str, str] = {}
    for key, array in arrays.items():
        for dim, size in zip(named[key], array.shape, strict=True):
            if sizes.setdefault(dim, size) != size:
                what = "pass as many for all" if dim in SAMPLE_DIMS else "give one of them another name in dims"
                raise ValueError(
                    f"in {group}, {dim!r} has size {sizes[dim]} in {owner[dim]!r} and {size} in {key!r}: {what}"
                )
            owner.setdefault(dim, key)
    return sizes
