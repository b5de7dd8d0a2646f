"""Pictures of a diagnosis: estimates of KL beside their references, and intervals of parameters."""

from collections.abc import Sequence
from typing import Any

import numpy as np
from torch import Tensor

from pyro_ldm.runs.pictures import BLUE, GREY, ORANGE, PALE, _axes

MAX_INTERVALS = 40  # more would not be legible
LEGIBLE = 0.4  # inches of a square that a number fits into
MAX_TICKS = 16


def estimates(bounds: Any) -> Any:
    """Each estimate of KL(R || P) with two standard errors, over the range that draws from the prior measure.

    Args:
        bounds: The :class:`pyro_ldm.diagnostics.bounds.KLBounds`.

    Returns:
        A matplotlib figure.
    """
    found = bounds.estimates
    figure, (axes,) = _axes(1, size=(8.0, 1.5 + 0.42 * len(found)))
    bands = []
    for place, estimate in enumerate(found):
        if estimate.reference:
            low, high = min(estimate.reference), max(estimate.reference)
            bands += axes.plot([low, high], [place, place], color=PALE, lw=9, solid_capstyle="butt", zorder=1)
            # However narrow it is beside the rest, it is to be seen.
            axes.plot((low + high) / 2, place, "|", color=PALE, ms=8, mew=4, zorder=1)
        colour = ORANGE if estimate.exceeds else BLUE
        axes.errorbar(estimate.kl, place, xerr=2 * estimate.standard_error, fmt="o", color=colour, capsize=3)
    axes.axvline(0.0, color=GREY, lw=0.8)
    _rows(axes, [f"{estimate.name} ({estimate.kind})" for estimate in found])
    axes.set_xlabel("KL(R || P), nats per datum")
    if bands:
        figure.legend(bands[:1], ["draws from the prior"], frameon=False, loc="outside upper right")
    return figure


def intervals(table: Any) -> Any:
    """Means and intervals of parameters, of many the first.

    Args:
        table: As :func:`pyro_ldm.diagnostics.arviz.summary` makes it.

    Returns:
        A matplotlib figure.
    """
    shown = table.head(MAX_INTERVALS)
    low, high = (name for name in table.columns if name.startswith("eti_"))
    places = np.arange(len(shown))
    figure, (axes,) = _axes(1, size=(8.0, 1.2 + 0.26 * len(shown)))
    axes.plot(np.stack([shown[low], shown[high]]), np.stack([places, places]), color=BLUE, lw=2)
    axes.plot(shown["mean"], places, "o", color=BLUE, ms=5)
    _rows(axes, list(shown.index))
    axes.set_xlabel("mean and 90 % interval")
    if len(table) > len(shown):
        axes.set_title(f"the first {len(shown)} of {len(table)} parameters")
    return figure


def correlations(z: Tensor, truth: Tensor) -> Any:
    """Absolute correlations between latents (N, D) and true ones (N, K), a square each.

    Returns:
        A matplotlib figure.
    """
    unit = [rows.double() - rows.double().mean(0) for rows in (truth, z)]
    unit = [rows / rows.norm(dim=0).clamp_min(1e-300) for rows in unit]
    values = (unit[0].T @ unit[1]).abs().numpy()
    (rows, columns), most = values.shape, (7.0, 9.0)
    side = min(0.8, most[0] / rows, most[1] / columns)
    figure, (axes,) = _axes(1, size=(2.4 + side * max(2, columns), 1.2 + side * max(2, rows)))
    image = axes.imshow(values, cmap="Blues", vmin=0.0, vmax=1.0, aspect="equal")
    axes.set_xlabel("latent dim")
    axes.set_ylabel("true dim")
    axes.set_xticks(range(0, columns, -(-columns // MAX_TICKS)))
    axes.set_yticks(range(0, rows, -(-rows // MAX_TICKS)))
    if side >= LEGIBLE:
        for (row, column), value in np.ndenumerate(values):
            colour = "white" if value > 0.5 else "black"
            axes.text(column, row, f"{value:.2f}", ha="center", va="center", color=colour, fontsize=8)
    figure.colorbar(image, label="absolute correlation")
    return figure


def _rows(axes: Any, names: Sequence[str]) -> None:
    """A row for each name, the first on top, with half a row of margin."""
    axes.set_yticks(range(len(names)), names)
    axes.set_ylim(len(names) - 0.5, -0.5)
