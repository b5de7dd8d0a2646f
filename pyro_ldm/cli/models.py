"""Models among run folders: runs whose options differ in the seed alone are one."""

import json
import os
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pyro_ldm.cli.rebuild import Rebuilt
from pyro_ldm.cli.vae import described, model_of

OWN = ("seed", "out", "config", "resume", "progress", "accelerator")  # options that make no other model


def groups_of(runs: dict[Path, Rebuilt]) -> list[tuple[dict[str, Any], list[int]]]:
    """Options of each model, and the seeds that there are of it."""
    found: dict[str, tuple[dict[str, Any], list[int]]] = {}
    for folder, run in runs.items():
        found.setdefault(key_of(folder), (options_of(folder), []))[1].append(int(run.config.seed))
    return list(found.values())


def options_of(folder: Path) -> dict[str, Any]:
    """A run's options, without those that make no other model, nor those left open."""
    import yaml

    found = yaml.safe_load((folder / "config.yaml").read_text())
    return {name: value for name, value in found.items() if name not in OWN and value is not None}


def key_of(folder: Path) -> str:
    """What runs share that differ in the seed alone."""
    return json.dumps(options_of(folder), sort_keys=True)


def names_of(runs: Iterable[Path]) -> dict[Path, str]:
    """What each model is called: its kind, and where two are of one kind, what tells them apart."""
    first = {key_of(folder): folder for folder in reversed(list(runs))}
    short = {key: model_of(options_of(folder)) for key, folder in first.items()}
    longer = {key: f"{name} ({described(options_of(first[key]))})" for key, name in short.items()}
    shared = os.path.commonpath([folder.absolute().parent for folder in first.values()])
    longest = {key: f"{name} {first[key].absolute().relative_to(shared)}" for key, name in short.items()}
    names = next(each for each in (short, longer, longest) if len(set(each.values())) == len(first))
    return {folder: names[key_of(folder)] for folder in runs}
