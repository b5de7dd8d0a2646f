"""A finished run's prior, guide and data again, from its folder."""

import importlib.metadata
import warnings
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import torch
from torch import nn

from pyro_ldm import datasets
from pyro_ldm.cli.build import build
from pyro_ldm.cli.options import in_one_sentence, parse
from pyro_ldm.objective import Objective
from pyro_ldm.runs import interrupted, load_weights
from pyro_ldm.runs.held_out import hold_out
from pyro_ldm.runs.write import load_summary
from pyro_ldm.training.loader import tensors_of


class Rebuilt(NamedTuple):
    """What a run was made of, with the weights that it ended with.

    Attributes:
        prior: The prior.
        guide: The guide.
        data: All data, read again; :func:`pyro_ldm.runs.held_out.hold_out` parts them as the fit did.
        views: What makes two views of a datum, for a prior of two.
        config: The options of its ``config.yaml``.
    """

    prior: Callable
    guide: nn.Module
    data: datasets.Data
    views: Callable | None
    config: Any


def rebuild(run: Path) -> Rebuilt:
    """Prior and guide as the run's ``config.yaml`` says, with its weights, and its data.

    A relative path in it, of data or of a program of one's own, is taken from the folder that one is in, as it was when
    the run was made.

    Raises:
        ValueError: If there is no such run, it is not finished, its data or its programs are not there any more or
            have other shapes, or it is of a version of the package that this one cannot read.
    """
    _check_finished(run)
    with _naming_the_version(run):
        _, config = parse(["--config", str(run / "config.yaml")])
        try:
            data = datasets.load(config.data, key=config.key)
        except (ValueError, OSError) as error:
            raise ValueError(
                f"the data of {run} cannot be read now: {error}; put them back, or go to the folder that the run was "
                "fitted from"
            ) from error
        torch.manual_seed(config.seed)
        train, _, _ = hold_out(data, config.held_out)
        prior, guide, views = build(config, train)
        objective = Objective(prior, guide, size=len(train))
        with torch.random.fork_rng(devices=[]):
            batch = tuple(tensor[: config.batch_size] for tensor in tensors_of(train))
            objective.check(*batch if views is None else views(*batch))  # an AutoGuide has no parameters before
        load_weights(run, objective)
    return Rebuilt(prior, guide.eval(), data, views, config)


def _check_finished(run: Path) -> None:
    if (run / "config.yaml").is_file() and (run / "weights.safetensors").is_file():
        return
    if interrupted(run.resolve()).is_dir():
        raise ValueError(f"the run {run} is not finished: go on with it first, pyro-ldm fit --resume {run}")
    if not run.exists():
        raise ValueError(f"there is no run {run}: name the folder that pyro-ldm fit has written")
    if (run / "summary.json").is_file() and (run / "weights.safetensors").is_file():
        raise ValueError(
            f"{run} has no config.yaml, as a run written from Python has none: call pyro_ldm.runs.diagnose with its "
            "prior, guide and data"
        )
    raise ValueError(f"{run} is no run: name a folder that pyro-ldm fit has written, with config.yaml and weights")


@contextmanager
def _naming_the_version(run: Path) -> Iterator[None]:
    """Say so where a run is of another version, which may be why it cannot be read."""
    from jsonargparse import ArgumentError

    ours = importlib.metadata.version("pyro_ldm")
    try:
        theirs = str(load_summary(run)["versions"]["pyro_ldm"])
    except (ValueError, KeyError, TypeError):
        theirs = "an unknown version"
    if theirs == ours:
        yield
        return
    try:
        yield
    except (ValueError, TypeError, ArgumentError) as error:
        raise ValueError(
            f"{run} is of pyro_ldm {theirs}, and this is {ours}, which cannot read it ({in_one_sentence(error)}): use "
            "that version, or fit it again"
        ) from error
    warnings.warn(f"{run} is of pyro_ldm {theirs}, and this is {ours}: what its options mean may differ", stacklevel=3)
