"""Several guides as one: the encoder's, and an AutoGuide for the prior's global parameters."""

from collections.abc import Callable
from typing import Any

import torch
from pyro.nn import PyroModule


class Compose(PyroModule):
    r"""Guides that each sample some of the sites, run in order on the same batch.

    Pyro's ``AutoGuideList`` would copy the batch plate into every part; this runs the parts as they are.

    Args:
        *guides: Modules; an AutoGuide goes on a prior from which the encoder's sites are hidden.

    Example:
        >>> from pyro.infer.autoguide import AutoNormal
        >>> prior = ldm.priors.Laplace(2, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
        >>> local = ldm.guides.Deterministic(torch.nn.Linear(8, 2), ldm.entropy.KNN())
        >>> guide = Compose(AutoNormal(poutine.block(prior, hide=["z"])), local)
        >>> loss = ldm.Objective(prior, guide, size=1000)
        >>> loss(torch.randn(100, 8)).dim()
        0
    """

    def __init__(self, *guides: Callable):
        super().__init__()
        self.guides: Any = PyroModule[torch.nn.ModuleList](guides)  # type: ignore[arg-type]

    def forward(self, *batch) -> dict:
        """Run each guide."""
        sites: dict = {}
        for guide in self.guides:
            result = guide(*batch)
            sites.update(result if isinstance(result, dict) else {})
        return sites
