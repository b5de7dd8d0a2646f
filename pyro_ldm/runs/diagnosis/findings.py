"""What a diagnosis finds, a section of the report each: matched, collapsed, misfits, other priors, training."""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

from pyro_ldm.diagnostics import collapse
from pyro_ldm.diagnostics.arviz import Tree
from pyro_ldm.diagnostics.bounds import kl_bounds
from pyro_ldm.diagnostics.importance import importance_khat
from pyro_ldm.posterior.checks import predictive_check
from pyro_ldm.posterior.comparison import compare_priors, in_nats
from pyro_ldm.posterior.default_priors import default_priors
from pyro_ldm.posterior.nuts import nuts
from pyro_ldm.posterior.reliability import warn_if_doubtful
from pyro_ldm.runs.diagnosis.case import Case
from pyro_ldm.runs.diagnosis.pictures import estimates
from pyro_ldm.runs.finding import Finding
from pyro_ldm.runs.report import Picture, Section, Table

NUM_COMPARED = 1000  # rows that priors are compared on, at most
SHORT = {"num_chains": 2, "warmup_steps": 300, "num_samples": 300, "progress": False}  # chains of each of them


def matched(case: Case, tree: Tree | None) -> Finding:
    """Is the prior matched? Bounds and estimates of KL(R || P)."""
    bounds = kl_bounds(
        case.prior,
        case.guide,
        case.x,
        parameters=tree,
        views=case.views,
        seed=case.seed,
    )
    good = not any(estimate.exceeds for estimate in bounds.estimates)
    numbers = {"KL(R || P) at least, nats per datum": bounds.lower}
    if bounds.upper is not None:
        kind = "at most" if bounds.upper_is_bound else "about"
        numbers[f"KL(R || P) {kind}, nats per datum"] = bounds.upper
    table = bounds.table().rename(columns=lambda name: name.replace("reference_", "prior_").replace("_", " "))
    picture = Picture.of(
        estimates(bounds),
        "Each estimate of KL(R || P), with two standard errors, beside what draws from the prior itself measure.",
        name="kl",
    )
    section = Section(
        "Match with the prior",
        bounds.verdict,
        good,
        "KL(R || P) is how far the encoder's outputs, R, are from the assumed latent model, P; it is zero where they "
        "match. No estimate of it is exact, so each stands beside its own value for draws from the prior itself. In "
        "the verdict an estimate is less its own bias, which is the mean of what such draws measure; the table and "
        "the picture show it as it is.",
        numbers,
        [Table.of(table, "Estimates of KL(R || P), nats per datum")],
        [picture],
        case.of_how_many,
    )
    return Finding(section, bounds.groups())


def covered(case: Case, tree: Tree | None) -> Finding:
    """Do prior and latents cover one another?"""
    found = importance_khat(
        case.prior,
        case.guide,
        case.x,
        parameters=tree,
        views=case.views,
        seed=case.seed,
    )
    numbers = {
        "k-hat of weights from latents to prior": found.latents.k_hat,
        "k-hat of weights from prior to latents": found.prior.k_hat,
        "effective share of the latents": found.latents.effective_share,
    }
    return Finding(
        Section(
            "Cover",
            found.verdict,
            None if found.verdict.startswith("barely") else found.verdict.startswith("covered"),
            "The tail of the importance weights between the prior and the latents, as a classifier sees them: k-hat "
            "above 0.7 says that one has mass where the other has (almost) none.",
            numbers,
            note=case.of_how_many,
        )
    )


def collapsed(case: Case, folder: Path) -> Finding:
    """Do the latents still differ, and in how many directions?"""
    found = collapse(case.z[case.there])
    numbers = {
        f"effective rank, of {found.latent_dim}": found.effective_rank,
        "repeated rows, %": 100 * found.duplicate_share,
    }
    captions = {
        "latents": "The latents along their first two principal axes, and their spread along all of them.",
        "filters": "What each latent dim sees: the rows of the encoder's linear map.",
    }
    return Finding(
        Section(
            "Collapse",
            found.verdict,
            found.verdict.startswith("not collapsed"),
            "The effective rank is the number of directions in which the latents vary, if equally in each.",
            numbers,
            pictures=_of_the_run(folder, captions),
        )
    )


