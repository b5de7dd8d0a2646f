"""The command line: ``pyro-ldm fit DATA --prior ... --entropy ... --encoder ... --out RUN`` and ``pyro-ldm list``."""

import difflib
import importlib
import importlib.util
import inspect
import sys
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch
from torch import nn

from pyro_ldm import datasets, encoders, entropy, guides, priors
from pyro_ldm.encoders import PCA, TwoViews
from pyro_ldm.runs import run_folder, write_run
from pyro_ldm.runs.folder import CHECKPOINT, interrupted, verdict_on
from pyro_ldm.training import fit


class Program(nn.Module):
    """A program of the user's own, given as ``file.py:name`` or ``package.module:name``.

    Args:
        path: Where it is. The name is a function of the batch, a module, or a class without arguments.
    """

    def __init__(self, path: str):
        super().__init__()
        self.program = load_program(path)

    def forward(self, *batch):
        """Run it."""
        return self.program(*batch)


def load_program(path: str) -> Any:
    """The object that ``file.py:name`` or ``package.module:name`` names.

    Raises:
        ValueError: If there is no such file, module or name, with what there is.
    """
    place, _, name = path.rpartition(":")
    if not place or not name.isidentifier():
        raise ValueError(f"{path!r} names no program: write file.py:name or package.module:name")
    if place.endswith(".py"):
        if not Path(place).is_file():
            raise ValueError(f"there is no file {place} to take {name!r} from")
        spec = importlib.util.spec_from_file_location(Path(place).stem, place)
        module = importlib.util.module_from_spec(spec)  # type: ignore[arg-type]
        try:
            spec.loader.exec_module(module)  # type: ignore[union-attr]
        except Exception as error:
            raise ValueError(f"{place} does not run: {type(error).__name__}: {error}") from error
    else:
        try:
            module = importlib.import_module(place)
        except ImportError as error:
            raise ValueError(f"there is no module {place}: {error}") from error
    if not callable(getattr(module, name, None)):
        known = [n for n, v in vars(module).items() if callable(v) and not n.startswith("_")]
        raise ValueError(f"{place} has no program {name!r}; it has {known}")
    program: Any = getattr(module, name)
    return program() if inspect.isclass(program) else program


def _classes(package, base: type, *, hide: tuple[str, ...] = ()) -> dict[str, type]:
    names = [n for n in package.__all__ if n not in hide]
    found = {n: getattr(package, n) for n in names if inspect.isclass(getattr(package, n))}
    return {n: c for n, c in found.items() if issubclass(c, base) and not inspect.isabstract(c)}


ARRANGEMENTS = _classes(entropy, entropy.Arrangement, hide=("Arrangement",))
ENTROPIES = _classes(entropy, entropy.Entropy, hide=("Arrangement", *ARRANGEMENTS))
PRIORS = _classes(priors, priors.Prior, hide=("Prior", "Sources"))
ENCODERS = {n: getattr(encoders, n) for n in ("MLP", "ConvNet", "Linear")}
AUGMENTATIONS = {n: getattr(encoders, n) for n in ("Affine", "ColorJitter", "Cutout", "Flip", "Mask", "Noise")}
CHOICES = {"prior": PRIORS, "entropy": ENTROPIES, "encoder": ENCODERS, "arrangement": ARRANGEMENTS}


def make_parser():
    """The parser: options of each choice come from its constructor's signature."""
    from jsonargparse import ActionConfigFile, ArgumentParser

    parser = ArgumentParser(
        prog="pyro-ldm fit DATA", description="Fit a prior and an encoder to data.", exit_on_error=False
    )
    parser.add_argument("--config", action=ActionConfigFile, help="A run's config.yaml, or one of your own.")
    parser.add_argument(
        "--data", type=str | None, help="DATA: a built-in name, or a file: npy, npz, csv, parquet, images."
    )
    parser.add_argument("--key", type=str | None, help="Array of an npz file.")
    parser.add_argument("--latent_dim", type=int, default=8, help="Latent dims D; a prior of your own has its own.")
    shape = {"latent_dim", "in_features", "out_features", "in_shape"}
    defaults = {"prior": "pyro_ldm.priors.Gaussian", "entropy": "pyro_ldm.entropy.KNN", "encoder": None}
    for name, base in (("prior", nn.Module), ("entropy", entropy.Entropy), ("encoder", nn.Module)):
        parser.add_subclass_arguments(
            base, name, skip=shape, required=False, help=f"See pyro-ldm list, for each {name}."
        )
        if defaults[name]:
            parser.set_defaults({name: {"class_path": defaults[name]}})
    parser.add_argument("--arrangement", type=str, default="Joint", help="Of two views: Joint, Separate or Pooled.")
    parser.add_argument(
        "--augment", type=list[str], default=[], help="Augmentations of two views, such as [Affine,Noise]."
    )
    parser.add_argument("--epochs", type=int, default=20)
    parser.add_argument("--batch_size", type=int, default=256)
    parser.add_argument("--lr", type=float, default=1e-3)
    parser.add_argument("--gradient_clip", type=float | None, default=None)
    parser.add_argument(
        "--patience", type=int | None, default=None, help="Stop after so many epochs without a lower loss."
    )
    parser.add_argument("--starts", type=int, default=1, help="Random starts, of which the lowest loss goes on.")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--accelerator", type=str, default="auto")
    parser.add_argument("--progress", type=bool, default=True)
    parser.add_argument("--out", type=str | None, help="The run folder to write.")
    parser.add_argument("--resume", type=str | None, help="Go on with this run folder's interrupted run.")
    return parser


