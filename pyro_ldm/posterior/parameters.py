"""A prior's parameters as a tree's posterior has drawn them."""

from collections.abc import Sequence

from torch import Tensor

from pyro_ldm.diagnostics.arviz import Tree, draws


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
