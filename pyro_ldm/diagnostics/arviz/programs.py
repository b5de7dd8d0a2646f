"""Pyro programs as the exporter reads them: without a trace in the random state or the parameter store."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta, Unit
from pyro.poutine import Trace
from pyro.poutine.util import site_is_subsample
from torch import nn

from pyro_ldm.devices import cuda_devices
from pyro_ldm.diagnostics.arviz.variables import default_dims
from pyro_ldm.objective import keep_local_parameters


@contextmanager
def running(*programs: Callable, seed: int = 0) -> Iterator[None]:
    """Run programs as they are after training: without gradients, in evaluation mode, on random numbers of their own.

    Args:
        *programs: Those that will run.
        seed: Of the random numbers.
    """
    modules = nn.ModuleList([module for module in map(poutine.unwrap, programs) if isinstance(module, nn.Module)])
    modes = {module: module.training for module in modules.modules()}
    keep_local_parameters(modules)
    try:
        modules.eval()
        with (
            pyro.settings.context(module_local_params=True),
            torch.no_grad(),
            torch.random.fork_rng(devices=cuda_devices()),
        ):
            torch.manual_seed(seed)
            yield
    finally:
        for module, training in modes.items():
            module.training = training


def sample_sites(trace: Trace) -> dict[str, dict[str, Any]]:
    """The sites of a trace that are drawn or data: no subsamples, no factors, nothing computed from other sites.

    Args:
        trace: Of a program.
    """
    nodes: dict[str, Any] = dict(trace.nodes)
    return {
        name: site
        for name, site in nodes.items()
        if site["type"] == "sample"
        and not site_is_subsample(site)
        and not isinstance(site["fn"], Unit)
        # ``pyro.deterministic`` and reparameterisations observe what they compute at a point, masked.
        and not (site["is_observed"] and isinstance(getattr(site["fn"], "base_dist", site["fn"]), Delta))
    }


def in_batch(site: Mapping[str, Any]) -> bool:
    """Whether a site is of the data: in plate "batch".

    Args:
        site: Of a trace.
    """
    return any(frame.name == "batch" for frame in site["cond_indep_stack"])


def plate_dims(sites: Mapping[str, Mapping[str, Any]]) -> dict[str, list[str]]:
    """Names of the dims of sites: those of their plates, then of their events.

    Args:
        sites: Of a trace.
    """
    dims = {}
    for name, site in sites.items():
        num_dims = site["value"].dim()
        names = default_dims("latents", name, num_dims)
        for frame in site["cond_indep_stack"]:
            position = num_dims - site["fn"].event_dim + (frame.dim or 0)
            if frame.vectorized and position >= 0:
                names[position] = frame.name
        dims[name] = names
    return dims
