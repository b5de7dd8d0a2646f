"""Draws of Pyro's MCMC in ArviZ."""

from typing import TYPE_CHECKING, Any

import torch
from pyro import poutine

from pyro_ldm.diagnostics.arviz.adapter import Tree
from pyro_ldm.diagnostics.arviz.export import merged, to_arviz
from pyro_ldm.diagnostics.arviz.programs import plate_dims, running, sample_sites

if TYPE_CHECKING:
    from pyro.infer import MCMC


def from_mcmc(mcmc: "MCMC", **groups: Any) -> Tree:
    """A finished run of Pyro's MCMC as a tree: posterior, sample_stats and, of a model, what it was conditioned on.

    Dims are named after the model's plates. What Pyro keeps per draw is whether it diverged; other statistics of the
    sampler, collected by a hook, can be passed as ``sample_stats``. ``pyro.deterministic`` sites are not among Pyro's
    draws: :func:`pyro_ldm.posterior.nuts` and :func:`~pyro_ldm.posterior.svi` keep them.

    Args:
        mcmc: After ``run``.
        **groups: Further groups, coords, dims and attrs, as for :func:`to_arviz`; they add to what the run gives.

    Raises:
        ValueError: If it has not run, keeps no draws, or names collide.

    Example:
        >>> from pyro.infer import MCMC, NUTS
        >>> from pyro_ldm.diagnostics.arviz import draws
        >>> prior = ldm.priors.Laplace(2, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
        >>> z = torch.randn(50, 2)
        >>> mcmc = MCMC(NUTS(pyro.condition(prior, {"z": z})), num_samples=5, warmup_steps=5, disable_progbar=True)
        >>> mcmc.run(z)
        >>> draws(from_mcmc(mcmc, attrs={"seed": 0}))["scale"].shape
        torch.Size([5, 2])
    """
    samples = getattr(mcmc, "_samples", None)
    if not samples:
        raise ValueError(
            "there are no draws: call mcmc.run(*batch) first, with MCMC rather than StreamingMCMC, which keeps none"
        )
    posterior = mcmc.get_samples(group_by_chain=True)
    shape = next(iter(posterior.values())).shape[:2]
    model = getattr(mcmc.kernel, "model", None)
    observed: dict[str, Any] = {}
    dims: dict[str, list[str]] = {}
    args, kwargs = mcmc._args or (), mcmc._kwargs or {}
    if model is not None:
        given = {name: value[0, 0] for name, value in posterior.items()}
        with running(model):
            trace = poutine.trace(poutine.condition(model, data=given)).get_trace(*args, **kwargs)
        sites = sample_sites(trace)
        observed = {name: site["value"] for name, site in sites.items() if site["is_observed"] and name not in given}
        dims = plate_dims({name: site for name, site in sites.items() if name in given or name in observed})
    found: dict[str, Any] = {
        "posterior": posterior,
        "sample_stats": _stats(mcmc, shape),
        "observed_data": observed,
        "dims": dims,
        "attrs": {"inference": type(mcmc.kernel).__name__},
    }
    return to_arviz(**merged(found, groups))


def _stats(mcmc: "MCMC", shape: torch.Size) -> dict[str, Any]:
    """Which draws diverged, where the kernel keeps that."""
    # Not mcmc.diagnostics(): that computes effective sample sizes, too, and fails on a single draw.
    chains: list[Any] = mcmc._diagnostics
    divergences = [chain.get("divergences") for chain in chains if chain]
    if len(divergences) < shape[0] or None in divergences:
        return {}
    diverging = torch.zeros(shape, dtype=torch.bool)
    for chain, steps in enumerate(divergences):
        diverging[chain, steps] = True
    return {"diverging": diverging}
