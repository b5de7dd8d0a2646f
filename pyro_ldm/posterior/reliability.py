"""Whether draws of Markov chains can be relied on, and what to do where they cannot."""

import warnings

from pyro_ldm.diagnostics.arviz import Tree, group, summary
from pyro_ldm.posterior.chains import MAX_TREE_DEPTH

R_HAT = 1.01
ESS_PER_CHAIN = 100

NON_CENTRED = (
    "write hierarchical Normal sites non-centred (poutine.reparam(prior, config={site: LocScaleReparam(0.0)}), from "
    "pyro.infer.reparam; in place of a LogNormal sample its logarithm, a Normal, so, and take the exponential)"
)


def warn_if_doubtful(tree: Tree) -> None:
    """Warn of each thing that is wrong with a run of NUTS, once, with the remedy.

    Args:
        tree: With groups posterior and sample_stats.
    """
    for problem in problems(tree):
        warnings.warn(problem, stacklevel=3)


def problems(tree: Tree) -> list[str]:
    """What is wrong with a run of NUTS, with the remedy.

    Args:
        tree: With groups posterior and sample_stats.

    References:
        Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), https://doi.org/10.1214/20-BA1221 (thresholds of R-hat
        and of the effective sample size).
    """
    stats, table, found = group(tree, "sample_stats"), summary(tree), []
    draws = stats["diverging"].size
    diverging = int(stats["diverging"].sum())
    if diverging:
        found.append(
            f"{diverging} of {draws} draws diverged, and the posterior is explored incompletely: raise target_accept "
            f"(0.95 or 0.99), or {NON_CENTRED}"
        )
    cut = int((stats["tree_depth"] >= MAX_TREE_DEPTH).sum())
    if cut:
        found.append(
            f"{cut} of {draws} trees were cut short at depth {MAX_TREE_DEPTH}, which is slow, not wrong: rescale "
            f"parameters that differ much in size, or {NON_CENTRED}"
        )
    if "r_hat" in table and not table["r_hat"].max() <= R_HAT:
        # What never varies, such as a zero of a Cholesky factor, has none; if nothing has, chains are stuck.
        worst = table["r_hat"].idxmax() if table["r_hat"].notna().any() else table.index[0]
        found.append(
            f"chains disagree: R-hat of {worst} is {table['r_hat'][worst]:.3f}, above {R_HAT}; take more warmup_steps "
            "and num_samples, and if that does not help look for several modes, as of components that can be swapped"
        )
    ess = table[["ess_bulk", "ess_tail"]].min(axis=1)
    wanted = ESS_PER_CHAIN * stats.sizes["chain"]
    if not ess.min() >= wanted:
        found.append(
            f"{ess.idxmin()} has an effective sample size of {ess.min():.0f}, below {wanted}, {ESS_PER_CHAIN} a chain: "
            "take more num_samples before relying on its intervals"
        )
    return found
