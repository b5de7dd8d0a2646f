r"""Posterior of the prior's parameters by Hamiltonian Monte Carlo, latents fixed."""

from collections.abc import Callable, Mapping, Sequence
from functools import partial
from typing import Any

import torch
from torch import Tensor

from pyro_ldm.diagnostics.arviz import Tree, to_arviz
from pyro_ldm.diagnostics.arviz.programs import plate_dims
from pyro_ldm.posterior.chains import Settings, run_chains
from pyro_ldm.posterior.given import parameters_of
from pyro_ldm.posterior.program import given_latents
from pyro_ldm.posterior.reliability import warn_if_doubtful
from pyro_ldm.posterior.sites import as_sites

LEAST = {"num_samples": 4, "warmup_steps": 1, "num_chains": 1}  # of the options that are numbers of something


def nuts(
    prior: Callable,
    z: Tensor | Mapping[str, Tensor],
    *,
    batch: tuple | None = None,
    num_samples: int = 1000,
    warmup_steps: int = 1000,
    num_chains: int = 4,
    target_accept: float = 0.8,
    seed: int = 0,
    progress: bool = True,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Sequence] | None = None,
) -> Tree:
    r"""Draws of the prior's parameters given latents, by the No-U-Turn sampler: the second of two stages.

    .. math:: P(\theta \mid z_{1:N}) \propto P(\theta) \prod_{i=1}^{N} P(z_i \mid \theta)

    Latents of a trained encoder are data here. The prior is any Pyro program: its parameters are its sample sites
    outside plate "batch", hierarchical ones included; ``nn.Parameter`` s stay at their values; discrete sites of each
    datum are summed out. Prior and latents are copied to the CPU in double precision; a program that computes in single
    precision whatever it is given, such as a function around a network, is sampled in that.

    Each chain descends from the likeliest of ten draws from the prior, begins near the mode that it finds, and moves in
    coordinates in which the curvature there is one; where there is no mode, from that draw. It runs on one thread.
    Where the chains would take more than some 20 seconds and there are more cores, each runs in a process of its own,
    to the same draws. Ctrl-C stops them all.

    Args:
        prior: The assumed latent model.
        z: Latents (N, ...), or a dict of them by site, such as ``{"z": z, "z_prime": z_prime}``.
        batch: What the prior is called with, such as ``(x, mask)``; ``(z,)``, of the first site, by default.
        num_samples: Draws of each chain.
        warmup_steps: Steps before them, in which step size and mass matrix are adapted.
        num_chains: Chains; R-hat takes at least two.
        target_accept: Acceptance probability that the step size is adapted to: larger is slower and safer.
        seed: Of the chains; the global random state is left as it was.
        progress: Whether to show a bar, on stderr.
        dims: Names of a parameter's dims, by parameter; by default those of its plates, and numbers.
        coords: Labels by dim.

    Returns:
        A tree with groups posterior, sample_stats (diverging, lp in nats, n_steps, tree_depth, step_size) and
        observed_data.

    Raises:
        ValueError: If there is nothing to infer, latents are bad or do not fit the prior, names of dims collide, or no
            start has a finite density.

    Warns:
        UserWarning: If draws are not to be relied on: divergences, chains that disagree, too small an effective sample
            size, or trees cut short; each once, with the remedy.

    References:
        Hoffman and Gelman (2014), The No-U-Turn Sampler, https://jmlr.org/papers/v15/hoffman14a.html

    Example:
        >>> from pyro_ldm.diagnostics.arviz import summary
        >>> prior = ldm.priors.Laplace(2, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
        >>> z = dist.Laplace(0.0, torch.tensor([1.0, 2.0])).sample((500,))
        >>> tree = nuts(prior, z, num_samples=500, warmup_steps=100, num_chains=2, progress=False)
        >>> summary(tree)["mean"].round(1).tolist()
        [1.0, 2.0]
    """
    check_options(
        {
            "num_samples": num_samples,
            "warmup_steps": warmup_steps,
            "num_chains": num_chains,
            "target_accept": target_accept,
        }
    )
    given = given_latents(prior, z, batch)
    parameters_of(given)
    export = partial(
        to_arviz,
        observed_data=as_sites(z),
        dims=plate_dims(given.parameters | given.computed_sites) | dict(dims or {}),
        coords=coords,
        attrs={"inference": "NUTS", "seed": seed, "warmup_steps": warmup_steps, "target_accept": target_accept},
    )
    # Names that collide are to be known before the sampling, not after.
    export(posterior={n: site["value"][None, None] for n, site in (given.parameters | given.computed_sites).items()})
    settings = Settings(num_samples, warmup_steps, target_accept, seed)
    chains = run_chains(given, settings, num_chains=num_chains, progress=progress)
    posterior = {name: torch.stack([chain.draws[name] for chain in chains]) for name in given.parameters}
    flat = {name: value.flatten(0, 1) for name, value in posterior.items()}
    posterior |= {n: v.reshape(num_chains, num_samples, *v.shape[1:]) for n, v in given.computed(flat).items()}
    stats = {name: torch.stack([chain.stats[name] for chain in chains]) for name in chains[0].stats}
    tree = export(posterior=posterior, sample_stats=stats)
    warn_if_doubtful(tree)
    return tree


def check_options(options: Mapping[str, Any]) -> None:
    """Refuse options that :func:`nuts` cannot run with.

    Args:
        options: Some of ``num_samples``, ``warmup_steps``, ``num_chains`` and ``target_accept``.

    Raises:
        ValueError: If there is no such option, or its value is none of its.
    """
    for name, value in options.items():
        if name in LEAST and value < LEAST[name]:
            raise ValueError(f"{name} must be at least {LEAST[name]}, got {value}: leave it out for the default")
        if name == "target_accept" and not 0 < value < 1:
            raise ValueError(f"target_accept is a probability between 0 and 1, such as 0.9, got {value}")
        if name not in LEAST and name != "target_accept":
            raise ValueError(f"there is no option {name!r} of NUTS here: pass {', '.join(LEAST)} or target_accept")
