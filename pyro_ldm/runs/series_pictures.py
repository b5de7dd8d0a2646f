"""The picture of a filter: one series as it is seen, filtered, bridged where steps are missing, and foretold."""

from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_ldm.diagnostics import AffineMap, affine_r2
from pyro_ldm.runs.pictures import BLUE, GREY, ORANGE
from pyro_ldm.runs.series import Band, StateSpace

NUM_STEPS = 60  # shown, at the end of the series: more would hide one another
NUM_FRAMES = 12
NUM_DIMS = 2
NUM_FITTED = 200  # series that the map of the truth is fitted on
WIDTH = 1.96  # standard deviations on either side, of a 95 % band
RECOVERED = 0.75  # R2 from which on the truth is drawn into the latent space


def filtering(space: StateSpace, data: Any, z: Tensor, *, series: int = 0) -> Any:
    """One series: its frames, and in the space of z the filter, a gap bridged by the smoother, and a forecast.

    Of more latent dims than two, the two principal axes of z are shown. Where the data have true latents that the
    latents recover, they are drawn too, brought to z by an affine map.

    Args:
        space: The prior's state space.
        data: The :class:`pyro_ldm.datasets.Data` of the run.
        z: The encoder's outputs for them, (N, T, D), T of 5 at least.
        series: Which of the N.

    Returns:
        A matplotlib figure.
    """
    there = torch.ones(z.shape[:2], dtype=torch.bool) if data.mask is None else data.mask
    one = slice(series, series + 1)
    last = int(there[series].nonzero()[-1]) + 1
    first = max(0, last - NUM_STEPS)
    fifth = max(1, (last - first) // 5)
    middle = (first + last - fifth) // 2
    gap, future = slice(middle, middle + fifth), slice(last - fifth, last)
    axes_of_z, names = _axes_of(z[there])
    truth = _truth_in_z(data, z, series)
    frames = data.x[series, first:last] if data.x.dim() == 5 and data.x.shape[2] in (1, 3) else None
    figure, strip, panels = _layout(len(names), frames is not None)
    if frames is not None:
        _draw_frames(strip, frames, first)
    columns = (
        ("filter: what is known at each step", None, False),
        (f"smoother: step{f's {gap.start} to' if fifth > 1 else ''} {gap.stop - 1} left out", gap, True),
        (f"forecast: from step {future.start} on", future, False),
    )
    for column, (title, missing, smooth) in enumerate(columns):
        known = there[one].clone()
        known[:, missing or slice(0)] = False
        band = space.band(data.x[one], z[one], known, smooth=smooth)
        for row, axis in enumerate(axes_of_z.T):
            axes = panels[row][column]
            _draw_band(axes, band, axis, slice(first, last), future if missing is future else None)
            _draw_encoded(axes, z[series] @ axis, known[0], there[series], first, missing)
            if truth is not None:
                path = truth[first:last] @ axis.numpy()
                axes.plot(np.arange(first, last), path, color="black", lw=1, ls="--", label="truth, mapped to z")
            axes.set_title(title if row == 0 else "")
            axes.set_ylabel(names[row] if column == 0 else "")
            axes.set_xlabel("step" if row == len(names) - 1 else "")
            axes.xaxis.get_major_locator().set_params(integer=True)
    handles: dict[str, Any] = {}
    for axes in panels[0]:
        handles |= {label: handle for handle, label in zip(*axes.get_legend_handles_labels(), strict=True)}
    figure.legend(handles.values(), handles.keys(), loc="outside lower center", ncols=len(handles), frameon=False)
    return figure


def _draw_encoded(axes: Any, z: Tensor, known: Tensor, there: Tensor, first: int, missing: slice | None) -> None:
    """The encoder's outputs along one axis: those that the band knows of, and those left out."""
    shown = torch.arange(len(z)) >= first
    if missing is not None:
        axes.axvspan(missing.start - 0.5, missing.stop - 0.5, color=GREY, alpha=0.15, linewidth=0)
    for steps, label, marker in (
        (shown & there & ~known, "left out", {"ms": 3.5, "mfc": "none"}),
        (shown & known, "encoder, one step", {"ms": 2.5}),
    ):
        if steps.any():
            axes.plot(steps.nonzero()[:, 0], z[steps], "o", color=ORANGE, label=label, **marker)


def _draw_band(axes: Any, band: Band, axis: Tensor, shown: slice, future: slice | None) -> None:
    """The state's mean and its 95 %, and over the future those of z, which the encoder's outputs are to lie in."""
    _fill(axes, band.loc[0], band.state[0], axis, shown, alpha=0.35, label="95 % of the state")
    if future is not None:
        _fill(axes, band.loc[0], band.observed[0], axis, future, alpha=0.15, label="95 % of z")
    axes.plot(np.arange(shown.start, shown.stop), band.loc[0, shown] @ axis, color=BLUE, lw=1.5, label="mean")


def _fill(axes: Any, loc: Tensor, covariance: Tensor, axis: Tensor, shown: slice, *, alpha: float, label: str) -> None:
    mean, half = loc[shown] @ axis, WIDTH * (axis @ covariance[shown] @ axis).clamp_min(0).sqrt()
    steps = np.arange(shown.start, shown.stop)
    if len(steps) == 1:  # no area yet
        steps, mean, half = steps + np.array([-0.5, 0.5]), mean.expand(2), half.expand(2)
    axes.fill_between(steps, mean - half, mean + half, color=BLUE, alpha=alpha, linewidth=0, label=label)


def _draw_frames(every: list, frames: Tensor, first: int) -> None:
    low, high = np.percentile(frames.numpy(), (1, 99.5))  # noise has a few pixels that would take all contrast
    for axes, index in zip(every, np.linspace(0, len(frames) - 1, len(every)).round().astype(int), strict=True):
        image = ((frames[index] - low) / max(high - low, 1e-12)).clamp(0, 1).movedim(0, -1).squeeze(-1).numpy()
        axes.imshow(image, cmap="gray", vmin=0, vmax=1)
        axes.set_title(f"step {first + index}", fontsize=9)
        axes.axis("off")


def _axes_of(rows: Tensor) -> tuple[Tensor, list[str]]:
    """Directions of z to show, (D, 1 or 2), and what they are called."""
    dim = rows.shape[-1]
    if dim <= NUM_DIMS:
        return torch.eye(dim), [f"latent {i + 1}" for i in range(dim)]
    _, axes = torch.linalg.eigh((rows - rows.mean(0)).T.double().cov())
    return axes.flip(-1)[:, :NUM_DIMS].float(), [f"principal axis {i + 1} of z" for i in range(NUM_DIMS)]


def _truth_in_z(data: Any, z: Tensor, series: int) -> np.ndarray | None:
    """The true latents of a series by the affine map to z, where z is nearly that."""
    if data.truth is None or data.truth.dim() != 3 or len(z) < 4:
        return None
    mask = None if data.mask is None else data.mask[:NUM_FITTED]
    pair = (z[:NUM_FITTED], data.truth[:NUM_FITTED])
    try:
        if affine_r2(*pair, mask=mask) < RECOVERED:
            return None
        return AffineMap.fit(pair[1], pair[0], mask=mask).loc(data.truth[series])
    except ValueError:  # constant, or too few
        return None


def _layout(num_rows: int, strip: bool) -> tuple[Any, list, list[list]]:
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure: Any = Figure(figsize=(15.0, 2.6 * num_rows + (1.7 if strip else 0.0) + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    frames: list = []
    below = figure
    if strip:
        above, below = figure.subfigures(2, 1, height_ratios=[1.7, 2.6 * num_rows + 0.6])
        frames = list(above.subplots(1, NUM_FRAMES))
    panels = below.subplots(num_rows, 3, sharex="col", sharey="row", squeeze=False)
    for axes in panels.flat:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, frames, [list(row) for row in panels]
