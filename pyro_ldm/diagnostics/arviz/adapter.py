"""The one place that knows which ArviZ is there: ``InferenceData`` of arviz 0.x, ``xarray.DataTree`` of arviz 1.x."""

import warnings
from collections.abc import Mapping
from types import ModuleType
from typing import TYPE_CHECKING, Any, TypeAlias

import numpy as np

if TYPE_CHECKING:
    from xarray import Dataset

Tree: TypeAlias = Any  # arviz.InferenceData under arviz 0.x, xarray.DataTree under arviz 1.x


def import_arviz() -> ModuleType:
    """ArviZ, imported when it is first needed, without the notice of its 0.23 that 1.0 will differ."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)
        import arviz
    return arviz


def has_data_tree() -> bool:
    """Whether this is arviz 1.x; asking that one for ``InferenceData`` would warn."""
    return int(import_arviz().__version__.split(".")[0]) >= 1


def pareto_smooth(log_weights: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Pareto-smoothed log-weights, up to a constant, and k-hat.

    Args:
        log_weights: (..., N), the samples last.
    """
    if not has_data_tree():
        return import_arviz().psislw(log_weights)
    from arviz_stats.base import array_stats

    return array_stats.psislw(-log_weights)  # it takes the log-likelihood of leave-one-out, minus these weights


def make_tree(groups: Mapping[str, "Dataset"], attrs: Mapping[str, Any]) -> Tree:
    """Datasets as the tree of the ArviZ that is there.

    Args:
        groups: Datasets by the group's name.
        attrs: Attributes of the whole.
    """
    if not has_data_tree():
        return import_arviz().InferenceData(attrs=dict(attrs), **groups)
    import xarray

    tree = xarray.DataTree.from_dict(dict(groups))
    tree.attrs.update(attrs)
    return tree


def datasets(tree: Tree) -> dict[str, "Dataset"]:
    """Every group of a tree, by its name, of either ArviZ.

    Args:
        tree: Of :func:`to_arviz`, or any other ``InferenceData`` or ``DataTree``.

    Raises:
        TypeError: If it is no such tree.
    """
    if hasattr(tree, "children"):
        return {name: child.to_dataset() for name, child in tree.children.items()}
    if hasattr(tree, "groups"):
        return {name: tree[name] for name in tree.groups()}
    raise TypeError(
        f"a tree of groups is wanted, got {type(tree).__name__}: pass what to_arviz, from_mcmc, from_svi or load return"
    )


def has_group(tree: Tree, name: str) -> bool:
    """Whether a tree has a group of that name.

    Args:
        tree: Of :func:`to_arviz`.
        name: Of the group.
    """
    return name in datasets(tree)


def group(tree: Tree, name: str) -> "Dataset":
    """One group of a tree.

    Args:
        tree: Of :func:`to_arviz`.
        name: Of the group.

    Raises:
        ValueError: If the tree has no such group.

    Example:
        >>> from pyro_ldm.diagnostics.arviz import to_arviz
        >>> tree = to_arviz(latents={"z": torch.zeros(5, 2)})
        >>> dict(group(tree, "latents").sizes)
        {'batch': 5, 'z_dim': 2}
    """
    groups = datasets(tree)
    if name not in groups:
        raise ValueError(f"the tree has no group {name!r}, it has {sorted(groups)}: add it with add_groups")
    return groups[name]
