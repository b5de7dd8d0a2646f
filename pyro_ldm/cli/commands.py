"""The commands, and how each mistake ends: in one sentence, and a non-zero exit."""

import inspect
import os
import re
import sys
import time
import warnings
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from pyro_ldm import datasets
from pyro_ldm.cli import choices
from pyro_ldm.cli.build import build
from pyro_ldm.cli.options import in_one_sentence, parse
from pyro_ldm.runs import interrupted, run_folder, write_run
from pyro_ldm.runs.folder import CHECKPOINT
from pyro_ldm.training import Fit, fit

USAGE = """\
pyro-ldm fit DATA [options]   fit a prior and an encoder to data (pyro-ldm fit --help)
pyro-ldm list                 priors, estimators, encoders and built-in data"""


def run_fit(argv: list[str]) -> None:
    """``pyro-ldm fit``."""
    parser, config = parse(argv)
    resume = config.resume is not None
    if resume:
        place, hidden = config.resume, interrupted(Path(config.resume).resolve())
        if not hidden.is_dir():
            raise ValueError(f"no interrupted run of {place} is there to resume")
        if not (hidden / "config.yaml").is_file():
            raise ValueError(f"the run {place} was interrupted before it began: remove {hidden} and start it again")
        parser, config = parse(["--config", str(hidden / "config.yaml"), "--out", place])
    if not config.data:
        raise ValueError("DATA is missing: after fit, name a built-in data set (pyro-ldm list) or a file")
    name = re.sub(r'[<>:"|?*]', "-", Path(config.data).stem)  # of dots:circle, on Windows as well
    out = Path(config.out or Path("runs") / f"{name}-{time.strftime('%Y%m%d-%H%M%S')}")
    # Everything that a bad option or file can break comes before the folder.
    data = datasets.load(config.data, key=config.key)
    torch.manual_seed(config.seed)
    prior, guide, views = build(config, data)
    with run_folder(out.resolve(), resume=resume) as folder:
        if not resume:
            config.config, config.out = None, None
            parser.save(config, folder / "config.new")
            os.replace(folder / "config.new", folder / "config.yaml")
        started = time.perf_counter()
        result = fit(
            prior,
            guide,
            data,
            epochs=config.epochs,
            batch_size=config.batch_size,
            lr=config.lr,
            views=views,
            gradient_clip=config.gradient_clip,
            patience=config.patience,
            starts=config.starts,
            seed=config.seed,
            accelerator=config.accelerator,
            precision=config.precision,
            progress=config.progress,
            checkpoint=folder / CHECKPOINT,
        )
        torch.manual_seed(config.seed)  # pictures draw from the prior; a resumed run's are to be the same
        settings = {"data": config.data, "seed": config.seed, "seconds": round(time.perf_counter() - started, 1)}
        summary = write_run(folder, result, data, settings=settings)
    print_result(result, summary, out=out)


def print_result(result: Fit, summary: dict[str, Any], *, out: Path) -> None:
    """The table at the end of a run."""
    terms = result.terms
    rows = {terms.divergence: terms.kl, "alignment": terms.alignment, "uniformity": terms.uniformity}
    if terms.global_kl:
        rows["global KL"] = terms.global_kl
    print(f"\n{'':16}{'nats per datum':>16}")
    for name, value in rows.items():
        print(f"{name:16}{value:16.3f}")
    print(f"\n{summary['verdict']}\n{summary['collapse']}")
    for line in of_series(summary.get("series", {})):
        print(line)
    print(out)


def of_series(scores: dict[str, Any]) -> list[str]:
    """What the scores of a run of series say, a line each."""
    recovered = {n: v for n, v in scores.get("affine_r2", {}).items() if v is not None}
    skill = {n: v for n, v in scores.get("forecast_skill", {}).items() if v is not None}
    lines = []
    if recovered:
        found = (f"{name} {value:.3f}" for name, value in recovered.items())
        lines.append(f"truth recovered up to an affine map, R2: {', '.join(found)}")
    if skill:
        horizons = sorted({0, len(next(iter(skill.values()))) - 1})
        ahead = " and ".join(str(h + 1) for h in horizons) + (" steps" if len(horizons) > 1 else " step")
        found = (f"{n.replace('_', ' ')} {' and '.join(f'{v[h]:.2f}' for h in horizons)}" for n, v in skill.items())
        lines.append(f"skill of forecasts {ahead} ahead: {', '.join(found)}")
    return lines


def run_list() -> None:
    """``pyro-ldm list``."""
    tables: dict[str, dict[str, Any]] = {
        "priors": choices.PRIORS,
        "entropies": choices.ENTROPIES,
        "arrangements of views or steps": choices.ARRANGEMENTS,
        "kernels of KDE": choices.KERNELS,
        "spaces of KNN": choices.SPACES,
        "encoders": choices.ENCODERS,
        "augmentations": choices.AUGMENTATIONS,
        "data": datasets.builtin(),
    }
    for title, table in tables.items():
        print(title)
        for name, thing in table.items():
            print(f"  {name:22} {(inspect.getdoc(thing) or '').splitlines()[0]}")
    print("A prior or an encoder may be your own: my_file.py:name. Data may be a file: npy, npz, csv, parquet, images.")


def main(argv: list[str] | None = None) -> int:
    """Entry point: what is wrong ends in one sentence on stderr and a non-zero exit.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        The exit code: 0, 2 after a mistake, 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    commands = {"fit": lambda: run_fit(argv[1:]), "list": run_list}
    if not argv or argv[0] in ("-h", "--help"):
        print(USAGE)
        return 0 if argv else 2
    if argv[0] not in commands:
        print(f"pyro-ldm: unknown command {argv[0]!r}; commands: {', '.join(commands)}", file=sys.stderr)
        return 2
    shown, warnings.showwarning = warnings.showwarning, _each_once()
    try:
        commands[argv[0]]()
        return 0
    except KeyboardInterrupt:
        print("pyro-ldm: interrupted; go on with pyro-ldm fit --resume RUN", file=sys.stderr)
        return 130
    except Exception as error:
        from jsonargparse import ArgumentError

        if not isinstance(error, ValueError | TypeError | OSError | NotImplementedError | ArgumentError):
            raise
        message = in_one_sentence(error)
        if message.startswith("unrecognized arguments") and argv[0] == "fit" and argv[1].startswith("-"):
            message += " (DATA comes first, right after fit)"
        print(f"pyro-ldm: {message}", file=sys.stderr)
        return 2
    finally:
        warnings.showwarning = shown


def _each_once() -> Callable[..., None]:
    """Warnings as one line each, and none twice, nor again with other numbers."""
    said = set()

    def show(message, *_, **__) -> None:
        kind = re.sub(r"\d+(\.\d+)?", "", str(message))
        if kind not in said:
            said.add(kind)
            print(f"pyro-ldm: warning: {message}", file=sys.stderr)

    return show
