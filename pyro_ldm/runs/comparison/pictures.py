"""Pictures of a comparison: measures with their spread, latents side by side, and reconstructions."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from pyro_ldm.runs.comparison.measures import Measure
from pyro_ldm.runs.pictures import BLUE, GREEN, GREY, ORANGE, PALE, _axes

COLOURS = (BLUE, ORANGE, GREEN, "#8d5bb3", "#b3545f", "#4a9aa3", GREY)
NUM_POINTS = 2000
NUM_IMAGES = 10
COLUMNS = 2  # legible on a phone
WIDTH = 24  # letters of a model's name in a line
ARROWS = {"more": "↑", "less": "↓"}


def dots(measures: Sequence[Measure], values: Mapping[str, Mapping[str, Sequence[float]]]) -> Any:
    """A panel for each measure: the mean of each model, its spread over seeds, and a small dot for each seed.

    Args:
        measures: Which.
        values: Of each measure's name, of each model, a number per seed.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.ticker import MaxNLocator

    every = list(dict.fromkeys(model for of_models in values.values() for model in of_models))
    lines = -(-len(measures) // COLUMNS)
    figure, _ = _axes(0, size=(8.0, lines * (0.9 + 0.24 * len(every))))
    panels = list(figure.subplots(lines, COLUMNS, squeeze=False).flat)
    for axes in panels[len(measures) :]:
        axes.axis("off")
    for axes, measure in zip(panels, measures, strict=False):
        axes.spines[["top", "right"]].set_visible(False)
        for place, model in enumerate(every):
            seeds = np.asarray(values[measure.name].get(model, []), dtype=float)
            seeds = seeds[np.isfinite(seeds)]
            if not len(seeds):
                where = {"transform": axes.get_yaxis_transform(), "va": "center", "fontsize": 8, "color": GREY}
                axes.text(0.02, place, "not defined", **where)
                continue
            colour = COLOURS[place % len(COLOURS)]
            error = seeds.std(ddof=1) if len(seeds) > 1 else None
            axes.errorbar(seeds.mean(), place, xerr=error, fmt="o", ms=7, color=colour, lw=2, capsize=4)
            axes.plot(seeds, np.full(len(seeds), place), "o", color="black", ms=2)
        axes.set_yticks(range(len(every)), [textwrap.fill(model, WIDTH) for model in every], fontsize=8)
        axes.set_ylim(len(every) - 0.5, -0.5)
        axes.margins(x=0.15)
        axes.grid(axis="y", color=PALE, lw=0.5)
        axes.xaxis.set_major_locator(MaxNLocator(5))
        axes.tick_params(axis="x", labelsize=8)
        axes.set_title(f"{measure.title} {ARROWS.get(measure.better, '')}", fontsize=9, loc="left")
    return figure


def side_by_side(latents: Mapping[str, Tensor], labels: Tensor | None) -> Any:
    """Latents of each model along their first two principal axes, coloured by label; each (N, D), rows alike.

    Returns:
        A matplotlib figure.
    """
    number = len(latents)
    columns = min(3, number)
    lines = -(-number // columns)
    figure, _ = _axes(0, size=(3.7 * columns, 3.6 * lines))
    panels = list(figure.subplots(lines, columns, squeeze=False).flat)
    for axes in panels[number:]:
        axes.axis("off")
    for axes, (model, z) in zip(panels, latents.items(), strict=False):
        chosen = torch.randperm(len(z), generator=torch.Generator().manual_seed(0))[:NUM_POINTS]
        rows = z.double() - z.double().mean(0)
        plane = (rows @ torch.linalg.svd(rows, full_matrices=False)[2][:2].T)[chosen].numpy()
        axes.spines[["top", "right"]].set_visible(False)
        axes.set_title(textwrap.fill(model, 2 * WIDTH), fontsize=10)
        if plane.shape[1] == 1:
            axes.hist(plane[:, 0], bins=40, color=BLUE)
            continue
        colour: dict[str, Any] = {"color": BLUE}
        if labels is not None:
            few = len(torch.unique(labels)) <= 20
            colour = {"c": labels[chosen].numpy(), "cmap": "tab10" if few else "viridis"}
        axes.scatter(*plane.T, s=6, linewidths=0, alpha=0.8, **colour)
        axes.set_aspect("equal", adjustable="datalim")
    return figure


def reconstructions(x: Tensor, shown: Mapping[str, Tensor]) -> Any:
    """Images (N, C, H, W), C of 1 or 3, and what each model makes of them, a line each.

    Returns:
        A matplotlib figure.
    """
    lines = {"data": x} | dict(shown)
    number = min(NUM_IMAGES, len(x))
    figure, _ = _axes(0, size=(0.95 * number + 1.6, 0.95 * len(lines) + 0.2))
    panels = figure.subplots(len(lines), number, squeeze=False)
    low, high = float(x.min()), float(x.max())
    for line, (name, images) in zip(panels, lines.items(), strict=True):
        for axes, image in zip(line, images, strict=False):
            scaled = ((image - low) / max(high - low, 1e-12)).clamp(0, 1)
            axes.imshow(scaled.movedim(0, -1).squeeze(-1).numpy(), cmap="gray", vmin=0, vmax=1)
            axes.set_xticks([])
            axes.set_yticks([])
            for spine in axes.spines.values():
                spine.set_visible(False)
        line[0].set_ylabel(textwrap.fill(name, WIDTH), rotation=0, ha="right", va="center", fontsize=9)
    return figure
