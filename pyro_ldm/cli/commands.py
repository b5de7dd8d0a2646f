"""The commands, and how each mistake ends: in one sentence, and a non-zero exit."""

import inspect
import re
import sys
import warnings
from collections.abc import Callable
from typing import Any

from pyro_ldm import datasets
from pyro_ldm.cli import choices
from pyro_ldm.cli.compare import run_compare
from pyro_ldm.cli.diagnose import run_diagnose
from pyro_ldm.cli.fit import run_fit
from pyro_ldm.cli.options import in_one_sentence

USAGE = """\
pyro-ldm fit DATA [options]         fit a prior and an encoder to data (pyro-ldm fit --help)
pyro-ldm diagnose RUN [options]     is the prior of a run matched, what misfits, and how (pyro-ldm diagnose --help)
pyro-ldm compare RUN ... [options]  runs side by side, a VAE trained beside one of them (pyro-ldm compare --help)
pyro-ldm list                       priors, estimators, encoders and built-in data"""


def run_list() -> None:
    """``pyro-ldm list``."""
    tables: dict[str, dict[str, Any]] = {
        "priors": choices.PRIORS,
        "entropies": choices.ENTROPIES,
        "arrangements of views or steps": choices.ARRANGEMENTS,
        "kernels of KDE": choices.KERNELS,
        "spaces of KNN": choices.SPACES,
        "encoders": choices.ENCODERS,
        "decoders, which make a VAE of it": choices.DECODERS,
        "likelihoods of data given latents": choices.LIKELIHOODS,
        "augmentations": choices.AUGMENTATIONS,
        "data": datasets.builtin(),
    }
    for title, table in tables.items():
        print(title)
        for name, thing in table.items():
            print(f"  {name:22} {(inspect.getdoc(thing) or '').splitlines()[0]}")
    print("A prior, an encoder or a decoder may be your own: my_file.py:name.")
    print("Data may be a file: npy, npz, csv, parquet, images.")


def main(argv: list[str] | None = None) -> int:
    """Entry point: what is wrong ends in one sentence on stderr and a non-zero exit.

    Args:
        argv: The arguments; those of the process by default.

    Returns:
        The exit code: 0, 2 after a mistake, 130 after Ctrl-C.
    """
    argv = sys.argv[1:] if argv is None else list(argv)
    commands = {
        "fit": lambda: run_fit(argv[1:]),
        "diagnose": lambda: run_diagnose(argv[1:]),
        "compare": lambda: run_compare(argv[1:]),
        "list": run_list,
    }
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
        remedies = {
            "fit": "go on with pyro-ldm fit --resume RUN",
            "compare": "the same command goes on, with the same --out",
        }
        remedy = remedies.get(argv[0], "nothing was written")
        print(f"pyro-ldm: interrupted; {remedy}", file=sys.stderr)
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
