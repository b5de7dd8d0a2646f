"""Results of an inference as an ArviZ tree of groups."""

from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_ldm.diagnostics.arviz import adapter
from pyro_ldm.diagnostics.arviz.adapter import Tree, datasets, make_tree
from pyro_ldm.diagnostics.arviz.provenance import provenance, storable_attrs
from pyro_ldm.diagnostics.arviz.variables import SAMPLE_DIMS, make_group

Variables = Mapping[str, Any]  # arrays or tensors by name


def to_arviz(
    *,
    posterior: Variables | None = None,
    prior: Variables | None = None,
    posterior_predictive: Variables | None = None,
    prior_predictive: Variables | None = None,
    sample_stats: Variables | None = None,
    log_likelihood: Variables | None = None,
    observed_data: Variables | None = None,
    constant_data: Variables | None = None,
    latents: Variables | None = None,
    bounds: Variables | None = None,
    prior_sbc: Variables | None = None,
    coords: Mapping[str, Sequence] | None = None,
    dims: Mapping[str, Sequence[str]] | None = None,
    attrs: Mapping[str, Any] | None = None,
) -> Tree:
    """Arrays and tensors as ArviZ has them: ``InferenceData`` under arviz 0.x, ``xarray.DataTree`` under arviz 1.x.

    Each group is a dict of arrays or tensors, of any device and dtype, by name; half precision is stored as float32.
    Without ``dims`` a variable's are called as ArviZ does, ``scale_dim_0``; those of the latents ``z`` and ``z_prime``
    (batch, z_dim), of series (batch, time, z_dim), and that of a pointwise log-likelihood batch.

    Args:
        posterior: Draws of the prior's parameters given latents.
        prior: Draws of the prior's parameters.
        posterior_predictive: Replicated latents, for each draw of the posterior.
        prior_predictive: Replicated latents, for each draw of the prior.
        sample_stats: Of the sampler, under ArviZ's names: diverging, step_size, lp and so on.
        log_likelihood: Of each datum under each draw, nats.
        observed_data: The latents that the posterior is conditioned on.
        constant_data: What else the prior was called with.
        latents: Latents of a trained encoder.
        bounds: Bounds and estimates of KL(R || P).
        prior_sbc: Ranks of simulation-based calibration.
        coords: Labels by dim; those of unknown dims are not used.
        dims: Names of a variable's dims, without chain and draw, by variable.
        attrs: Of the whole: numbers or strings, such as ``inference="NUTS"``, ``seed``, ``objective``, ``estimator``.
            Versions and the time are added.

    Shape:
        posterior, prior, their predictives, sample_stats and log_likelihood (chain, draw, ...); the others (...).

    Raises:
        ValueError: If there is no group, an array does not fit, or names collide: a dim called chain or draw, a dim
            called as a variable, one dim of two sizes within a group.

    Example:
        >>> draws = {"scale": torch.rand(4, 100, 2)}
        >>> tree = to_arviz(posterior=draws, dims={"scale": ["z_dim"]}, coords={"z_dim": ["a", "b"]})
        >>> adapter.group(tree, "posterior")["scale"].sel(z_dim="b").shape
        (4, 100)
    """
    groups = {
        "posterior": posterior,
        "posterior_predictive": posterior_predictive,
        "sample_stats": sample_stats,
        "log_likelihood": log_likelihood,
        "prior": prior,
        "prior_predictive": prior_predictive,
        "observed_data": observed_data,
        "constant_data": constant_data,
        "latents": latents,
        "bounds": bounds,
        "prior_sbc": prior_sbc,
    }
    there = {name: variables for name, variables in groups.items() if variables is not None}
    if not there:
        raise ValueError("there is nothing to export: pass at least one group, such as posterior={'scale': draws}")
    wrong = [name for name, variables in there.items() if not isinstance(variables, Mapping)]
    if wrong:
        raise ValueError(
            f"{wrong[0]} is a {type(there[wrong[0]]).__name__}: pass a dict of arrays by variable, such as "
            "{'scale': draws}"
        )
    unknown = set(dims or ()) - {key for variables in there.values() for key in variables}
    if unknown:
        raise ValueError(
            f"dims names {sorted(unknown)}, but the variables are "
            f"{sorted({key for variables in there.values() for key in variables})}: correct the name"
        )
    attributes = provenance() | storable_attrs(attrs or {})
    made = {
        name: make_group(name, variables, coords=coords, dims=dims, attrs=attributes)
        for name, variables in there.items()
    }
    _check_draws(made)
    return make_tree(made, attributes)


def add_groups(tree: Tree, **groups: Any) -> Tree:
    """A new tree with more groups, or with other ones in place of those of the same name; the old one stays as it was.

    Args:
        tree: Of :func:`to_arviz`, or any other ``InferenceData`` or ``DataTree``.
        **groups: Groups, coords, dims and attrs, as for :func:`to_arviz`.

    Raises:
        ValueError: As :func:`to_arviz`.

    Example:
        >>> tree = to_arviz(posterior={"scale": torch.rand(4, 100)})
        >>> more = add_groups(tree, latents={"z": torch.randn(50, 2)})
        >>> adapter.has_group(more, "latents"), adapter.has_group(tree, "latents")
        (True, False)
    """
    added = to_arviz(**groups)
    made = datasets(tree) | datasets(added)
    _check_draws(made)
    return make_tree(made, dict(tree.attrs) | storable_attrs(groups.get("attrs") or {}))


def merged(found: Mapping[str, Variables], given: Mapping[str, Any]) -> dict[str, Any]:
    """What an inference gives and what its caller adds, as arguments of :func:`to_arviz`; the caller has the last word.

    Args:
        found: Dicts by argument, empty where there is nothing.
        given: The caller's arguments.
    """
    return {**given, **{name: {**values, **(given.get(name) or {})} or None for name, values in found.items()}}


def draws(tree: Tree, group: str = "posterior") -> dict[str, Tensor]:
    """Draws as tensors, chain after chain.

    Args:
        tree: Of :func:`to_arviz`.
        group: Whose draws.

    Shape:
        Each (chain, draw, ...) to (S, ...), S = chains times draws, on the CPU.

    Raises:
        ValueError: If the group is not there or holds no draws.

    Example:
        >>> draws(to_arviz(posterior={"scale": torch.rand(4, 100, 2)}))["scale"].shape
        torch.Size([400, 2])
    """
    dataset = adapter.group(tree, group)
    if not set(SAMPLE_DIMS) <= set(dataset.dims):
        raise ValueError(
            f"group {group!r} holds no draws, its dims are {sorted(map(str, dataset.dims))}: "
            "read it with group(tree, name)"
        )
    return {
        str(name): torch.as_tensor(np.array(array.transpose(*SAMPLE_DIMS, ...))).flatten(0, 1)
        for name, array in dataset.data_vars.items()
    }


def _check_draws(groups: Mapping[str, Any]) -> None:
    """What belongs to the posterior's draws has as many."""
    sizes = {
        name: tuple(groups[name].sizes[dim] for dim in SAMPLE_DIMS)
        for name in ("posterior", "sample_stats", "log_likelihood")
        if name in groups
    }
    if len(set(sizes.values())) > 1:
        raise ValueError(
            f"(chain, draw) must be the same in the posterior, its stats and log-likelihood, got {sizes}: compute them "
            "at these draws"
        )
