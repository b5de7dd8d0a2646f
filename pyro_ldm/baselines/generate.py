"""Data that a generative model makes of its prior's latents, and of a guide's."""

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyro_ldm.baselines.generative import Generative
from pyro_ldm.diagnostics.arviz.programs import running
from pyro_ldm.training import latents


def generate(model: Generative, num: int, *, seed: int = 0, site: str = "x") -> Tensor:
    r"""Decode draws from the prior: E[x | z], z ~ P.

    A model whose prior is not matched by its aggregated posterior shows it here: such z were never decoded in training.
    ``model(range(num))`` draws x itself, with the likelihood's noise.

    Args:
        model: Trained.
        num: How many.
        seed: Of the latents.
        site: Name of the data's site.

    Shape:
        (num, ...), as the data, on the CPU.

    Raises:
        ValueError: If num < 1, or there is no such site.

    Example:
        >>> decoder = ldm.baselines.MLPDecoder(2, (1, 8, 8), hidden=[32])
        >>> model = ldm.baselines.Generative(ldm.priors.Gaussian(2), decoder, ldm.baselines.Bernoulli())
        >>> generate(model, 5).shape
        torch.Size([5, 1, 8, 8])
    """
    if num < 1:
        raise ValueError(f"num must be at least 1, got {num}")
    with running(model, seed=seed):
        sites = poutine.trace(model).get_trace(range(num)).nodes
    if site not in sites:
        raise ValueError(f"the model has no site {site!r}: its data are {list(model.sites.values())}")
    fn: Any = sites[site]["fn"]
    return fn.mean.cpu()


def reconstruct(model: Generative, guide: Callable, data: Any, *, batch_size: int = 256) -> Tensor:
    r"""Encode data and decode them: E[x | z] at z = E[z | x].

    Args:
        model: Trained.
        guide: Its guide, or any other of the same latents: the decoder may have been trained on latents of its own.
        data: A tensor (N, ...) or a :class:`pyro_ldm.datasets.Data`.
        batch_size: Rows decoded at once.

    Shape:
        As the data, on the CPU.

    Example:
        >>> decoder = ldm.baselines.MLPDecoder(2, (8,), hidden=[32])
        >>> model = ldm.baselines.Generative(ldm.priors.Gaussian(2), decoder, ldm.baselines.Gaussian())
        >>> guide = ldm.guides.Gaussian(torch.nn.Linear(8, 4), ldm.entropy.Conditional())
        >>> reconstruct(model, guide, torch.randn(50, 8)).shape
        torch.Size([50, 8])
    """
    z = latents(guide, data)
    device = next((p.device for p in model.parameters()), z.device)
    with running(model):
        return torch.cat([model.decode(rows.to(device)).mean.cpu() for rows in z.split(batch_size)])
