"""What a run folder holds: weights, latents, history, summary and pictures; and how to read them again."""

import csv
import importlib.metadata
import json
import math
import os
import platform
import zipfile
import zlib
from pathlib import Path
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyro_ldm.baselines import Generative, posterior_collapse
from pyro_ldm.diagnostics import collapse
from pyro_ldm.runs.held_out import fingerprint
from pyro_ldm.runs.pictures import curves, filters, filters_of, latent_space
from pyro_ldm.runs.series import StateSpace, scores
from pyro_ldm.runs.series_pictures import NUM_STEPS, filtering
from pyro_ldm.runs.verdict import verdict
from pyro_ldm.training import Fit, latents

NUM_PATHS = 3  # series drawn as paths in the latent space
BROKEN = (OSError, ValueError, EOFError, TypeError, AttributeError, zipfile.BadZipFile, zlib.error)  # of a cut file
MIN_STEPS = 5  # of a picture of the filter: fewer have no middle fifth to leave out


def write_run(
    folder: str | os.PathLike[str],
    fit: Fit,
    data: Any,
    *,
    settings: dict[str, Any],
    held_out: Tensor | None = None,
) -> dict[str, Any]:
    """Write a fit and what it makes of the data.

    * ``weights.safetensors``: prior and guide, for :func:`load_weights`;
    * ``latents.npz``: z (N, D) of each datum, or (N, T, D) of series, without augmentation, with y, truth and mask
      where the data have them; under :class:`~pyro_ldm.priors.Kalman` also the filter's means and standard deviations
      of the state, filter_loc and filter_scale (N, T, S). What is masked is NaN. Where rows were held out, split (N,)
      is True for them;
    * ``history.csv``: a row per epoch;
    * ``summary.json``: terms in nats per datum, the verdicts, settings and versions, a fingerprint of the data, and the
      :func:`scores` of series;
    * ``latents.png``, ``curves.png``, ``filters.png`` where the encoder is linear on images, and ``filter.png``, one
      series as filtered, interpolated and foretold, under :class:`~pyro_ldm.priors.Kalman`.

    Args:
        folder: Where to: what :func:`run_folder` gave.
        fit: The fit.
        data: What to encode, a :class:`pyro_ldm.datasets.Data`.
        settings: What else the summary is to say; JSON's types.
        held_out: Which of the data the fit has not seen, (N,), boolean; none by default.

    Returns:
        The summary.
    """
    from safetensors.torch import save_model

    folder = Path(folder)
    save_model(fit.objective, str(folder / "weights.safetensors"))
    z = latents(fit.objective.guide, data)
    series = z.dim() == 3
    mask = data.mask if series and data.mask is not None else torch.ones(z.shape[:-1], dtype=torch.bool)
    space = StateSpace.of(fit, data) if series else None
    arrays = {"z": _there(z, mask), "y": data.y, "truth": data.truth, "mask": data.mask, "split": held_out}
    if space is not None:
        moments = space.filter(data.x, z, data.mask)
        arrays |= {name: _there(m, mask) for name, m in zip(("filter_loc", "filter_scale"), moments, strict=True)}
    np.savez_compressed(folder / "latents.npz", **{n: a.cpu().numpy() for n, a in arrays.items() if a is not None})
    with (folder / "history.csv").open("w", newline="") as file:
        writer = csv.DictWriter(file, fieldnames=list(fit.history[0]))
        writer.writeheader()
        writer.writerows(fit.history)
    summary = {
        "terms": fit.terms._asdict(),
        "reference": list(fit.reference),
        "verdict": verdict(fit),
        "collapse": str(collapse(z[mask])),
        "data": fingerprint(data),
        "epochs": len(fit.history),
        "starts": [loss if math.isfinite(loss) else None for loss in fit.starts],
        "settings": settings,
        "versions": {"python": platform.python_version()}
        | {name: importlib.metadata.version(name) for name in ("pyro_ldm", "torch", "pyro-ppl")},
    }
    if isinstance(fit.objective.prior, Generative):
        summary["posterior_collapse"] = str(posterior_collapse(_there(z, mask)))
    if series:
        summary["series"] = scores(z, data, space)
    (folder / "summary.json").write_text(json.dumps(summary, indent=2) + "\n")
    labels, paths = data.y, None
    if series:
        labels = None if labels is None else (labels if labels.dim() == 2 else labels[:, None].expand_as(mask))[mask]
        few = slice(NUM_PATHS)
        drawn = z[few] if space is None else space.band(data.x[few], z[few], mask[few]).loc
        drawn = _there(drawn, mask[few])[:, :NUM_STEPS]
        paths = {f"series {i}, {'encoded' if space is None else 'filtered'}": path for i, path in enumerate(drawn)}
    pictures = {"curves": curves(fit), "latents": latent_space(z[mask], labels=labels, paths=paths)}
    if space is not None and mask.sum(1).max() >= MIN_STEPS:
        pictures["filter"] = filtering(space, data, z, series=int(mask.sum(1).argmax()))
    images = filters_of(fit.objective.guide, data.shape[1:] if series else data.shape)
    if images is not None:
        pictures["filters"] = filters(images, title="what each latent dim sees: rows of the linear map")
    for name, figure in pictures.items():
        figure.savefig(folder / f"{name}.png", dpi=120)
    return summary


