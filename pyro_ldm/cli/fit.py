"""``pyro-ldm fit``: fit a prior and an encoder, and with a decoder a VAE, to data."""

import os
import re
import time
from pathlib import Path
from typing import Any

import torch

from pyro_ldm import datasets
from pyro_ldm.cli.build import build
from pyro_ldm.cli.likelihood import elbo_of
from pyro_ldm.cli.options import parse
from pyro_ldm.runs import interrupted, run_folder, write_run
from pyro_ldm.runs.folder import CHECKPOINT
from pyro_ldm.runs.held_out import hold_out
from pyro_ldm.training import Fit, fit


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
    train, _, held_out = hold_out(data, config.held_out)
    torch.manual_seed(config.seed)
    prior, guide, views = build(config, train)
    with run_folder(out.resolve(), resume=resume) as folder:
        if not resume:
            config.config, config.out = None, None
            parser.save(config, folder / "config.new")
            os.replace(folder / "config.new", folder / "config.yaml")
        from pyro_ldm.runs.cost import Cost  # imported here: Lightning takes seconds

        started, cost = time.perf_counter(), Cost()
        result = fit(
            prior,
            guide,
            train,
            elbo=elbo_of(config),
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
            callbacks=(cost,),
            checkpoint=folder / CHECKPOINT,
        )
        torch.manual_seed(config.seed)  # pictures draw from the prior; a resumed run's are to be the same
        settings = {"data": config.data, "seed": config.seed, "seconds": round(time.perf_counter() - started, 1)}
        settings |= cost.summary()
        summary = write_run(
            folder, result, data, settings=settings, held_out=held_out if bool(held_out.any()) else None
        )
    print_result(result, summary, out=out)


def print_result(result: Fit, summary: dict[str, Any], *, out: Path) -> None:
    """The table at the end of a run."""
    terms = result.terms
    rows = {terms.divergence: terms.kl, "alignment": terms.alignment, "uniformity": terms.uniformity}
    if terms.reconstruction is not None:
        rows = {terms.objective: terms.loss, "reconstruction": terms.reconstruction} | rows
    if terms.global_kl:
        rows["global KL"] = terms.global_kl
    print(f"\n{'':16}{'nats per datum':>16}")
    for name, value in rows.items():
        print(f"{name:16}{value:16.3f}")
    print(f"\n{summary['verdict']}\n{summary['collapse']}")
    if "posterior_collapse" in summary:
        print(summary["posterior_collapse"])
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