def _spell_out(argv: list[str]) -> list[str]:
    """Short names to import paths, ``file.py:name`` to :class:`Program`; an unknown name ends here, in one sentence."""
    # DATA stands first, without a name of its own: a positional argument would override a config's.
    spelled: list[str] = ["--data"] if argv and not argv[0].startswith("-") else []
    arguments = iter(argv)
    for argument in arguments:
        option, _, value = argument.partition("=")
        name = option.removeprefix("--")
        if name not in CHOICES or not option.startswith("--"):
            spelled.append(argument)
            continue
        value = value or next(arguments, "")
        if name == "arrangement":
            spelled += [option, _known(value, name)]
        elif ":" in value:
            spelled += [option, "pyro_ldm.cli.Program", f"{option}.path", value]
        else:
            package = {"prior": "priors", "entropy": "entropy", "encoder": "encoders"}[name]
            spelled += [option, value if "." in value else f"pyro_ldm.{package}.{_known(value, name)}"]
    return spelled


def _known(value: str, kind: str, table: dict | None = None) -> str:
    table = CHOICES[kind] if table is None else table
    if value in table:
        return value
    near = difflib.get_close_matches(value.lower(), [n.lower() for n in table], n=1)
    hint = next((f"; did you mean {n}?" for n in table if near and n.lower() == near[0]), "")
    own = ", or file.py:name of your own" if kind in ("prior", "encoder") else ""
    raise ValueError(f"unknown {kind} {value!r}{hint} Known: {', '.join(sorted(table))}{own}")


def run_fit(argv: list[str]) -> int:
    """``pyro-ldm fit``."""
    parser = make_parser()
    config = parser.parse_args(_spell_out(argv))
    resume = config.resume is not None
    if resume:
        place, file = config.resume, interrupted(config.resume) / "config.yaml"
        if not file.is_file():
            raise ValueError(f"no interrupted run of {place} is there to resume")
        config = parser.parse_args(["--config", str(file), "--out", place])
    if not config.data:
        raise ValueError("DATA is missing: name a built-in data set (pyro-ldm list) or a file")
    out = Path(config.out or Path("runs") / f"{Path(config.data).stem}-{time.strftime('%Y%m%d-%H%M%S')}")
    # Everything that a bad option or file can break comes before the folder.
    data = datasets.load(config.data, key=config.key)
    torch.manual_seed(config.seed)
    prior, guide, views = build(config, data)
    with run_folder(out, resume=resume) as folder:
        if not resume:
            config.config, config.out = None, None
            parser.save(config, folder / "config.yaml")
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
            progress=config.progress,
            checkpoint=folder / CHECKPOINT,
        )
        settings = {"data": config.data, "seed": config.seed, "seconds": round(time.perf_counter() - started, 1)}
        summary = write_run(folder, result, data, settings=settings)
    terms = result.terms
    print(f"{terms.divergence:14} {terms.kl:10.3f}   nats per datum\nalignment      {terms.alignment:10.3f}")
    print(f"uniformity     {terms.uniformity:10.3f}\n{verdict_on(result)}\n{summary['collapse']}\n{out}")
    return 0


def build(config, data: datasets.Data) -> tuple[Callable, nn.Module, Callable | None]:
    """Prior, guide and views from the options: sites and latent dims are read off the prior by running it once."""
    from pyro.infer.autoguide import AutoNormal
    from pyro.poutine import block

    latent_dim = config.latent_dim
    prior = _instance(config.prior, latent_dim=latent_dim)
    if isinstance(prior, Program):
        prior = prior.program
    estimator = _instance(config.entropy)
    sites, global_sites, latent_dim = _sites(prior, estimator, latent_dim)
    invertible, gaussian = isinstance(estimator, entropy.Jacobian), isinstance(estimator, entropy.Mixture)
    width = data.x[0].numel()
    if invertible:
        if len(sites) > 1:
            raise ValueError("Jacobian scores one site: use LogDet, KDE or KNN for a prior of two views")
        reduce = PCA(width, latent_dim).fit(data.x)
        encoder = _encoder(config.encoder or "Linear", (latent_dim,), latent_dim, latent_dim)
        guide: nn.Module = guides.Invertible(encoder, estimator, site=sites[0], reduce=reduce)
    else:
        default = "ConvNet" if len(data.shape) == 3 else "MLP"
        outputs = 2 * latent_dim if gaussian else latent_dim
        encoder = _encoder(config.encoder or default, tuple(data.shape), width, outputs)
        if len(sites) > 1:
            arrangement = ARRANGEMENTS[_known(config.arrangement, "arrangement")]
            guide = guides.Views(encoder, arrangement(estimator), sites=tuple(sites))
        else:
            guide = (guides.Gaussian if gaussian else guides.Deterministic)(encoder, estimator, site=sites[0])
    if global_sites:
        guide = guides.Compose(AutoNormal(block(prior, hide=list(sites))), guide)
    return prior, guide, _views(config.augment, data) if len(sites) > 1 else None


