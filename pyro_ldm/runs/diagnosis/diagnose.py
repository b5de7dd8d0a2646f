"""Diagnose a run: is its prior matched, and if not, what misfits and how? In words, numbers and pictures."""

import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from torch import nn
from tqdm import tqdm

from pyro_ldm.baselines import Generative
from pyro_ldm.devices import cuda_devices
from pyro_ldm.diagnostics.arviz import Tree, add_groups, to_arviz
from pyro_ldm.posterior.nuts import check_options
from pyro_ldm.posterior.program import global_sites
from pyro_ldm.runs.diagnosis.against import Against, read_against, refuse_itself
from pyro_ldm.runs.diagnosis.case import Case, check_same, look_at
from pyro_ldm.runs.diagnosis.files import facts, write_diagnosis
from pyro_ldm.runs.diagnosis.findings import (
    alternatives,
    collapsed,
    covered,
    matched,
    misfits,
    training,
)
from pyro_ldm.runs.diagnosis.parameters import parameters, posterior_of
from pyro_ldm.runs.diagnosis.recovery import agrees, bands, recovered
from pyro_ldm.runs.finding import Finding
from pyro_ldm.runs.held_out import fingerprint
from pyro_ldm.runs.report import Section
from pyro_ldm.runs.write import load_latents, load_summary

LEFT_OUT = Finding(Section("Other priors", "not measured: left out, as other_priors is false"))
UNMEASURED = (ValueError, NotImplementedError, torch.linalg.LinAlgError)  # of latents that a part cannot use


@dataclass(frozen=True, eq=False)
class Diagnosis:
    """What :func:`diagnose` found; ``str()`` of it is the verdicts, a line each.

    Attributes:
        sections: The report's parts, with verdicts, numbers, tables and pictures.
        tree: Posterior, replicated latents, latents and bounds, as in ``posterior.nc``.
        files: What was written.
    """

    sections: tuple[Section, ...]
    tree: Tree
    files: tuple[Path, ...]

    @property
    def numbers(self) -> dict[str, float]:
        """The numbers that count, by names that say their unit."""
        return {name: value for section in self.sections for name, value in section.numbers.items()}

    def __str__(self) -> str:
        return "\n".join(f"{section.title}: {section.verdict}" for section in self.sections if section.verdict)


