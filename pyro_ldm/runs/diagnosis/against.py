"""What a run is held against: true latents from a file, or the latents of another run."""

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_ldm.runs.write import BROKEN, load_latents, load_summary


class Against(NamedTuple):
    """What :func:`read_against` found.

    Attributes:
        name: What to call it.
        truth: True latents, (N, K) or (N, T, K), if it was a file of such.
        latents: Latents of another run, (N, D) or (N, T, D), if it was one.
    """

    name: str
    truth: Tensor | None = None
    latents: Tensor | None = None


def refuse_itself(path: str | os.PathLike[str], run: Path) -> None:
    """A run agrees with itself, which says nothing.

    Args:
        path: What the run is to be held against.
        run: The run's folder.

    Raises:
        ValueError: If they are the same folder.
    """
    if Path(path).resolve() == run.resolve():
        raise ValueError(
            f"{path} is the run itself, which agrees with itself whatever it is: hold it against another run of the "
            "same data, such as one of another seed, or an npz file with true latents"
        )


def read_against(path: str | os.PathLike[str], z: Tensor, there: Tensor, *, data: Mapping[str, Any]) -> Against:
    """An npz file's array ``truth``, or another run's latents, a row for each of these.

    Args:
        path: Of the file, or the run's folder.
        z: The latents of the run itself, (N, D) or (N, T, D).
        there: Which of them are no padding, (N,) or (N, T).
        data: Fingerprint of the run's data, which another run is to have been fitted on.

    Raises:
        ValueError: If there is no such file or run, it has no such array, or another number of rows or steps, or values
            that are not finite, or it is a run of other data.
    """
    path = Path(path)
    if path.is_dir():
        other = load_latents(path).get("z")
        if other is None:
            raise ValueError(f"{path} has no latents z: pass the folder of a finished run")
        _check(other, z, f"the latents of {path}", "pass a run of the same data")
        if _sha256(path) not in (None, data["sha256"]):
            raise ValueError(f"{path} is a run of other data, so that its rows are others: pass a run of the same data")
        return Against(path.name or str(path), latents=other)
    if not path.is_file():
        raise ValueError(f"there is no file {path}: pass an npz file with an array truth, or the folder of another run")
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            names = list(getattr(arrays, "files", []))
            truth = arrays["truth"] if "truth" in names else None
    except BROKEN as error:
        raise ValueError(
            f"{path} cannot be read: save true latents by numpy.savez({path.with_suffix('.npz').name!r}, truth=...)"
        ) from error
    if truth is None:
        raise ValueError(f"{path} has no array 'truth', it has {names}: name the true latents so")
    if truth.dtype.kind not in "biuf":
        raise ValueError(f"truth in {path} is of type {truth.dtype}: save it as numbers")
    values = torch.as_tensor(truth, dtype=torch.float64)
    _check(values, z, f"truth in {path}", "save a row for each of the data, in their order")
    if not torch.isfinite(values[there]).all():
        raise ValueError(f"truth in {path} has NaN or infinite values: leave such data out of the run, or fill them in")
    return Against(path.name, truth=values)


def _sha256(run: Path) -> str | None:
    """Of the data that a run was fitted on, where it says so; one from Python may have no summary."""
    if not (run / "summary.json").is_file():
        return None
    return (load_summary(run).get("data") or {}).get("sha256")


def _check(values: Tensor, z: Tensor, what: str, remedy: str) -> None:
    wanted = ", ".join([*map(str, z.shape[:-1]), "K"])
    if values.dim() != z.dim() or values.shape[:-1] != z.shape[:-1]:
        raise ValueError(f"{what} has shape {tuple(values.shape)} where ({wanted}) is wanted: {remedy}")