def _views(names: list[str], data: datasets.Data) -> Callable:
    names = names or (["Affine", "Noise"] if len(data.shape) == 3 else ["Noise"])
    return TwoViews(nn.Sequential(*(AUGMENTATIONS[_known(n, "augmentation", AUGMENTATIONS)]() for n in names)))


def _instance(choice, **shape) -> Any:
    """An object from its class path and options; shapes are passed where the constructor takes them."""
    choice = choice.as_dict() if hasattr(choice, "as_dict") else choice
    module, _, name = choice["class_path"].rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    takes = inspect.signature(cls).parameters
    options = {k: _instance(v) if _is_choice(v) else v for k, v in (choice.get("init_args") or {}).items()}
    return cls(**{k: v for k, v in shape.items() if k in takes}, **options)


def _is_choice(value: Any) -> bool:
    return isinstance(value, dict) and "class_path" in value


def _encoder(choice, in_shape: tuple[int, ...], width: int, outputs: int) -> nn.Module:
    if isinstance(choice, str):
        choice = {"class_path": f"pyro_ldm.encoders.{choice}"}
    return _instance(choice, in_shape=in_shape, in_features=width, out_features=outputs)


def _sites(prior: Callable, estimator, latent_dim: int) -> tuple[list[str], list[str], int]:
    """Names of the prior's sites within and outside the plate, and the latent dims of the former."""
    from pyro import poutine
    from pyro.poutine.util import site_is_subsample

    handled = poutine.trace(prior)
    try:
        handled(range(4))
    except NotImplementedError:
        # A flat prior cannot be sampled: what it has announced so far, and its class, say enough.
        return ["z", "z_prime"], [], latent_dim
    except Exception as error:
        raise ValueError(f"the prior does not run on a batch of four rows: {type(error).__name__}: {error}") from error
    found: dict[str, Any] = {
        n: s for n, s in handled.trace.nodes.items() if s["type"] == "sample" and not site_is_subsample(s)
    }
    local = [n for n, s in found.items() if any(f.name == "batch" for f in s["cond_indep_stack"])]
    outside = [n for n in found if n not in local]
    if not local:
        raise ValueError('the prior samples nothing within pyro.plate("batch", len(x)): put the latent sites there')
    shapes = {tuple(found[n]["fn"].event_shape) for n in local}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError(f"the prior's sites {local} must be vectors of one width, got event shapes {sorted(shapes)}")
    return local, outside, next(iter(shapes))[0]


def run_list() -> int:
    """``pyro-ldm list``."""
    tables: dict[str, dict[str, Any]] = {
        "priors": PRIORS,
        "entropies": ENTROPIES,
        "arrangements of views": ARRANGEMENTS,
        "kernels of KDE": _classes(entropy, entropy.Kernel, hide=("Kernel",)),
        "spaces of KNN": _classes(entropy, entropy.Space, hide=("Space",)),
        "encoders": ENCODERS,
        "augmentations": AUGMENTATIONS,
        "data": datasets.builtin(),
    }
    for title, table in tables.items():
        print(title)
        for name, thing in table.items():
            print(f"  {name:22} {(inspect.getdoc(thing) or '').splitlines()[0]}")
    print("A prior or an encoder may be your own: my_file.py:name. Data may be a file: npy, npz, csv, parquet, images.")
    return 0


def main(argv: list[str] | None = None) -> int:
    """Entry point: one clear sentence and a non-zero exit where something is wrong."""
    argv = sys.argv[1:] if argv is None else list(argv)
    commands = {"fit": lambda: run_fit(argv[1:]), "list": run_list}
    if not argv or argv[0] in ("-h", "--help"):
        print("pyro-ldm fit DATA [options]   fit a prior and an encoder to data (pyro-ldm fit --help)")
        print("pyro-ldm list                 priors, estimators, encoders and built-in data")
        return 0 if argv else 2
    if argv[0] not in commands:
        print(f"pyro-ldm: unknown command {argv[0]!r}; commands: {', '.join(commands)}", file=sys.stderr)
        return 2
    try:
        return commands[argv[0]]()
    except KeyboardInterrupt:
        print("pyro-ldm: interrupted; go on with --resume RUN", file=sys.stderr)
        return 130
    except Exception as error:
        from jsonargparse import ArgumentError

        if isinstance(error, ValueError | TypeError | OSError | NotImplementedError | ArgumentError):
            message = str(error).split("Trace Shapes:")[0]  # Pyro appends a table
            print(f"pyro-ldm: {' '.join(message.split())}", file=sys.stderr)
            return 2
        raise


if __name__ == "__main__":
    sys.exit(main())
