"""The options of ``pyro-ldm fit``: those of each choice come from its constructor's signature."""

import importlib
import inspect
import re
from pathlib import Path
from typing import Any

from torch import nn

from pyro_ldm import entropy
from pyro_ldm.baselines import Likelihood
from pyro_ldm.cli.choices import spell_out

# What the data and the other choices say.
SHAPE = {"latent_dim", "in_features", "out_features", "in_shape", "out_shape", "num_steps"}


def make_parser():
    """The parser."""
    from jsonargparse import ActionConfigFile, ArgumentParser
    from jsonargparse.typing import PositiveFloat, PositiveInt, restricted_number_type

    rows = restricted_number_type("Rows", int, (">=", 2))
    share = restricted_number_type("Share", float, [(">=", 0), ("<", 1)])
    seed = restricted_number_type("Seed", int, [(">=", 0), ("<", 2**32)])
    text = "Fit a prior and an encoder to data. DATA is a built-in name, or a file: npy, npz, csv, parquet, images."
    parser: Any = ArgumentParser(prog="pyro-ldm fit DATA", description=text, exit_on_error=False, allow_abbrev=False)
    parser.add_argument("--config", action=ActionConfigFile, help="A run's config.yaml, or one of your own.")
    parser.add_argument("--data", type=str | None, help="DATA, in a config.")
    parser.add_argument("--key", type=str | None, help="Array of an npz file.")
    parser.add_argument(
        "--latent_dim",
        type=PositiveInt | None,
        help="Latent dims D: 8 by default, or as many as the data or the prior has.",
    )
    for name, base, default in (
        ("prior", nn.Module, "Gaussian"),
        ("entropy", entropy.Entropy, "KNN, of series LogDet, with a decoder Conditional"),
        ("encoder", nn.Module, "ConvNet of images, Linear for Jacobian, else MLP; of series, on every step"),
        ("decoder", nn.Module, "none; with one the likelihood is kept, and the fit is a VAE"),
        ("likelihood", Likelihood, "Gaussian, of a learned scale, where there is a decoder"),
    ):
        parser.add_subclass_arguments(
            base, name, skip=SHAPE, required=False, help=f"See pyro-ldm list, for each {name} (default: {default})."
        )
    parser.set_defaults({"prior": {"class_path": "pyro_ldm.priors.Gaussian"}})
    parser.add_argument(
        "--arrangement",
        type=str | None,
        help="Of two views or of steps: Joint, Separate or Pooled (default: Joint of views; of steps Pooled for LogDet "
        "or padded series, else Separate).",
    )
    parser.add_argument("--augment", type=list[str], default=[], help="Of two views: [Affine,Noise], say.")
    parser.add_argument("--beta", type=PositiveFloat | None, help="Weight of the KL of a beta-VAE.")
    parser.add_argument("--particles", type=PositiveInt | None, help="Train by the IWAE bound of so many particles.")
    parser.add_argument(
        "--pseudo_inputs",
        type=PositiveInt | None,
        help="Of a VAE: a VampPrior of so many pseudo-inputs in place of the prior.",
    )
    parser.add_argument(
        "--held_out",
        type=share,
        default=0.0,
        help="Share of the data to keep from the fit, for pyro-ldm compare: the same rows whatever the seed.",
    )
    parser.add_argument("--epochs", type=PositiveInt, default=20, help="Passes over the data.")
    parser.add_argument(
        "--batch_size", type=rows | None, help="Rows of a batch (default: 256; of series 32, and 64 unless Pooled)."
    )
    parser.add_argument("--lr", type=PositiveFloat, default=1e-3, help="Adam's learning rate.")
    parser.add_argument("--gradient_clip", type=PositiveFloat | None, help="Largest norm of the gradient.")
    parser.add_argument("--patience", type=PositiveInt | None, help="Stop after so many epochs without a lower loss.")
    parser.add_argument(
        "--starts", type=PositiveInt, default=1, help="Random starts, of which the lowest loss goes on."
    )
    parser.add_argument("--seed", type=seed, default=0, help="Of everything random.")
    parser.add_argument("--accelerator", type=str, default="auto", help="auto, cpu, gpu, ...")
    parser.add_argument("--precision", type=str, default="32-true", help="bf16-mixed runs the encoder under autocast.")
    parser.add_argument("--progress", type=bool, default=True, help="Show a progress bar.")
    parser.add_argument("--out", type=str | None, help="The run folder to write.")
    parser.add_argument("--resume", type=str | None, help="Go on with this run folder's interrupted run.")
    return parser


def parse(argv: list[str]) -> tuple[Any, Any]:
    """The parser, and the options that it makes of the arguments after ``fit``."""
    parser = make_parser()
    return parser, parser.parse_args(spell_out(argv, _read))


def _read(path: Path) -> Any:
    import yaml

    if not path.is_file():
        raise ValueError(f"there is no config file {path}")
    try:
        return yaml.safe_load(path.read_text())
    except (yaml.YAMLError, UnicodeDecodeError) as error:
        raise ValueError(f"{path} is no YAML: {error}") from error


def in_one_sentence(error: Exception) -> str:
    """An error as one line: without the table that Pyro appends, and the types that a parser has tried."""
    message = " ".join(str(error).split("Trace Shapes:")[0].split())
    message = re.sub(r"^Error while computing \w+ at site '(\w+)': ", r"at site '\1', ", message)
    keys = re.findall(r'Parser key "([\w.]+)":', message)
    if not keys:
        return message
    option, details = "--" + ".".join(keys), message.rpartition(f'"{keys[-1]}":')[2].strip()
    path = (re.findall(r"Problem with given class_path '([\w.]+)':", message) or [""])[-1]
    if unknown := re.search(r"Option '(\w+)' is not accepted", details):
        return f"{option} {_options_of(path, unknown[1])}"
    if problem := re.search(r"Problem with given class_path '[\w.]+': (.+?)(?: - |$)", details):
        return f"{option} {path}: {problem[1]}"
    value = re.search(r"(?:Got|Given) value: (\S+)|: (\S+) does not|(?:float|base 10): (\S+)$", details)
    got = next(filter(None, value.groups())).strip("'") if value else ""
    for kind, takes in TAKES.items():
        if re.search(rf"(Expected an?|Not of type) .*\b{kind}\b", details):
            return f"{option} takes {takes}" + (f", got {got}" if got else "")
    return f"{option} does not take {got}: see pyro-ldm list" if got else f"{option} {details}"


# What the types of options are called, the narrowest first.
TAKES = {
    "PositiveInt": "a whole number of at least 1",
    "PositiveFloat": "a number above 0",
    "Rows": "a whole number of at least 2",
    "Share": "a share, from 0 to below 1",
    "Seed": "a whole number from 0 to 2^32 - 1",
    "Sequence": "a list such as [A,B]",
    "list": "a list such as [A,B]",
    "bool": "true or false",
    "int": "a whole number",
    "float": "a number",
}


def _options_of(path: str, unknown: str) -> str:
    module, _, name = path.rpartition(".")
    signature = inspect.signature(getattr(importlib.import_module(module), name))
    has = [
        n for n, p in signature.parameters.items() if n not in SHAPE and p.kind not in (p.VAR_POSITIONAL, p.VAR_KEYWORD)
    ]
    return f"{name}: there is no option {unknown!r}; it has {', '.join(has) or 'none'}"
