"""``pyro-ldm compare``: runs side by side, and VAEs trained beside one of them."""

import json
import os
import re
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterable, Iterator, Sequence
from contextlib import contextmanager
from itertools import count, islice
from pathlib import Path
from typing import Any

import torch

from pyro_ldm.cli.build import build
from pyro_ldm.cli.choices import class_of
from pyro_ldm.cli.options import parse
from pyro_ldm.cli.rebuild import Rebuilt, rebuild
from pyro_ldm.cli.vae import VAES, beside, described, model_of
from pyro_ldm.datasets import Data
from pyro_ldm.runs import interrupted, load_latents
from pyro_ldm.runs.comparison.candidate import Candidate
from pyro_ldm.runs.comparison.compare import Comparison, compare
from pyro_ldm.runs.held_out import fingerprint, hold_out

USAGE = "pyro-ldm compare RUN ... [--vae same,beta,...] [--seeds 3] [--out DIR]"
SEEDS = 3  # of each model, where VAEs are trained beside a run
OWN = ("seed", "out", "config", "resume", "progress", "accelerator")  # options that make no other model


def run_compare(argv: list[str]) -> None:
    """``pyro-ldm compare``."""
    options = _parse(argv)
    folders = [Path(run) for run in options.runs]
    kinds = list(dict.fromkeys(kind.strip().lower() for kind in (options.vae or "").split(",") if kind.strip()))
    chosen = {kind: _chosen(options[kind], kind) for kind in ("decoder", "likelihood")}
    out = Path(options.out or Path("runs") / f"compare-{time.strftime('%Y%m%d-%H%M%S')}")
    if out.exists() and not out.is_dir():
        raise ValueError(f"{out} is a file: name a folder by --out")
    runs = {folder: rebuild(folder) for folder in folders}
    if len(runs) < len(folders):
        raise ValueError("a run is named twice: name each once")
    for kind in kinds:  # whatever a VAE lacks is said before any is trained
        _check_builds(_beside(folders[0], runs[folders[0]], kind, chosen), runs[folders[0]], kind)
    for folder in _further(runs, kinds, chosen, options, out):
        runs[folder] = rebuild(folder)
    found = compare(candidates(runs), num_particles=options.particles, progress=options.progress)
    first = next(iter(runs.values()))
    print_comparison(
        found,
        found.write(
            out,
            title=f"{first.data.name or first.config.data}: {', '.join(found.seeds)}",
            subtitle=f"{len(runs)} runs compared on {len(first.data)} data of shape {first.data.shape}",
            facts={str(folder): _facts(folder, run) for folder, run in runs.items()},
        ),
    )


def candidates(runs: dict[Path, Rebuilt]) -> list[Candidate]:
    """What is compared, of rebuilt runs: those whose options differ in the seed alone are one model.

    Raises:
        ValueError: If the data of a run have changed since it was made.
    """
    names = _names(runs)
    splits: dict[tuple[str, float], tuple[Data, Data | None]] = {}
    found = []
    for folder, run in runs.items():
        summary = json.loads((folder / "summary.json").read_text())
        now, then = fingerprint(run.data), summary.get("data")
        if then is not None and then["sha256"] != now["sha256"]:
            raise ValueError(f"the data of {folder} have changed since it was made: restore them, or fit it again")
        # One copy of the data for all runs of them.
        train, test = splits.setdefault((now["sha256"], run.config.held_out), _parts(run.data, run.config.held_out))
        found.append(
            Candidate(
                names[folder],
                run.prior,
                run.guide,
                train,
                test,
                seed=run.config.seed,
                views=run.views,
                epochs=run.config.epochs,
                batch_size=run.config.batch_size,
                lr=run.config.lr,
                cost=summary["settings"],
                name=str(folder),
            )
        )
    return found


def print_comparison(found: Comparison, files: Sequence[Path]) -> None:
    """The table, who wins, and where the rest is."""
    table = found.table
    width = max(len(title) for title in table.index)
    columns = {model: max(len(model), 18) for model in found.seeds}
    print("\n" + " " * width + "".join(f"  {model:>{columns[model]}}" for model in found.seeds))
    for title, row in table.iterrows():
        if not row.notna().any():
            continue
        cells = [_cell(row[model, "mean"], row[model, "spread"]) for model in found.seeds]
        print(f"{title:{width}}" + "".join(f"  {c:>{columns[m]}}" for m, c in zip(found.seeds, cells, strict=True)))
    print(f"\n{found}\n")
    for path in files:
        print(path)


def _cell(mean: float, spread: float) -> str:
    if mean != mean:
        return "-"
    return f"{mean:.4g}" + (f" +- {spread:.2g}" if spread == spread else "")


