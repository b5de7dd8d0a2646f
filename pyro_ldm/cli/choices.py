"""What there is to choose from, and its short names spelled out."""

import difflib
import inspect
from collections.abc import Callable
from pathlib import Path
from typing import Any

from pyro_ldm import baselines, encoders, entropy, priors


def _classes(package, base: type, *, hide: tuple[str, ...] = ()) -> dict[str, type]:
    names = [n for n in package.__all__ if n not in hide]
    found = {n: getattr(package, n) for n in names if inspect.isclass(getattr(package, n))}
    return {n: c for n, c in found.items() if issubclass(c, base) and not _is_abstract(c)}


def _is_abstract(cls: type) -> bool:
    """By its methods: inspect.isabstract asks the metaclass, and a PyroModule's is another."""
    return any(getattr(getattr(cls, name, None), "__isabstractmethod__", False) for name in dir(cls))


# Categories are no vectors to write; a predictor is no option's value.
WITHOUT = ("CategoricalViews", "Autoregressive", "VonMisesFisherAutoregressive")
ARRANGEMENTS = _classes(entropy, entropy.Arrangement, hide=("Arrangement",))
ENTROPIES = _classes(entropy, entropy.Entropy, hide=("Arrangement", *ARRANGEMENTS))
KERNELS = _classes(entropy, entropy.Kernel, hide=("Kernel",))
SPACES = _classes(entropy, entropy.Space, hide=("Space",))
PRIORS = _classes(priors, priors.Prior, hide=("Prior", *WITHOUT)) | {"DeepMarkov": baselines.DeepMarkov}
ENCODERS: dict[str, type] = {n: getattr(encoders, n) for n in ("MLP", "ConvNet", "ResNet18", "Linear")}
AUGMENTATIONS: dict[str, type] = {
    n: getattr(encoders, n) for n in ("Affine", "ColorJitter", "Crop", "Cutout", "Flip", "Mask", "Noise")
}
DECODERS: dict[str, type] = {n: getattr(baselines, n) for n in ("MLPDecoder", "ConvDecoder")}
LIKELIHOODS = _classes(baselines, baselines.Likelihood, hide=("Likelihood",))
CLASSES = {
    "prior": PRIORS,
    "entropy": ENTROPIES,
    "encoder": ENCODERS,
    "decoder": DECODERS,
    "likelihood": LIKELIHOODS,
}
# Those without a default, or with one that depends on the data, with an example.
NAMED = {"entropy": "KNN", "encoder": "MLP", "decoder": "MLPDecoder", "likelihood": "Gaussian"}
PROGRAM = "pyro_ldm.cli.Program"


def known(value: str, kind: str, table: dict[str, Any]) -> Any:
    """The entry of that name, in any case.

    Raises:
        ValueError: If there is none, with the nearest name and all of them.
    """
    found = next((entry for name, entry in table.items() if name.lower() == value.lower()), None)
    if found is not None:
        return found
    near = difflib.get_close_matches(value.lower(), [n.lower() for n in table], n=1)
    hint = next((f": did you mean {n}?" for n in table if near and n.lower() == near[0]), ".")
    own = ", or file.py:name of your own" if kind in ("prior", "encoder", "decoder") else ""
    raise ValueError(f"unknown {kind} {value!r}{hint} Known: {', '.join(sorted(table))}{own}")


def class_of(value: str, kind: str) -> dict[str, Any]:
    """A choice as its class path and options: of a short name, of ``file.py:name``, or of a class path."""
    if ":" in value:
        return {"class_path": PROGRAM, "init_args": {"path": value}}
    if "." in value:
        return {"class_path": value}
    cls = known(value, kind, CLASSES[kind])
    return {"class_path": f"{cls.__module__.rsplit('.', 1)[0]}.{cls.__name__}"}


def spell_out(argv: list[str], read: Callable[[Path], Any]) -> list[str]:
    """Arguments with every short name spelled out, on the command line and in the config files that it names.

    Args:
        argv: The arguments after ``fit``. DATA stands first, without an option of its own: as a positional argument it
            would override a config's.
        read: Reads a config file.

    Raises:
        ValueError: If a name is unknown or missing.
    """
    spelled: list[str] = ["--data"] if argv and not argv[0].startswith("-") else []
    arguments = iter(argv)
    for argument in arguments:
        option, _, value = argument.partition("=")
        name = option.removeprefix("--")
        kind = name.partition(".")[0]
        if kind in NAMED and "." in name and not {f"--{kind}", "--config"} & {a.partition("=")[0] for a in argv}:
            raise ValueError(f"{option} belongs to no {kind} yet: name it first, such as --{kind} {NAMED[kind]}")
        if not option.startswith("--") or name not in (*CLASSES, "config"):
            spelled.append(argument)
            continue
        value = value or next(arguments, "")
        if not value or value.startswith("--"):
            raise ValueError(f"{option} needs a value" + (f": {', '.join(CLASSES[name])}" if name in CLASSES else ""))
        if name == "config":
            spelled += [option, _spell_out_file(Path(value), read)]
        else:
            choice = class_of(value, name)
            spelled += [option, choice["class_path"]]
            spelled += [a for n, v in choice.get("init_args", {}).items() for a in (f"{option}.{n}", v)]
    return spelled


def _spell_out_file(path: Path, read: Callable[[Path], Any]) -> str:
    import yaml

    config = read(path)
    if not isinstance(config, dict):
        raise ValueError(f"{path} is no config: write one option per line, such as epochs: 20")
    for kind in CLASSES:
        value = config.get(kind)
        if isinstance(value, str):
            config[kind] = class_of(value, kind)
        elif isinstance(value, dict) and isinstance(value.get("class_path"), str):
            config[kind] = value | class_of(value["class_path"], kind)
    return yaml.safe_dump(config)
