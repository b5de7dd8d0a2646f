"""``pyro-ldm diagnose``: is the prior of a finished run matched, and if not, what misfits and how?"""

from pathlib import Path
from typing import Any

from pyro_ldm.cli.rebuild import rebuild
from pyro_ldm.posterior.nuts import LEAST
from pyro_ldm.runs.diagnosis.diagnose import Diagnosis, diagnose

USAGE = "pyro-ldm diagnose RUN [--nuts] [--against TRUTH.npz | --against RUN]"
OF_NUTS = (*LEAST, "target_accept")


def run_diagnose(argv: list[str]) -> None:
    """``pyro-ldm diagnose``."""
    options = _parse(argv)
    run = Path(options.run)
    chosen = {name: options[name] for name in OF_NUTS if options[name] is not None}
    if chosen and not options.nuts:
        raise ValueError(f"{', '.join(chosen)} would do nothing without nuts (--nuts): add it, or leave them out")
    prior, guide, data, views, _ = rebuild(run)
    print_diagnosis(
        diagnose(
            run,
            prior,
            guide,
            data,
            views=views,
            nuts=chosen if options.nuts else False,
            other_priors=options.other_priors,
            against=options.against,
            seed=options.seed,
            progress=options.progress,
        )
    )


def print_diagnosis(diagnosis: Diagnosis) -> None:
    """The numbers, the verdicts, and where the rest is."""
    numbers = {name: value for section in diagnosis.sections for name, value in section.numbers.items()}
    width = max(map(len, numbers), default=0)
    print()
    for name, value in numbers.items():
        print(f"{name:{width}}  {value:10.3f}")
    print()
    for section in diagnosis.sections:
        if section.verdict:
            print(f"{section.title}: {section.verdict}")
    for path in diagnosis.files:
        print(path)


def _parse(argv: list[str]) -> Any:
    from jsonargparse import ArgumentParser
    from jsonargparse.typing import PositiveFloat, PositiveInt, restricted_number_type

    if not argv or (argv[0].startswith("-") and argv[0] not in ("-h", "--help")):
        raise ValueError(f"RUN is missing, the folder of a finished run, right after diagnose: {USAGE}")
    seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)])
    parser: Any = ArgumentParser(
        prog="pyro-ldm diagnose",
        description="Check a finished run, and write report.html, posterior.nc, diagnosis.json and pictures into it.",
        exit_on_error=False,
        allow_abbrev=False,  # --nut is a slip
    )
    parser.add_argument("run", type=str, metavar="RUN", help="The folder of a finished run.")
    parser.add_argument("--nuts", action="store_true", help="Sample the posterior of the prior's parameters by NUTS.")
    parser.add_argument(
        "--num_samples", type=PositiveInt | None, help="With --nuts: draws of each chain (default: 1000)."
    )
    parser.add_argument(
        "--warmup_steps", type=PositiveInt | None, help="With --nuts: steps before them, to adapt (default: 1000)."
    )
    parser.add_argument("--num_chains", type=PositiveInt | None, help="With --nuts: chains (default: 4).")
    parser.add_argument(
        "--target_accept",
        type=PositiveFloat | None,
        help="With --nuts: acceptance probability; more is slower and safer, against divergences (default: 0.8).",
    )
    parser.add_argument(
        "--other_priors",
        type=bool,
        default=True,
        help="Compare the prior with the usual ones by leave-one-out, which takes minutes; false leaves that out.",
    )
    parser.add_argument(
        "--against",
        type=str | None,
        help="True latents of the data, an npz file with an array `truth`; or another run, of the same data.",
    )
    parser.add_argument("--seed", type=seed, default=0, help="Of everything random.")
    parser.add_argument("--progress", type=bool, default=True, help="Show progress bars.")
    return parser.parse_args(argv)
