"""Compare trained models: what each measures, how far that varies over seeds, and who wins where; VAEs included."""

import csv
import math
import os
import shutil
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import torch
from tqdm import tqdm

from pyro_ldm.devices import cuda_devices
from pyro_ldm.runs.comparison.candidate import Candidate
from pyro_ldm.runs.comparison.findings import Finding, finding, mean, spread, summary
from pyro_ldm.runs.comparison.measures import MEASURES, Case, measure
from pyro_ldm.runs.comparison.sections import sections
from pyro_ldm.runs.held_out import fingerprint
from pyro_ldm.runs.report import Section, report

if TYPE_CHECKING:
    from pandas import DataFrame

Values = dict[str, dict[str, list[float]]]  # of each measure, of each model, a number per seed


@dataclass(frozen=True, eq=False)
class Comparison:
    """What :func:`compare` found; ``str()`` of it says who wins where.

    Attributes:
        values: Of each measure, of each model, a number per seed; NaN where undefined.
        reasons: Why a measure is not defined for a model, by both.
        seeds: Of each model, the seeds.
        findings: Who is ahead, of each measure for which that can be said.
        verdict: How many measures each model wins, and which.
        sections: Parts of a report.
    """

    values: Values
    reasons: dict[tuple[str, str], str]
    seeds: dict[str, list[int]]
    findings: tuple[Finding, ...]
    verdict: str
    sections: tuple[Section, ...]

    def __str__(self) -> str:
        return "\n".join([*(found.sentence for found in self.findings), self.verdict])

    @property
    def table(self) -> "DataFrame":
        """A row per measure; of each model the mean over seeds, and the spread, their standard deviation."""
        import pandas as pd

        columns: dict[tuple[str, str], list[float]] = {}
        for model in self.seeds:
            columns[model, "mean"] = [mean(self.values[m.name][model]) for m in MEASURES]
            columns[model, "spread"] = [spread(self.values[m.name][model]) for m in MEASURES]
        return pd.DataFrame(columns, index=pd.Index([m.title for m in MEASURES], name="measure"))

    def write(
        self,
        folder: str | os.PathLike[str],
        *,
        title: str = "comparison",
        subtitle: str = "",
        facts: Mapping[str, Any] | None = None,
    ) -> list[Path]:
        """Write ``compare.html``, ``compare.csv`` (a line per measure, model and seed) and pictures, each whole.

        Args:
            folder: Where to; it is made if it is not there. Files of an earlier comparison are replaced.
            title: Of the page.
            subtitle: A line below it.
            facts: Settings, at its end.

        Returns:
            What was written.
        """
        folder = Path(folder)
        folder.mkdir(parents=True, exist_ok=True)
        place = folder / ".compare.partial"
        shutil.rmtree(place, ignore_errors=True)  # of one that was killed
        place.mkdir()
        try:
            for picture in (picture for section in self.sections for picture in section.pictures):
                (place / f"{picture.name}.png").write_bytes(picture.png)
            with (place / "compare.csv").open("w", newline="", encoding="utf-8") as file:
                csv.writer(file).writerows(self._lines())
            page = report(title, self.sections, subtitle=subtitle, facts=facts)
            (place / "compare.html").write_text(page, encoding="utf-8")
            names = sorted(path.name for path in place.iterdir())
            for name in names:
                os.replace(place / name, folder / name)
        finally:
            shutil.rmtree(place, ignore_errors=True)
        return [folder / name for name in names]

    def _lines(self) -> list[list[str]]:
        lines = [["measure", "unit", "model", "seed", "value", "reason"]]
        for m in MEASURES:
            for model, seeds in self.seeds.items():
                reason = self.reasons.get((m.name, model), "")
                for seed, value in zip(seeds, self.values[m.name][model], strict=True):
                    number = repr(value) if math.isfinite(value) else ""
                    lines.append([m.name, m.unit, model, str(seed), number, "" if number else reason])
        return lines


