"""A comparison as a report: who wins, all measures, match and collapse, latents and reconstructions."""

import math
from collections.abc import Mapping, Sequence

import numpy as np
import torch

from pyro_ldm.runs.comparison.findings import LEVEL, Finding, mean, spread, written
from pyro_ldm.runs.comparison.measures import MEASURES, NUM_BOUND, UNDEFINED, Case
from pyro_ldm.runs.comparison.pictures import dots, reconstructions, side_by_side
from pyro_ldm.runs.report import Picture, Section, Table

NO_BREAK = "\u00a0"  # a number and its spread stay on one line


def sections(
    values: Mapping[str, Mapping[str, Sequence[float]]],
    reasons: Mapping[tuple[str, str], str],
    seeds: Mapping[str, Sequence[int]],
    findings: Sequence[Finding],
    verdict: str,
    cases: Sequence[Case],
) -> list[Section]:
    """The parts of the report, from what a :class:`~pyro_ldm.runs.compare.Comparison` holds, and the models."""
    ahead = {f.measure: f for f in findings}
    shown = [m for m in MEASURES if any(np.isfinite(v).any() for v in values[m.name].values())]
    rows = [[m.title, *(_cell(values[m.name][model], ahead.get(m.name), model) for model in seeds)] for m in shown]
    scored = cases[0].candidate
    of_what = (
        f"{len(scored.scored)} rows held out"
        if scored.test is not None
        else f"{len(scored.scored)} of the rows that were fitted, as nothing was held out"
    )
    kinds = sorted({type(c.candidate.generative.likelihood).__name__ for c in cases if c.candidate.generative})
    likelihoods = f" Bounds of different likelihoods ({', '.join(kinds)}) do not compare." if len(kinds) > 1 else ""
    first = [next(case for case in cases if case.candidate.model == model) for model in seeds]
    parts = [
        Section(
            "Who wins",
            verdict,
            None,
            f"Measured on {of_what}. A model beats another where it is better beyond the spread over seeds "
            f"(Welch's t-test, p < {LEVEL}, each measure by itself: of twenty, one may do so by chance).{likelihoods}",
            tables=[Table(("measure", "who is ahead"), [f.sentence.split(": ", 1) for f in findings])],
        ),
        Section(
            "All measures",
            text="The mean over seeds, ± their standard deviation; ✓ marks what no other beats. KL(R || P) is that of "
            "the latents' own distribution from the prior, of every model by the same estimators, less what these give "
            "for draws from the prior; of pairs it is that of both views, and of models with another number of latents "
            "than the first it is not ranked. By LogDet it is a lower bound, blind to all that is not Gaussian. Of a "
            "model without a decoder, reconstructions are by one that was trained afterwards on its latents. What "
            f"particles add to the ELBO, for the IWAE bound, is measured on {NUM_BOUND} rows at most. Seconds and "
            "memory are those of its fit, whenever that was.",
            tables=[Table(["measure", *seeds], rows, "Models and their seeds: " + _seeds(seeds))],
            pictures=[
                Picture.of(
                    dots(shown, values),
                    "Each measure: the mean over seeds, with their standard deviation, and a small dot for each seed; "
                    "↑ more is better, ↓ less is.",
                    name="compare_measures",
                )
            ],
        ),
        _collapse(first),
        *_seen(first),
    ]
    if reasons:
        parts.append(Section("What is not defined", tables=[_undefined(reasons)]))
    return parts


def _undefined(reasons: Mapping[tuple[str, str], str]) -> Table:
    """What is not defined of which models, and why, in few lines."""
    models: dict[tuple[str, str], list[str]] = {}
    for (name, model), reason in reasons.items():
        models.setdefault((name, reason), []).append(model)
    names: dict[tuple[str, str], list[str]] = {}
    for (name, reason), of in models.items():
        names.setdefault((", ".join(of), reason), []).append(name)
    return Table(("models", "measures", "because"), [[of, ", ".join(n), why] for (of, why), n in names.items()])


def _collapse(cases: Sequence[Case]) -> Section:
    rows = []
    for case in cases:
        try:
            verdict = case.whole_bounds.verdict
        except UNDEFINED as error:
            verdict = f"not measured: {error}"
        rows.append([case.candidate.model, verdict, case.units.verdict])
    collapsed = [model for model, _, verdict in rows if not verdict.startswith("no posterior collapse")]
    return Section(
        "Match with the prior, and collapse",
        f"collapsed: {', '.join(collapsed)}" if collapsed else "not collapsed: every model uses all its dims",
        not collapsed,
        "Of the first seed of each model. A unit is active where the mean of its latents given the data varies.",
        tables=[Table(("model", "KL(R || P)", "posterior collapse"), rows)],
    )


def _seen(cases: Sequence[Case]) -> list[Section]:
    labels = cases[0].candidate.scored.y
    labels = None if labels is None or labels.dim() > 1 or cases[0].candidate.means.dim() > 2 else labels
    pictures = [
        Picture.of(
            side_by_side({case.candidate.model: case.rows for case in cases}, labels),
            "Latents of the first seed of each model, along their first two principal axes"
            + ("." if labels is None else ", coloured by label."),
            name="compare_latents",
        )
    ]
    x = cases[0].candidate.scored.x
    if x.dim() in (4, 5) and x.shape[-3] in (1, 3):
        shown = {}
        for case in cases:
            try:
                shown[case.candidate.model] = _frames(case.shown)
            except UNDEFINED:
                continue
        if shown:
            caption = (
                "Data, and what is reconstructed from the latents: of a model without a decoder, by one trained after."
            )
            pictures.append(Picture.of(reconstructions(_frames(x), shown), caption, name="compare_reconstructions"))
    return [Section("Latents and reconstructions", pictures=pictures)]


def _frames(x: torch.Tensor) -> torch.Tensor:
    """Images; of videos, the middle frame of each."""
    return x if x.dim() == 4 else x[:, x.shape[1] // 2]


def _cell(values: Sequence[float], ahead: Finding | None, model: str) -> str:
    average, error = mean(values), spread(values)
    if not math.isfinite(average):
        return "–"
    text = written(average) + (f" ± {error:.2g}" if math.isfinite(error) else "")
    text += " ✓" if ahead is not None and model in ahead.unbeaten else ""
    return text.replace(" ", NO_BREAK)


def _seeds(seeds: Mapping[str, Sequence[int]]) -> str:
    return "; ".join(f"{model} {', '.join(map(str, of))}" for model, of in seeds.items())
