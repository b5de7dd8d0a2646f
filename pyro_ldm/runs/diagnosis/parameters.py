"""The posterior of the prior's parameters, and the report's section about it."""

from collections.abc import Mapping
from typing import Any

import pyro

from pyro_ldm.diagnostics.arviz import Tree, from_svi, group, summary
from pyro_ldm.posterior.nuts import nuts
from pyro_ldm.posterior.reliability import problems
from pyro_ldm.runs.diagnosis.case import Case
from pyro_ldm.runs.diagnosis.pictures import intervals
from pyro_ldm.runs.finding import Finding
from pyro_ldm.runs.report import Picture, Section, Table

NUM_SAMPLES = 1000  # of a variational posterior, and of each chain of NUTS
K_HAT = 0.7


def posterior_of(case: Case, *, sampling: Mapping[str, Any] | None, progress: bool) -> Tree | None:
    """The posterior of the prior's parameters: by NUTS, or that which was trained beside the encoder, if any was.

    Args:
        case: What is looked at.
        sampling: Options of NUTS; ``None`` for the posterior that was trained.
        progress: Whether to show a bar.
    """
    if not case.parameters:
        return None
    if sampling is not None:
        options = {"num_samples": NUM_SAMPLES} | dict(sampling)
        return nuts(case.prior, case.sites, batch=case.batch, seed=case.seed, progress=progress, **options)
    # It is of all data: weights from a part of them would be of another posterior.
    whole = len(case.batch[0]) == len(case.data)
    model = pyro.condition(case.prior, data=case.sites) if whole else None
    return from_svi(case.guide, model=model, model_args=case.batch, num_samples=NUM_SAMPLES, seed=case.seed)


def parameters(case: Case, tree: Tree) -> Finding:
    """What is known of the prior's parameters, and is it to be trusted?"""
    table = summary(tree)
    variational = str(tree.attrs.get("inference", "")).startswith("SVI")
    verdict, good, numbers = (_of_svi if variational else _of_chains)(tree, table)
    return Finding(
        Section(
            "The prior's parameters",
            verdict,
            good,
            "The posterior of the prior's own parameters, given the latents: mean, standard deviation, 90 % interval, "
            "effective numbers of draws.",
            numbers,
            [Table.of(table, f"Posterior by {tree.attrs.get('inference')}", index="parameter")],
            [Picture.of(intervals(table), "Means and 90 % intervals of the prior's parameters.", name="parameters")],
            "" if variational else case.of_how_many,
        )
    )


def _of_svi(tree: Tree, table: Any) -> tuple[str, bool | None, dict[str, float]]:
    k_hat = table.attrs.get("k_hat")
    if k_hat is None:
        return "approximate: trained beside the encoder, how well is not known; --nuts samples it", None, {}
    if k_hat <= K_HAT:
        return f"close: the variational posterior's weights have k-hat {k_hat:.2f}", True, {"posterior, k-hat": k_hat}
    verdict = (
        f"approximate: the variational posterior's weights have k-hat {k_hat:.2f}, above {K_HAT}, so that its "
        "intervals may be too narrow; --nuts samples it"
    )
    return verdict, False, {"posterior, k-hat": k_hat}


def _of_chains(tree: Tree, table: Any) -> tuple[str, bool | None, dict[str, float]]:
    diverging = int(group(tree, "sample_stats")["diverging"].sum())
    ess = float(table[["ess_bulk", "ess_tail"]].min().min())
    numbers = {"posterior, least effective draws": ess, "divergences": diverging}
    several = "r_hat" in table  # which one chain has none of
    if several:
        numbers = {"posterior, worst R-hat": float(table["r_hat"].max())} | numbers
    if wrong := problems(tree):
        return f"not to be trusted yet: {'; '.join(wrong)}", False, numbers
    found = f"{ess:.0f} effective draws or more, {diverging} divergences"
    if not several:
        return f"not confirmed: one chain has none to agree with, take num_chains of 2 or more; {found}", None, numbers
    return f"sampled well: worst R-hat {numbers['posterior, worst R-hat']:.3f}, {found}", True, numbers
