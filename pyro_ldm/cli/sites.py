"""What a prior samples, found by running it on a few rows."""

import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions import ImproperUniform
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyro_ldm.compatibility import on_sphere


class Sites(NamedTuple):
    """A prior's sites: names of those within the plate and outside it; what the former are, and where they lie.

    Attributes:
        local: Names of the sites per datum.
        outside: Names of the others.
        latent_dim: D of the former.
        num_steps: T of a series (T, D), ``None`` of a vector (D,).
        on_sphere: Whether they are unit vectors.
    """

    local: tuple[str, ...]
    outside: tuple[str, ...]
    latent_dim: int
    num_steps: int | None
    on_sphere: bool


def sites_of(prior: Callable, data: tuple[Tensor, ...]) -> Sites:
    """A prior's sites, found by running it on a few rows of x, and of the mask where the data have one.

    Raises:
        ValueError: If it does not run, or samples nothing within the plate, or other than vectors of one width or one
            series of such.
    """
    batch = tuple(tensor[:4] for tensor in data)
    rows = batch[0]
    signature = inspect.signature(prior.forward if isinstance(prior, nn.Module) else prior)
    views = False
    try:
        signature.bind(*batch)
    except TypeError:  # a prior of two views may name both
        if len(data) > 1:
            raise ValueError(
                "the data have a mask of steps, which the prior is called with beside x: let it take both, as "
                "prior(x, mask)"
            ) from None
        batch, views = (rows, rows), True
    try:
        with torch.no_grad(), pyro.get_param_store().scope(), _FlatSites():
            trace = poutine.trace(prior).get_trace(*batch)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("Trace Shapes:")[0].strip()
        raise ValueError(f"the prior does not run on a batch of {len(rows)} rows: {reason}") from error
    found: dict[str, Any] = {n: trace.nodes[n] for n in trace.stochastic_nodes}
    found = {n: s for n, s in found.items() if not site_is_subsample(s)}
    local = tuple(n for n, s in found.items() if any(f.name == "batch" for f in s["cond_indep_stack"]))
    if not local:
        raise ValueError('the prior samples nothing within pyro.plate("batch", len(x)): put the latent sites there')
    if views and len(local) < 2:
        raise ValueError(f"the prior takes two views and has one site {local[0]!r}: give it one argument, or two sites")
    shapes = {tuple(found[n]["fn"].event_shape) for n in local}
    shape = next(iter(shapes))
    if len(shapes) != 1 or not (len(shape) == 1 or (len(shape) == 2 and len(local) == 1)):
        raise ValueError(
            f"the prior's sites {list(local)} must be vectors of one width, or one site a series of them, got event "
            f"shapes {sorted(shapes)}: use .to_event(1) on a distribution of one number per latent dim"
        )
    outside = tuple(n for n in found if n not in local)
    steps = shape[0] if len(shape) == 2 else None
    return Sites(local, outside, shape[-1], steps, all(on_sphere(found[n]["fn"]) for n in local))


class _FlatSites(Messenger):
    """Flat priors cannot be sampled: their sites get rows of unit norm, which the plane and the sphere both have."""

    def _pyro_sample(self, msg) -> None:
        fn = msg["fn"]
        while hasattr(fn, "base_dist"):
            fn = fn.base_dist
        if isinstance(fn, ImproperUniform) and msg["value"] is None:
            shape = msg["fn"].shape()
            msg["value"] = torch.full(shape, 1.0 / (shape[-1] if shape else 1) ** 0.5)
