"""A prior given latents: which of its sites are parameters, and each datum's log-density at draws of them."""

from collections.abc import Callable, Iterator, Mapping
from typing import Any

import torch
from torch import Tensor

from pyro_ldm.diagnostics.arviz.programs import in_batch
from pyro_ldm.posterior.given import Given, is_flat
from pyro_ldm.posterior.prepare import prepare
from pyro_ldm.posterior.sites import as_sites

AT_ONCE = 2**22  # numbers of latents that are scored or drawn at once, over all draws of a chunk


def global_sites(
    prior: Callable, z: Tensor | Mapping[str, Tensor], batch: tuple | None = None
) -> dict[str, dict[str, Any]]:
    """The prior's parameters: its sample sites outside plate "batch", by name, as a trace holds them.

    Args:
        prior: The assumed latent model, any Pyro program.
        z: Latents (N, ...), or a dict of them by site.
        batch: What the prior is called with; ``(z,)``, of the first site, by default.

    Raises:
        ValueError: If latents are bad or do not fit the prior, or a parameter is discrete.

    Example:
        >>> prior = ldm.priors.Laplace(2, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
        >>> list(global_sites(prior, torch.randn(10, 2)))
        ['scale']
    """
    return given_latents(prior, z, batch).parameters


def given_latents(prior: Callable, z: Tensor | Mapping[str, Tensor], batch: tuple | None = None) -> Given:
    """A prior and latents, checked; by default the prior is called with the first site's."""
    sites = as_sites(z)
    return prepare(prior, sites, (next(iter(sites.values())),) if batch is None else batch)