def _there(values: Tensor, mask: Tensor) -> Tensor:
    """NaN where nothing is: an encoder makes something of padding too."""
    return values if bool(mask.all()) else values.masked_fill(~mask.unsqueeze(-1), torch.nan)


def load_weights(run: str | os.PathLike[str], objective: nn.Module) -> None:
    """Read a run's weights into an objective of the same prior and guide.

    Raises:
        ValueError: If the run has no weights, or they are another objective's.
    """
    from safetensors import SafetensorError
    from safetensors.torch import load_model

    path = Path(run) / "weights.safetensors"
    try:
        load_model(objective, path)
    except FileNotFoundError as error:
        raise ValueError(f"{path} is not there: is {run} a finished run?") from error
    except (RuntimeError, SafetensorError) as error:
        reason = " ".join(str(error).split())
        raise ValueError(f"{path} does not fit: build prior and guide as its config.yaml says ({reason})") from error


def load_latents(run: str | os.PathLike[str]) -> dict[str, Tensor]:
    """A run's latents z, and whatever else :func:`write_run` has put beside them, rows in the order of the data.

    Raises:
        ValueError: If the run has none, or the file is broken.
    """
    path = Path(run) / "latents.npz"
    try:
        with path.open("rb") as file, np.load(file, allow_pickle=False) as arrays:
            return {name: torch.from_numpy(arrays[name]) for name in arrays.files}
    except BROKEN as error:
        raise _unreadable(path, error) from error


def load_summary(run: str | os.PathLike[str]) -> dict[str, Any]:
    """A run's ``summary.json``.

    Raises:
        ValueError: If the run has none, or the file is broken.
    """
    path = Path(run) / "summary.json"
    try:
        summary = json.loads(path.read_text(encoding="utf-8"))
        if not isinstance(summary, dict):
            raise ValueError(f"{path} holds a {type(summary).__name__} where a summary has names")
    except (OSError, ValueError) as error:
        raise _unreadable(path, error) from error
    return summary


def _unreadable(path: Path, error: Exception) -> ValueError:
    """What is wrong with a run's file, and what to do."""
    if isinstance(error, FileNotFoundError | NotADirectoryError):
        return ValueError(f"{path} is not there: is {path.parent} a finished run?")
    reason = (error.strerror if isinstance(error, OSError) else None) or "it is broken or cut short"
    return ValueError(f"{path} cannot be read, {reason}: restore it, or fit the run again")
