"""Scoring many latents at the cost of their own arithmetic."""

from collections.abc import Collection
from typing import Any

import torch
from pyro.distributions import TorchDistribution
from pyro.poutine.messenger import Messenger
from torch.distributions import Independent


class Unexpanded(Messenger):
    """Scores sites by distributions whose parameters are not copied to every row.

    A plate expands a distribution to its rows, and what depends on the parameters alone, such as the normalising
    constant of a Student-t, is then computed for each row, forwards and backwards. A handler outside the program sees
    the expanded parameters, which have stride zero along the plate, and undoes it.

    Args:
        sites: Names of the sites, in the rightmost plate, as :func:`can_be_unexpanded` gives them.
    """

    def __init__(self, sites: Collection[str]):
        super().__init__()
        self.sites = sites

    def _pyro_sample(self, msg) -> None:
        if msg["name"] in self.sites:
            msg["fn"] = _unexpanded(msg["fn"])


def can_be_unexpanded(sites: dict[str, Any], names: Collection[str]) -> list[str]:
    """Those sites whose density it leaves as it is, by trying: a distribution may hold more than its parameters.

    Args:
        sites: Of a trace, by name.
        names: Which of them to try.
    """
    found = []
    for name in names:
        fn, value = sites[name]["fn"], sites[name]["value"]
        try:
            shorter = _unexpanded(fn)
            if shorter is not fn and torch.allclose(shorter.log_prob(value), fn.log_prob(value), equal_nan=True):
                found.append(name)
        except (TypeError, ValueError):  # it is made of something else, or the value is off its support
            continue
    return found


def _unexpanded(fn: TorchDistribution) -> TorchDistribution:
    """The same density with batch shape (1,), where the parameters are those of one row; else as it is."""
    base, event_dims = fn, 0
    while isinstance(base, Independent):
        base, event_dims = base.base_dist, event_dims + base.reinterpreted_batch_ndims
    parameters = {name: vars(base).get(name) for name in base.arg_constraints}
    if base.event_shape or len(base.batch_shape) != 1 + event_dims or not parameters:
        return fn
    if any(value is None or value.dim() != 1 + event_dims or value.stride(0) for value in parameters.values()):
        return fn
    rows = {name: value[:1] for name, value in parameters.items() if value is not None}
    return type(base)(**rows, validate_args=False).to_event(event_dims)
