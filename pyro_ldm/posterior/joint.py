r"""Encoder and posterior of the prior's parameters at once."""

from collections.abc import Callable, Iterator
from inspect import signature
from itertools import islice
from typing import Any

import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn
from torch.optim.lr_scheduler import CosineAnnealingLR
from torch.utils.data import DataLoader

from pyro_ldm.diagnostics.arviz import Tree, from_svi
from pyro_ldm.diagnostics.arviz.programs import in_batch, running
from pyro_ldm.guides import Compose
from pyro_ldm.posterior.given import FillFlat, parameters_of, sample_sites
from pyro_ldm.posterior.prepare import prepare
from pyro_ldm.posterior.svi import Model
from pyro_ldm.training import Fit, fit
from pyro_ldm.training.loader import as_batch, tensors_of

AT_ONCE = 4096  # rows that are encoded at once
GUIDE_LR = 0.05  # of the parameters' guide, at the start


def joint(
    prior: Callable,
    guide: nn.Module,
    data: Any,
    *,
    autoguide: Callable[[Callable], nn.Module] = AutoNormal,
    num_samples: int = 1000,
    **fit_settings: Any,
) -> tuple[Fit, Tree]:
    r"""Train an encoder and, beside it, a guide for the prior's parameters; draws from the latter.

    .. math:: -\mathbb{E}_{q(\theta)} \big[ \mathbb{E}_R \log P(z \mid \theta) \big] - H_R[z]
        + \tfrac1N \mathrm{KL}\big( q(\theta) \,\|\, P(\theta) \big)

    One objective, by :func:`pyro_ldm.fit`, minibatches scaled to all data. Latents are not fixed: the encoder goes on
    adapting to the prior's parameters, which the draws take no account of, and an ``AutoNormal`` none of their
    correlations; intervals may be too narrow. For intervals given the latents that come out, :func:`nuts` is the second
    stage: ``nuts(prior, z)`` with those in group observed_data. The k-hat in the tree's attributes is for those, too;
    of random views or of a stochastic encoder they are one draw of many, and it is large.

    Args:
        prior: The assumed latent model, with parameters: sample sites outside plate "batch".
        guide: The encoder as a guide of the other sites.
        data: As for :func:`pyro_ldm.fit`.
        autoguide: From a program to its guide: an AutoGuide's class, or a function that makes one.
        num_samples: Draws from that guide at the end.
        **fit_settings: For :func:`pyro_ldm.fit`: epochs, batch_size, lr, views, seed, progress and so on. Unless an
            optimizer is passed, Adam's learning rate falls to zero by a cosine, which averages out batches' noise, from
            ``lr`` for the encoder and from 0.05 for the parameters' guide, whose scales have a long way to go.

    Returns:
        The fit, whose history has the ELBO's parts for each epoch, and a tree with groups posterior (one chain of
        independent draws), sample_stats (lp and log_weight, nats, given the latents at the end) and observed_data
        (those latents).

    Raises:
        ValueError: If there is nothing to infer; else as :func:`pyro_ldm.fit`.

    Example:
        >>> from pyro_ldm.diagnostics.arviz import group
        >>> prior = ldm.priors.Gaussian(2, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
        >>> x = torch.randn(400, 8)
        >>> guide = ldm.guides.Deterministic(torch.nn.Linear(8, 2), ldm.entropy.LogDet())
        >>> fit, tree = joint(prior, guide, x, epochs=10, lr=0.01, progress=False)
        >>> group(tree, "posterior")["scale"].shape
        (1, 1000, 2)
    """
    seed, views = fit_settings.get("seed", 0), fit_settings.get("views")
    first = islice(_batches(data, views), 1)
    parameters = parameters_of(prepare(prior, *_observed(guide, first, seed)))
    others = autoguide(poutine.block(FillFlat()(prior), hide_fn=lambda site: site["name"] not in parameters))
    result = fit(prior, Compose(others, guide), data, **{"optimizer": _falling(others, fit_settings), **fit_settings})
    given = prepare(prior, *_observed(guide, _batches(data, views), seed))
    model = Model(given)
    with given.running():
        tree = from_svi(
            others, model=model, model_args=model.data, num_samples=num_samples, seed=seed, observed_data=given.z
        )
    return result, tree


def _falling(others: nn.Module, settings: dict[str, Any]) -> Callable:
    """Adam, its learning rates falling over the epochs; settings that are left out are those of ``fit``."""
    chosen = {name: settings.get(name, signature(fit).parameters[name].default) for name in ("lr", "epochs")}

    def optimizer(parameters: Iterator) -> dict[str, Any]:
        ours = set(others.parameters())
        rest = [parameter for parameter in parameters if parameter not in ours]
        groups: list[Any] = [{"params": rest}, {"params": list(ours), "lr": GUIDE_LR}]
        adam = torch.optim.Adam(groups, lr=float(chosen["lr"]))
        return {"optimizer": adam, "lr_scheduler": CosineAnnealingLR(adam, chosen["epochs"])}

    return optimizer


def _batches(data: Any, views: Callable | None) -> Iterator[tuple[Tensor, ...]]:
    """Data as the prior and the guide are called with them."""
    # Equal parts: a guide of views estimates an entropy of each, which takes more than a row.
    parts = data if isinstance(data, DataLoader) else _parts(tensors_of(data))
    for batch in map(as_batch, parts):
        yield batch if views is None else (*views(batch[0]), *batch[1:])


def _parts(tensors: tuple[Tensor, ...]) -> Iterator[tuple[Tensor, ...]]:
    return zip(*(tensor.tensor_split(-(-len(tensor) // AT_ONCE)) for tensor in tensors), strict=True)


def _observed(guide: nn.Module, batches: Iterator[tuple], seed: int) -> tuple[dict[str, Tensor], tuple]:
    """Latents by site, and what they are of; views are drawn anew, by the seed."""
    device = next((parameter.device for parameter in guide.parameters()), torch.device("cpu"))
    parts, seen = [], []
    with running(guide, seed=seed):
        for batch in batches:
            trace = poutine.trace(guide).get_trace(*(tensor.to(device) for tensor in batch))
            sites = {n: s for n, s in sample_sites(trace).items() if in_batch(s) and not s["is_observed"]}
            parts.append({name: site["value"].cpu() for name, site in sites.items()})
            seen.append(batch)
    z = {name: torch.cat([part[name] for part in parts]) for name in parts[0]}
    return z, tuple(torch.cat(tensors) for tensors in zip(*seen, strict=True))