def _further(
    runs: dict[Path, Rebuilt], kinds: list[str], chosen: dict[str, Any], options: Any, out: Path
) -> list[Path]:
    """Fit what is missing: further seeds of each model, and VAEs beside the first run."""
    folder, missing = next(iter(runs)), []
    groups = _groups(runs)
    for own, seeds in groups:
        more = _seeds(seeds, options.seeds or (SEEDS if kinds else len(seeds)))
        missing.append((model_of(own), own, [seed for seed in more if seed not in seeds]))
    for kind in kinds:
        more = _seeds(groups[0][1], options.seeds or SEEDS)
        missing.append((f"vae-{kind}", _beside(folder, runs[folder], kind, chosen), more))
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

    config = folder / "config.yaml"
    if config.is_file():
        theirs = yaml.safe_load(config.read_text())
        ours = {name: value for name, value in options.items() if name not in OWN}
        if not _within(ours, theirs):
            raise ValueError(f"{folder} is there already, and is another model's: choose another --out")
        return
    with _written(options) as path:
        resume = interrupted(folder.resolve()).is_dir()
        arguments = ["--resume", str(folder)] if resume else ["--config", str(path), "--out", str(folder)]
        # In a process of its own, as the run's was: memory of earlier fits would count in this one's.
        code = subprocess.run([sys.executable, "-m", "pyro_ldm.cli", "fit", *arguments], check=False).returncode
    if code:
        raise ValueError(f"{folder} could not be fitted, as said above")


def _within(ours: Any, theirs: Any) -> bool:
    """Whether all of our options are theirs too; a saved file has filled in others."""
    if isinstance(ours, dict) and isinstance(theirs, dict):
        return all(_within(value, theirs.get(name)) for name, value in ours.items())
    return ours == theirs


def _bare(value: Any) -> Any:
    """A choice without its options, which the saved file has filled in."""
    return value["class_path"] if isinstance(value, dict) and "class_path" in value else value


def _beside(folder: Path, run: Rebuilt, kind: str, chosen: dict[str, Any]) -> dict[str, Any]:
    images = run.data.x.dim() == 4
    return beside(_options(folder), kind, load_latents(folder)["z"], images=images, **chosen)


def _check_builds(options: dict[str, Any], run: Rebuilt, kind: str) -> None:
    with _written(options) as path, torch.random.fork_rng(devices=[]):
        _, config = parse(["--config", str(path)])
        try:
            build(config, _parts(run.data, config.held_out)[0])
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


def _groups(runs: dict[Path, Rebuilt]) -> list[tuple[dict[str, Any], list[int]]]:
    """Options of each model, and the seeds that there are of it."""
    groups: dict[str, tuple[dict[str, Any], list[int]]] = {}
    for folder, run in runs.items():
        groups.setdefault(_key(folder), (_options(folder), []))[1].append(int(run.config.seed))
    return list(groups.values())


def _options(folder: Path) -> dict[str, Any]:
    """A run's options, without those that make no other model, nor those left open."""
    import yaml

    found = yaml.safe_load((folder / "config.yaml").read_text())
    return {name: value for name, value in found.items() if name not in OWN and value is not None}


def _key(folder: Path) -> str:
    """What runs share that differ in the seed alone."""
    return json.dumps(_options(folder), sort_keys=True)


def _names(runs: Iterable[Path]) -> dict[Path, str]:
    """What each model is called: its kind, and where two are of one kind, what tells them apart."""
    first = {_key(folder): folder for folder in reversed(list(runs))}
    short = {key: model_of(_options(folder)) for key, folder in first.items()}
    longer = {key: f"{name} ({described(_options(first[key]))})" for key, name in short.items()}
    shared = os.path.commonpath([folder.absolute().parent for folder in first.values()])
    longest = {key: f"{name} {first[key].absolute().relative_to(shared)}" for key, name in short.items()}
    names = next(each for each in (short, longer, longest) if len(set(each.values())) == len(first))
    return {folder: names[_key(folder)] for folder in runs}


def _parts(data: Data, share: float) -> tuple[Data, Data | None]:
    return hold_out(data, share)[:2]


def _facts(folder: Path, run: Rebuilt) -> str:
    shown = {n: _bare(v) for n, v in _options(folder).items() if v not in ([], 0.0, False)}
    return ", ".join(f"{name} {value}" for name, value in (shown | {"seed": run.config.seed}).items())


def _chosen(value: str | None, kind: str) -> dict[str, Any] | None:
    return None if value is None else class_of(value, kind)


def _parse(argv: list[str]) -> Any:
    from jsonargparse import ArgumentParser
    from jsonargparse.typing import PositiveInt

    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        raise ValueError(f"RUN is missing, the folders of finished runs, right after compare: {USAGE}")
    parser: Any = ArgumentParser(
        prog="pyro-ldm compare",
        description="Compare finished runs of the same data; write compare.html, compare.csv and pictures.",
        exit_on_error=False,
    )
    parser.add_argument("runs", nargs="+", type=str, metavar="RUN", help="Folders of finished runs.")
    parser.add_argument(
        "--vae",
        type=str | None,
        help="Train beside the first RUN, with its data, split, prior, encoder, budget and seeds, a VAE, or several "
        f"with commas between: {', '.join(VAES)}.",
    )
    parser.add_argument(
        "--seeds",
        type=PositiveInt | None,
        help=f"Seeds of each model; those that no RUN has are fitted now (default: those given; {SEEDS} with --vae).",
    )
    parser.add_argument("--decoder", type=str | None, help="Of the VAEs (default: the mirror image of the encoder).")
    parser.add_argument("--likelihood", type=str | None, help="Of the VAEs (default: Gaussian, of a learned scale).")
    parser.add_argument("--particles", type=PositiveInt, default=64, help="Of the IWAE bound that is measured.")
    parser.add_argument("--out", type=str | None, help="The folder to write.")
    parser.add_argument("--progress", type=bool, default=True, help="Show progress bars.")
    return parser.parse_args(argv)
