"""Latents of data under a trained guide."""

import inspect
from collections.abc import Callable
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Categorical
from torch import Tensor, nn

from pyro_ldm.devices import cuda_devices, device_of
from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.guides import Compose
from pyro_ldm.objective import keep_local_parameters
from pyro_ldm.training.loader import tensors_of

AT_ONCE = 2**21  # numbers of x in a batch: what a small network makes of them fits into any memory


@torch.no_grad()
def latents(guide: Callable, data: Any, *, site: str | None = None, batch_size: int | None = None) -> Tensor:
    """Encode data row by row, without augmentation: the site's conditional mean; of categories, their probabilities.

    Masked steps of series are encoded too: what comes of them means nothing. The global random state is left as it was.

    Args:
        guide: A trained guide; one of several views gets x for each of them.
        data: A tensor (N, ...) or a :class:`pyro_ldm.datasets.Data`.
        site: Name of the site; by default the first that is scored by its pushforward, else the first in plate "batch".
        batch_size: Rows encoded at once; by default 4096, or fewer where they are large, such as videos.

    Shape:
        (N, ...) to (N, D), of series (N, T, D), or (N, K) probabilities of categories, on the CPU.

    Raises:
        ValueError: If the guide has no such site.
    """
    x = tensors_of(data)[0]
    batch_size = batch_size or max(1, min(4096, AT_ONCE // max(1, x[:1].numel())))
    modes = {module: module.training for module in guide.modules()} if isinstance(guide, nn.Module) else {}
    device = device_of(guide, default=x.device)
    for module in modes:
        module.training = False
    parts = []
    keep_local_parameters(guide)
    with pyro.settings.context(module_local_params=True), torch.random.fork_rng(devices=cuda_devices()):
        for rows in x.split(batch_size):
            trace = poutine.trace(guide).get_trace(*[rows.to(device)] * _num_views(guide))
            found = {n: s["fn"] for n, s in trace.nodes.items() if s["type"] == "sample"}
            pushforwards = [n for n, fn in found.items() if isinstance(fn, Pushforward)]
            name = site or next(iter([*pushforwards, *_in_batch(trace)]), None)
            if name not in found:
                raise ValueError(f"the guide has no site {name!r} to take latents from; it has {sorted(found)}")
            fn: Any = found[name]
            fn = fn.conditional if isinstance(fn, Pushforward) else fn
            parts.append((fn.probs if isinstance(fn, Categorical) else fn.mean).cpu())  # a one-hot category's mean
    for module, training in modes.items():
        module.training = training
    return torch.cat(parts)


def _in_batch(trace: Any) -> list[str]:
    """Sites of plain Pyro distributions per datum."""
    nodes = {n: s for n, s in trace.nodes.items() if s["type"] == "sample"}
    return [n for n, s in nodes.items() if any(f.name == "batch" for f in s["cond_indep_stack"])]


def _num_views(guide: Callable) -> int:
    """How many tensors a guide is called with: one per site of a guide of views, else those it cannot go without."""
    if isinstance(guide, Compose):
        return max(_num_views(part) for part in guide.guides)
    sites = getattr(guide, "sites", None)
    if sites is not None:
        return len(sites)
    parameters = inspect.signature(guide.forward if isinstance(guide, nn.Module) else guide).parameters.values()
    return max(1, sum(p.kind <= p.POSITIONAL_OR_KEYWORD and p.default is p.empty for p in parameters))