def misfits(case: Case, tree: Tree | None) -> Finding:
    """Which dim misfits, and how?"""
    check = predictive_check(case.prior, case.sites, tree, batch=case.batch, seed=case.seed)
    table = check.table
    found = table[table["misfit"] != ""]
    columns = ["discrepancy", "label", "observed", "low", "high", "z_score", "corrected"]
    shown = (found if len(found) else table.head(10))[columns].set_index("discrepancy")
    shown = shown.rename(columns={"low": "replicated, from", "high": "to", "z_score": "z-score", "corrected": "p"})
    caption = "What misfits" if len(found) else "Nothing misfits; the ten farthest"
    section = Section(
        "Fit of each dim",
        check.verdict,
        check.matched,
        "Latents are drawn from the prior as often as there are data, many times over. What these replicated latents "
        "do not show (95 % of them are within the range in the table) but the encoder's do is a misfit. p-values are "
        "corrected for the number of comparisons.",
        {"predictive check, corrected p": check.p_value, "misfits": len(found)},
        [Table.of(shown, caption)],
        [
            Picture.of(
                check.picture(),
                "The worst of each discrepancy, over replicated latents; and the densities of the worst dims.",
                name="check",
            )
        ],
        case.of_how_many,
    )
    return Finding(section, check.groups())


def alternatives(
    case: Case, tree: Tree | None, *, sampling: Mapping[str, Any] | None, progress: bool
) -> Finding | None:
    """Which of the usual priors would predict these latents best?

    Args:
        case: What is looked at.
        tree: Posterior of the parameters of the run's prior, if it has any.
        sampling: Options of NUTS that the tree was drawn with; ``None`` if it was not.
        progress: Whether to show a bar.
    """
    few = slice(NUM_COMPARED)
    sites = {name: z[few] for name, z in case.sites.items()}
    z = next(iter(sites.values()))
    if len(case.sites) > 1 or case.is_series:
        return None  # the usual priors are of one vector per datum
    # Leave-one-out is of a latent given the others that are compared. A posterior of more rows would give it given
    # more of them than the other priors get, so that from such rows the run's prior is sampled like the others.
    drawn = tree if sampling is not None and len(case.batch[0]) == len(z) else None
    own = f"{case.name} (the run's)"
    compared = compare_priors(
        sites,
        {own: case.prior} | default_priors(z),
        batch=tuple(tensor[few] for tensor in case.batch),
        posterior=_posterior(case.prior, drawn, sampling or {}),
        refit=False,
        seed=case.seed,
        progress=progress,
    )
    difference, error = compared.difference(own)
    numbers = {"elpd lost to the best prior, nats": difference, "its standard error, nats": error}
    verdict, good = compared.verdict, own in compared.tied
    if not good:
        behind = f"{in_nats(difference, error)} behind {compared.best} over {len(z)} latents"
        verdict = f"the run's prior is not the best: {case.name} is {behind}. Among all: {verdict}"
    by = (
        f"{'the parameters of the other priors' if drawn is not None else 'the parameters'} by two short chains of NUTS"
    )
    return Finding(
        Section(
            "Other priors",
            verdict,
            good,
            "Priors by leave-one-out cross-validation on these latents: elpd_loo is the log-density of each latent "
            "given the others, summed, in nats; more is better. An encoder favours the prior it was trained under.",
            numbers,
            [Table.of(compared.table, "Priors, best first; nats over all rows")],
            [
                Picture.of(
                    compared.picture(), "Each prior's elpd, and how far it is below the best one's.", name="priors"
                )
            ],
            f"From {len(z)} of the {len(case.data)} rows; {by}. For longer ones, call "
            "pyro_ldm.posterior.compare_priors with the latents z of latents.npz.",
        )
    )


def _posterior(own: Callable, drawn: Tree | None, sampling: Mapping[str, Any]) -> Callable[..., Tree]:
    """How :func:`compare_priors` is to get posteriors: the run's prior may have its own, or options for it."""

    def posterior(prior: Callable, z: Any, **given: Any) -> Tree:
        if prior is own and drawn is not None:
            warn_if_doubtful(drawn)  # for the table
            return drawn
        return nuts(prior, z, **SHORT | (dict(sampling) if prior is own else {}) | given)

    return posterior


def training(summary: dict[str, Any], folder: Path) -> Finding:
    """What the run itself said at its end."""
    terms, verdict = summary.get("terms", {}), summary.get("verdict", "")
    numbers = {f"{name}, nats per datum": terms[name] for name in ("alignment", "uniformity") if name in terms}
    captions = {
        "curves": "The loss over the epochs, and its split into alignment and uniformity.",
        "filter": "One series as filtered, with a gap bridged, and foretold.",
    }
    return Finding(
        Section(
            "Training",
            f"by the estimator of training, on one batch of the rows fitted: {verdict}" if verdict else "",
            None,
            "What the objective itself measured at the end of training, by the estimator that it was trained with, on "
            "one batch. The match with the prior above is by several estimators, and on held-out rows where there are "
            "any: where the two differ, go by that.",
            numbers,
            pictures=_of_the_run(folder, captions),
        )
    )


def _of_the_run(folder: Path, captions: dict[str, str]) -> list[Picture]:
    """The pictures that the fit has left."""
    there = {folder / f"{name}.png": caption for name, caption in captions.items()}
    return [Picture(path.read_bytes(), caption) for path, caption in there.items() if path.is_file()]