def compare(candidates: Sequence[Candidate], *, num_particles: int = 64, progress: bool = True) -> Comparison:
    """Measure trained models on the same data, and say who wins where, beyond the spread over seeds.

    Models of one name differ in the seed alone. All are measured alike, on held-out data where there are any: bounds
    on the evidence where there is a decoder; KL(R || P) of every model by the same estimators on as many rows, so that
    a VAE's aggregate mismatch shows; I(x; z); probes; recovery of the truth; reconstruction, for a model without a
    decoder by one of the same make that is trained afterwards on its frozen latents with the same budget; calibration;
    cost. What is not defined is left out, and said why.

    Args:
        candidates: The models, two names or more.
        num_particles: Of the importance-weighted bound.
        progress: Whether to show a progress bar.

    Raises:
        ValueError: If there are fewer than two models, they are of different data or held-out parts, or one is given
            twice.

    Example:
        >>> train, test = (ldm.datasets.Data(torch.randn(200, 4).float()) for _ in range(2))
        >>> candidates = []
        >>> for entropy in (ldm.entropy.LogDet(), ldm.entropy.KNN()):
        ...     guide = ldm.guides.Deterministic(torch.nn.Linear(4, 2), entropy).float()
        ...     fit = ldm.fit(ldm.priors.Gaussian(2).float(), guide, train, epochs=2, progress=False)
        ...     candidates.append(Candidate(type(entropy).__name__, fit.objective.prior, guide, train, test))
        >>> found = compare(candidates, progress=False)
        >>> found.verdict
        'not decided: one seed of a model says nothing of the spread, so compare more seeds'
        >>> found.reasons["ELBO", "KNN"]
        'without a decoder there is no bound on the evidence'
    """
    _check(candidates)
    generative = [c.generative for c in candidates if c.generative is not None]
    cases = [Case(c, generative[0] if generative else None, num_particles) for c in candidates]
    models = list(dict.fromkeys(c.model for c in candidates))
    values: Values = {m.name: {model: [] for model in models} for m in MEASURES}
    reasons: dict[tuple[str, str], str] = {}
    bar = tqdm(total=len(cases) * len(MEASURES), desc="compare", disable=not progress)
    with torch.random.fork_rng(devices=cuda_devices()):
        for case in cases:
            bar.set_postfix_str(f"{case.candidate.model}, seed {case.candidate.seed}")
            for m in MEASURES:
                value, reason = measure(case, m)
                values[m.name][case.candidate.model].append(value)
                if reason:
                    reasons[m.name, case.candidate.model] = reason
                bar.update()
    bar.close()
    kinds = {type(g.likelihood).__name__ for g in generative}
    numbers = {c.model: c.num_latents for c in candidates}
    alike = [model for model in models if numbers[model] == numbers[models[0]]]
    ranked = {m: alike if m.same_latents else models for m in MEASURES if len(kinds) < 2 or not m.same_likelihood}
    found = (finding(m, {model: values[m.name][model] for model in those}) for m, those in ranked.items())
    findings = tuple(f for f in found if f is not None)
    seeds = {model: [c.seed for c in candidates if c.model == model] for model in models}
    verdict = summary(findings, models)
    parts = sections(values, reasons, seeds, findings, verdict, cases)
    return Comparison(values, reasons, seeds, findings, verdict, tuple(parts))


def _check(candidates: Sequence[Candidate]) -> None:
    models = {c.model for c in candidates}
    if len(models) < 2:
        raise ValueError(
            f"nothing to compare: {len(candidates)} run(s) of {len(models)} model(s); pass two models or more"
        )
    first = candidates[0]
    prints = {id(data): fingerprint(data) for c in candidates for data in (c.train, c.test) if data is not None}
    for found in prints.values():
        found.pop("name")  # the same data may have two
    parts = [[prints.get(id(data)) for data in (c.train, c.test)] for c in candidates]
    for other, own in zip(candidates, parts, strict=True):
        if own == parts[0]:
            continue
        names = f"{first.name or first.model} and {other.name or other.model}"
        if _total(first) == _total(other):
            raise ValueError(f"{names} hold out different parts of the data: fit them with the same --held_out")
        shapes = " and ".join(str(tuple(c.train.x.shape)) for c in (first, other))
        raise ValueError(f"{names} are of different data ({shapes} to fit on): compare runs on the same")
    seen: set[tuple[str, int]] = set()
    for c in candidates:
        if (c.model, c.seed) in seen:
            raise ValueError(f"{c.model} with seed {c.seed} is there twice: leave one out, or name them apart")
        seen.add((c.model, c.seed))


def _total(candidate: Candidate) -> tuple[int, float, float]:
    """Number and sums of all of a candidate's data, whatever was held out: they tell a split from other data."""
    parts = [data.x.double() for data in (candidate.train, candidate.test) if data is not None]
    sums = (sum(float(power(x).sum()) for x in parts) for power in (torch.abs, torch.square))
    return (sum(map(len, parts)), *(round(value, 3) for value in sums))  # type: ignore[return-value]