@torch.no_grad()
def log_likelihood(
    prior: Callable,
    z: Tensor | Mapping[str, Tensor],
    draws: Mapping[str, Tensor],
    *,
    batch: tuple | None = None,
    chunk: int | None = None,
) -> Tensor:
    r"""Log-density of each datum's latents at each draw of the prior's parameters.

    .. math:: \log P(z_i \mid \theta_s), \qquad \log P(z_i, z'_i \mid \theta_s) \text{ of two views}

    Summed over the sites of a datum, and over steps; discrete sites of the datum that have no value, such as a
    mixture's component, are summed out. Masks and scales of the program count, as they do in the posterior. All on the
    CPU, in double precision where the program takes it.

    Args:
        prior: The assumed latent model.
        z: Latents (N, ...), or a dict of them by site.
        draws: Draws of all parameters, (S, ...) each; of a prior without any, an empty dict is one draw.
        batch: What the prior is called with; ``(z,)`` by default.
        chunk: How many draws are scored at once; by default as many as need a few dozen megabytes. A program that does
            not broadcast over draws is run draw by draw.

    Shape:
        To (S, N), nats.

    Raises:
        ValueError: If latents are bad or do not fit the prior, or draws lack a parameter, or have one too many.

    Example:
        >>> prior = ldm.priors.Laplace(2, scale=dist.LogNormal(0.0, 1.0))
        >>> log_likelihood(prior, torch.randn(10, 2), {"scale": torch.rand(100) + 0.5}).shape
        torch.Size([100, 10])
    """
    given = given_latents(prior, z, batch)
    draws, num = given.checked(draws)
    chunk = chunk or max(1, AT_ONCE // sum(value.numel() for value in given.z.values()))
    with given.running():
        return torch.cat([_scores(given, *part) for part in _chunks(draws, num, chunk)])


@torch.no_grad()
def sample_globals(prior: Callable, num: int, *, batch: tuple, seed: int = 0) -> dict[str, Tensor]:
    """Draws of the prior's parameters from their own prior, before any latents are seen.

    Args:
        prior: The assumed latent model.
        num: How many draws.
        batch: What the prior is called with; two of its rows are enough.
        seed: Of the draws; the global random state is left as it was.

    Shape:
        (num, ...) each.

    Raises:
        ValueError: If a parameter's prior is flat.

    Example:
        >>> prior = ldm.priors.Laplace(2, scale=dist.LogNormal(0.0, 1.0))
        >>> sample_globals(prior, 5, batch=(range(10),))["scale"].shape
        torch.Size([5])
    """
    if num < 1:
        raise ValueError(f"num is the number of draws, at least 1, got {num}")
    given = prepare(prior, {}, batch).short()
    flat = sorted(name for name, site in given.parameters.items() if is_flat(site))
    if flat:
        raise ValueError(f"the prior of {flat} is flat and cannot be drawn from: give these parameters a proper one")
    with given.seeded(seed):
        traces = [given.first() for _ in range(num)]
    return {name: torch.stack([trace.nodes[name]["value"] for trace in traces]) for name in given.parameters}


@torch.no_grad()
def simulate(
    prior: Callable, draws: Mapping[str, Tensor], *, batch: tuple, seed: int = 0, num: int | None = None
) -> dict[str, Tensor]:
    """Latents drawn from the prior, a whole set at each draw of its parameters: replicated data.

    Args:
        prior: The assumed latent model.
        draws: Draws of all parameters, (S, ...) each.
        batch: What the prior is called with; its length is N.
        seed: Of the latents; the global random state is left as it was.
        num: S, of a prior without parameters, whose draws are an empty dict; 1 by default.

    Returns:
        Latents by site, those not observed: ``pyro.condition(prior, {"z": z})`` gives z' of these z.

    Shape:
        (S, N, ...) each.

    Raises:
        ValueError: If draws lack a parameter or have one too many, or a site is flat.

    Example:
        >>> prior = ldm.priors.Laplace(2, scale=dist.LogNormal(0.0, 1.0))
        >>> simulate(prior, {"scale": torch.rand(100) + 0.5}, batch=(range(10),))["z"].shape
        torch.Size([100, 10, 2])
    """
    given = prepare(prior, {}, batch)
    latents = {n: site for n, site in given.sites.items() if in_batch(site) and not site["is_observed"]}
    flat = sorted(name for name, site in latents.items() if is_flat(site))
    if flat:
        raise ValueError(f"the prior is flat over {flat}, and cannot be drawn from: pyro.condition it on latents there")
    draws, num = given.checked(draws, num=num or 1)
    chunk = max(1, AT_ONCE // sum(site["value"].numel() for site in latents.values()))
    with given.running(), given.seeded(seed):
        parts = [_replicates(given, list(latents), *part) for part in _chunks(draws, num, chunk)]
    return {name: torch.cat([part[name] for part in parts]) for name in latents}


def _scores(given: Given, draws: dict[str, Tensor], num: int) -> Tensor:
    """(num, N): over all draws at once, where the first and the last come out as they do alone; else one by one."""

    def alone(draw: int) -> Tensor:
        return given.datum_log_prob(given.trace({**given.z, **_draw(draws, draw)}, enumerate=True))

    if num > 2:
        together = _or_none(lambda: _together(given, given.z, draws, num))
        if together is not None and all(torch.allclose(together[d], alone(d), equal_nan=True) for d in (0, num - 1)):
            return together
    return torch.stack([alone(draw) for draw in range(num)])


def _together(given: Given, z: dict[str, Tensor], draws: dict[str, Tensor], num: int) -> Tensor:
    trace = given.trace({**z, **given.over_draws(draws)}, num=num, enumerate=True)
    return given.datum_log_prob(trace, num=num)


def _replicates(given: Given, names: list[str], draws: dict[str, Tensor], num: int) -> dict[str, Tensor]:
    """Latents (num, N, ...): at all draws at once, if the first and the last are scored as they are alone."""

    def together() -> tuple[dict[str, Tensor], Tensor]:
        trace = given.trace(given.over_draws(draws), num=num)
        shapes = {name: given.sites[name]["value"].shape for name in names}
        values = {name: trace.nodes[name]["value"].reshape(num, *shapes[name]) for name in names}
        return values, given.datum_log_prob(trace, num=num)

    def alone(values: dict[str, Tensor], draw: int) -> Tensor:
        return given.datum_log_prob(given.trace({**_draw(values, draw), **_draw(draws, draw)}))

    if num > 2:
        found = _or_none(together)
        if found is not None and all(torch.allclose(found[1][d], alone(found[0], d)) for d in (0, num - 1)):
            return found[0]
    traces = [given.trace(_draw(draws, draw)) for draw in range(num)]
    return {name: torch.stack([trace.nodes[name]["value"] for trace in traces]) for name in names}


def _or_none(run: Callable) -> Any:
    """What it returns; None if it fails: a program need not broadcast over draws, and may fail in any way then."""
    try:
        return run()
    except Exception:
        return None


def _draw(draws: Mapping[str, Tensor], draw: int) -> dict[str, Tensor]:
    return {name: value[draw] for name, value in draws.items()}


def _chunks(draws: Mapping[str, Tensor], num: int, size: int) -> Iterator[tuple[dict[str, Tensor], int]]:
    for start in range(0, num, size):
        yield {name: value[start : start + size] for name, value in draws.items()}, min(size, num - start)