def diagnose(
    folder: str | os.PathLike[str],
    prior: Callable,
    guide: nn.Module,
    data: Any,
    *,
    views: Callable | None = None,
    nuts: bool | Mapping[str, Any] = False,
    other_priors: bool = True,
    against: str | os.PathLike[str] | None = None,
    seed: int = 0,
    progress: bool = True,
) -> Diagnosis:
    """Check a finished run, and write what was found into its folder.

    * Match: bounds and estimates of KL(R || P), and whether prior and latents cover one another;
    * collapse; fit of each dim, by predictive checks;
    * the posterior of the prior's parameters, where it has any: that which was trained beside the encoder, or by NUTS;
    * other priors, by leave-one-out cross-validation, for latents that are one vector per datum;
    * recovery of true latents, where the data or a file have them, or agreement with another run; the coverage of the
      filter's bands.

    Of a VAE it is the prior that is looked at, and not the likelihood. The slower parts look at 2000 rows at most, of
    series at 20 000 steps, held out from the fit if any were, and say so. What cannot be measured, of
    latents that have collapsed, say, is reported as such. Written are ``report.html``, one page that needs nothing
    else, ``posterior.nc`` for ArviZ, ``diagnosis.json`` and pictures: at the end, each whole or not at all, in
    place of those of an earlier diagnosis.

    Args:
        folder: The run, as :func:`write_run` wrote it.
        prior: Its prior, trained.
        guide: Its guide, trained.
        data: Its data, a :class:`pyro_ldm.datasets.Data`.
        views: What makes two views of a datum, for a prior of two.
        nuts: Whether the posterior of the prior's parameters is sampled by NUTS, given latents; or the options for
            that, of ``num_samples``, ``warmup_steps``, ``num_chains`` and ``target_accept``.
        other_priors: Whether to compare the prior with the usual ones, which takes minutes.
        against: True latents, an npz file with an array ``truth`` (N, K) or (N, T, K); or another run's folder.
        seed: Of everything random; the global random state is left as it was.
        progress: Whether to show progress bars.

    Raises:
        ValueError: If the run is not there, broken or not of these data, ``against`` does not fit or is the run itself,
            ``nuts`` is asked for and the prior has no parameters, or its options are bad.

    Example:
        >>> import tempfile
        >>> folder, data = tempfile.mkdtemp(), ldm.datasets.Data(torch.randn(100, 4, 3), name="noise")
        >>> prior, entropy = ldm.priors.Kalman(2).float(), ldm.entropy.Pooled(ldm.entropy.LogDet())
        >>> guide = ldm.guides.Deterministic(ldm.encoders.PerStep(torch.nn.Linear(3, 2)), entropy).float()
        >>> fit = ldm.fit(prior, guide, data, epochs=1, progress=False)
        >>> _ = ldm.runs.write_run(folder, fit, data, settings={})
        >>> found = diagnose(folder, prior, guide, data, progress=False)
        >>> [path.name for path in found.files]
        ['check.png', 'kl.png', 'posterior.nc', 'diagnosis.json', 'report.html']
    """
    folder = Path(folder)
    # Everything that a bad argument can break comes before the long work.
    sampling = dict(nuts) if isinstance(nuts, Mapping) else {} if nuts else None
    check_options(sampling or {})
    if against is not None:
        refuse_itself(against, folder)
    stored, summary = load_latents(folder), load_summary(folder)
    if "z" not in stored:
        raise ValueError(f"{folder / 'latents.npz'} has no latents z: restore it, or fit the run again")
    with torch.random.fork_rng(devices=cuda_devices()):
        torch.manual_seed(seed)
        prior = prior.prior if isinstance(prior, Generative) else prior
        case = look_at(prior, guide, data, views=views, held_out=stored.get("split"), seed=seed)
        check_same(case, folder, stored["z"])
        other = None if against is None else read_against(against, case.z, case.there, data=fingerprint(data))
        if sampling is not None and not global_sites(prior, case.sites, case.batch):
            raise ValueError(
                "there is nothing to infer by NUTS: the prior has no parameters, which are sample sites outside plate "
                '"batch", such as a hyperparameter of a built-in prior that is a distribution; leave nuts out'
            )
        sections, tree = _look(
            case, folder, summary, other, sampling=sampling, other_priors=other_priors, progress=progress
        )
    files = write_diagnosis(
        folder,
        sections,
        tree,
        title=f"{data.name or 'data'} under {case.name}",
        subtitle=f"Run {folder.resolve().name}: {case.size}",
        facts=facts(
            folder,
            summary,
            {"nuts": None if sampling is None else True, **(sampling or {})}
            | {"against": against, "seed": seed, "rows looked at": len(case.rows)},
            dict(tree.attrs),
        ),
    )
    return Diagnosis(tuple(sections), tree, files)


def _look(
    case: Case,
    folder: Path,
    summary: dict[str, Any],
    against: Against | None,
    *,
    sampling: Mapping[str, Any] | None,
    other_priors: bool,
    progress: bool,
) -> tuple[list[Section], Tree]:
    """The sections, and the arrays behind them in one tree."""
    tree: Tree | None = None

    def infer() -> Finding | None:
        nonlocal tree
        tree = posterior_of(case, sampling=sampling, progress=progress)
        return None if tree is None else parameters(case, tree)

    steps: dict[str, Callable[[], Finding | None]] = {
        "The prior's parameters": infer,  # first, as others need them
        "Match with the prior": lambda: matched(case, tree),
        "Cover": lambda: covered(case, tree),
        "Collapse": lambda: collapsed(case, folder),
        "Fit of each dim": lambda: misfits(case, tree),
        "Other priors": lambda: (
            alternatives(case, tree, sampling=sampling, progress=progress) if other_priors else LEFT_OUT
        ),
        "Recovery of the truth": lambda: recovered(case, against),
        "Agreement with another run": lambda: agrees(case, against),
        "The filter's bands": lambda: bands(case, against),
        "Training": lambda: training(summary, folder),
    }
    sections: dict[str, Section] = {}
    groups: dict[str, Any] = {"latents": {"z": case.z}, "attrs": {"seed": case.seed, "objective": case.name}}
    bar = tqdm(steps.items(), desc="diagnosis", disable=not progress)
    for title, step in bar:
        bar.set_postfix_str(title)
        try:
            finding = step()
        except UNMEASURED as error:
            reason = " ".join(str(error).split("Trace Shapes:")[0].split())  # without the table that Pyro appends
            finding = Finding(Section(title, f"not measured: {reason}"))
        if finding is not None:
            sections[title] = finding.section
            groups |= finding.groups
    order = [title for title in (*list(steps)[1:5], *list(steps)[:1], *list(steps)[5:]) if title in sections]
    return [sections[title] for title in order], add_groups(tree, **groups) if tree is not None else to_arviz(**groups)
