"""``pyro-ldm compare``: runs side by side, and VAEs trained beside one of them."""

import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from pyro_ldm.cli.choices import class_of
from pyro_ldm.cli.further import SEEDS, check_builds, fit_missing, options_beside
from pyro_ldm.cli.models import names_of, options_of
from pyro_ldm.cli.rebuild import Rebuilt, rebuild
from pyro_ldm.cli.vae import VAES
from pyro_ldm.datasets import Data
from pyro_ldm.runs.comparison.candidate import Candidate
from pyro_ldm.runs.comparison.compare import Comparison, compare
from pyro_ldm.runs.held_out import fingerprint, hold_out
from pyro_ldm.runs.write import load_summary

USAGE = "pyro-ldm compare RUN ... [--vae same,beta,...] [--seeds 3] [--out DIR]"


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
        check_builds(options_beside(folders[0], runs[folders[0]], kind, chosen), runs[folders[0]], kind)
    for folder in fit_missing(runs, kinds, chosen, options, out):
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
        ValueError: If the data of a run have changed since it was made, or its summary is broken.
    """
    names = names_of(runs)
    splits: dict[tuple[str, float], tuple[Data, Data | None]] = {}
    found = []
    for folder, run in runs.items():
        summary = load_summary(folder)
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


def _bare(value: Any) -> Any:
    """A choice without its options, which the saved file has filled in."""
    return value["class_path"] if isinstance(value, dict) and "class_path" in value else value


def _parts(data: Data, share: float) -> tuple[Data, Data | None]:
    return hold_out(data, share)[:2]


def _facts(folder: Path, run: Rebuilt) -> str:
    shown = {n: _bare(v) for n, v in options_of(folder).items() if v not in ([], 0.0, False)}
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
        allow_abbrev=False,
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
