"""Runs that a comparison lacks: further seeds of each model, and VAEs beside the first."""

import re
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch

from pyro_ldm.cli.build import build
from pyro_ldm.cli.models import OWN, groups_of, options_of
from pyro_ldm.cli.options import parse
from pyro_ldm.cli.rebuild import Rebuilt
from pyro_ldm.cli.vae import beside, model_of
from pyro_ldm.runs import interrupted, load_latents
from pyro_ldm.runs.held_out import hold_out

SEEDS = 3  # of each model, where VAEs are trained beside a run


def fit_missing(
    runs: dict[Path, Rebuilt], kinds: list[str], chosen: dict[str, Any], options: Any, out: Path
) -> list[Path]:
    """Fit what is missing: further seeds of each model, and VAEs beside the first run."""
    folder, missing = next(iter(runs)), []
    groups = groups_of(runs)
    for own, seeds in groups:
        more = _seeds(seeds, options.seeds or (SEEDS if kinds else len(seeds)))
        missing.append((model_of(own), own, [seed for seed in more if seed not in seeds]))
    for kind in kinds:
        more = _seeds(groups[0][1], options.seeds or SEEDS)
        missing.append((f"vae-{kind}", options_beside(folder, runs[folder], kind, chosen), more))
    folders = []
    for number, (name, own, seeds) in enumerate(missing):
        slug = re.sub(r"[^a-z0-9]+", "-", name.lower()).strip("-")
        slug += f"-{number}" if name in [other for other, _, _ in missing[:number]] else ""
        for seed in seeds:
            folders.append(out / f"{slug}-seed{seed}")
            _fit(own | {"seed": seed, "progress": options.progress}, folders[-1])
    return folders


def _seeds(seeds: list[int], number: int) -> list[int]:
    """Those there, and further ones up to so many."""
    further = (seed for seed in count(min(seeds)) if seed not in seeds)
    return [*seeds, *islice(further, max(0, number - len(seeds)))]


def _fit(options: dict[str, Any], folder: Path) -> None:
    """Fit into the folder, unless that is there already from an earlier, interrupted comparison."""
    import yaml

    partial = interrupted(folder.resolve())
    for config in (folder / "config.yaml", partial / "config.yaml"):
        ours = {name: value for name, value in options.items() if name not in OWN}
        if config.is_file() and not _within(ours, yaml.safe_load(config.read_text())):
            raise ValueError(f"{config.parent} is there already, and is another model's: choose another --out")
    if (folder / "config.yaml").is_file():
        return
    with _written(options) as path:
        arguments = ["--resume", str(folder)] if partial.is_dir() else ["--config", str(path), "--out", str(folder)]
        # In a process of its own, as the run's was: memory of earlier fits would count in this one's.
        code = subprocess.run([sys.executable, "-m", "pyro_ldm.cli", "fit", *arguments], check=False).returncode
    if code:
        raise ValueError(f"{folder} could not be fitted, as said above")


def _within(ours: Any, theirs: Any) -> bool:
    """Whether all of our options are theirs too; a saved file has filled in others."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(_within(value, theirs.get(name)) for name, value in ours.items())
    return ours == theirs


def options_beside(folder: Path, run: Rebuilt, kind: str, chosen: dict[str, Any]) -> dict[str, Any]:
    """Options of a VAE beside a run."""
    images = run.data.x.dim() == 4
    return beside(options_of(folder), kind, load_latents(folder)["z"], images=images, **chosen)


def check_builds(options: dict[str, Any], run: Rebuilt, kind: str) -> None:
    """Refuse a VAE that cannot be built, before anything is fitted."""
    with _written(options) as path, torch.random.fork_rng(devices=[]):
        _, config = parse(["--config", str(path)])
        try:
            build(config, hold_out(run.data, config.held_out)[0])
        except (ValueError, ImportError) as error:
            raise ValueError(f"--vae {kind} cannot be built beside this run: {error}") from error


@contextmanager
def _written(options: dict[str, Any]) -> Iterator[Path]:
    """Options as a config file, for a while."""
    import yaml

    with tempfile.TemporaryDirectory() as place:
        path = Path(place) / "config.yaml"
        path.write_text(yaml.safe_dump(options))
        yield path
