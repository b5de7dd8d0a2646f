"""Draws of a prior's parameters, from a tree's posterior or from their own prior."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from pyro_ldm.diagnostics.arviz import Tree, draws
from pyro_ldm.posterior.program import sample_globals


def posterior_draws(tree: Tree, names: Sequence[str]) -> dict[str, Tensor]:
    """Draws (S, ...) of these parameters, chain after chain; what else the posterior holds is left out.

    Args:
        tree: With a posterior.
        names: Of the prior's parameters.

    Raises:
        ValueError: If the tree has no posterior, or it lacks one of them.
    """
    drawn = draws(tree)
    missing = sorted(set(names) - set(drawn))
    if missing:
        raise ValueError(
            f"the tree's posterior is of {sorted(drawn)} and lacks {missing} of the prior's parameters: pass the tree "
            "of this prior"
        )
    return {name: drawn[name] for name in names}


def parameters_for(
    prior: Callable, names: list[str], tree: Tree | None, num_draws: int, batch: tuple, seed: int
) -> tuple[str, dict[str, Tensor]]:
    """What kind of check it is, and draws of the parameters for it: from the tree, or else from their own prior.

    Args:
        prior: The assumed latent model.
        names: Of its parameters.
        tree: With a posterior of them, or ``None``.
        num_draws: How many draws.
        batch: What the prior is called with.
        seed: Of draws from the prior.
    """
    if not names:
        return "predictive", {}
    if tree is None:
        drawn = sample_globals(prior, num_draws, batch=batch, seed=seed)
        return "prior predictive", {name: drawn[name] for name in names}
    drawn = posterior_draws(tree, names)
    total = len(drawn[names[0]])
    every = torch.arange(num_draws) * total // num_draws  # evenly, over all chains; each repeatedly if they are few
    return "posterior predictive", {name: values[every] for name, values in drawn.items()}
