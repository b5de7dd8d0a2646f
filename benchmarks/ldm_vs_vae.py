"""Latent distribution matching against VAEs, under one prior and one encoder: when does each win?

    PYRO_LDM_DATA=folder python benchmarks/ldm_vs_vae.py [identifiability] [images] [videos] [--seeds 0 1 2]
        [--worlds NAME ...] [--models NAME ...] [--csv cells.csv] [--pictures DIR]

identifiability  A predictable signal under nuisance: which of them do the latents hold?
images           Fashion-MNIST, 16 and 64 latents: bounds, mismatch, information, probes, reconstruction, cost.
videos           A dot, and a ball in a box: state, missing frames, forecasts, seconds to find the state.

What is compared in each, how, and what the columns are stands in `versus/`, a module each. Every model has the data,
batches and passes of the others in its world. A number is a mean over seeds (lowest to highest). A killed call goes on
from its CSV. `--validation` scores training data held out, on which settings were chosen; `--table` prints the CSV.
"""

import argparse
import csv
import math
import os
import platform
import statistics
from collections.abc import Sequence
from pathlib import Path

import pyro
import torch
from versus import identifiability, images, videos

PARTS = {"identifiability": identifiability, "images": images, "videos": videos}
FIELDS = ("world", "model", "seed", "measure", "value")
Cells = dict[tuple[str, str, int], dict[str, float]]


def read(path: Path) -> Cells:
    """Measures of each world, model and seed in the file, of cells that a killed call had finished."""
    cells: Cells = {}
    if path.exists():
        with path.open(newline="") as file:
            for row in csv.DictReader(file):
                key = row["world"], row["model"], int(row["seed"])
                cells.setdefault(key, {})[row["measure"]] = float(row["value"])
    return cells


def add(path: Path, key: tuple[str, str, int], found: dict[str, float]) -> None:
    """Lines of one cell, in one write."""
    lines = "" if path.exists() else ",".join(FIELDS) + "\n"
    lines += "".join(f'"{key[0]}","{key[1]}",{key[2]},"{name}",{value!r}\n' for name, value in found.items())
    with path.open("a", newline="") as file:
        file.write(lines)


def said(values: Sequence[float]) -> str:
    """Mean, lowest to highest, and of how many seeds where not all have a value."""
    there = [value for value in values if math.isfinite(value)]
    if not there:
        return ""
    size = max(abs(value) for value in there)
    digits = sum(size < edge for edge in (1000, 100, 10, 0.1))
    ends = [f"{end:.{digits}f}" for end in (min(there), max(there))]
    spread = f" ({ends[0]} to {ends[1]})" if ends[0] != ends[1] else ""
    seeds = f", {len(there)} of {len(values)} seeds" if len(there) < len(values) else ""
    return f"{statistics.mean(there):.{digits}f}{spread}{seeds}"


def table(cells: Cells, world: str, models: Sequence[str], columns: Sequence[str]) -> None:
    """Print a row a measure, a column a model."""
    there = [model for model in models if any((world, model) == key[:2] for key in cells)]
    if not there:
        return
    count = max(sum((world, model) == key[:2] for key in cells) for model in there)
    print(f"\n| {world}; seeds: {count} | " + " | ".join(there) + " |\n|" + "---|" * (len(there) + 1))
    for name in columns:
        by_model = [[v.get(name, math.nan) for key, v in cells.items() if key[:2] == (world, m)] for m in there]
        if any(map(said, by_model)):
            print(f"| {name} | " + " | ".join(map(said, by_model)) + " |")


def main() -> None:
    """Measure what the CSV lacks; print the tables."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("parts", nargs="*", default=[*PARTS], help=", ".join(PARTS))
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--worlds", nargs="+", help="only these")
    parser.add_argument("--models", nargs="+", help="only these")
    parser.add_argument("--csv", type=Path, default=Path("ldm_vs_vae.csv"))
    parser.add_argument("--pictures", type=Path, help="a folder for pictures")
    parser.add_argument("--validation", action="store_true", help="score training data held out, for tuning")
    parser.add_argument("--table", action="store_true", help="measure nothing")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{os.cpu_count()} cores, 1 thread, Python {platform.python_version()}, torch {torch.__version__}, "
        f"pyro {pyro.__version__}",
        flush=True,
    )
    for part in (PARTS[name] for name in args.parts):
        worlds = {w: models for w, models in part.WORLDS.items() if args.worlds is None or w in args.worlds}
        models = {w: [m for m in models if args.models is None or m in args.models] for w, models in worlds.items()}
        if not args.table:
            done = read(args.csv)
            wanted = [
                (w, m, seed) for seed in args.seeds for w in worlds for m in models[w] if (w, m, seed) not in done
            ]
            for world, model, seed, found in part.rows(wanted, validation=args.validation):
                add(args.csv, (world, model, seed), found)
                print(f"{world}, {model}, seed {seed}: {found}", flush=True)
        for world in worlds:
            table(read(args.csv), world, models[world], part.COLUMNS)
        if args.pictures and hasattr(part, "draw"):
            args.pictures.mkdir(parents=True, exist_ok=True)
            part.draw(args.pictures)


if __name__ == "__main__":
    main()
