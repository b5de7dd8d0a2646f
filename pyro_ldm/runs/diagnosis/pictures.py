"""Pictures of a diagnosis: estimates of KL beside their references, and intervals of parameters."""

from typing import Any

import numpy as np
from torch import Tensor

from pyro_ldm.runs.pictures import BLUE, GREY, ORANGE, _axes

MAX_INTERVALS = 40  # more would not be legible


def estimates(bounds: Any) -> Any:
    """Each estimate of KL(R || P) with two standard errors, over the range that draws from the prior measure.

    Args:
        bounds: The :class:`pyro_ldm.diagnostics.bounds.KLBounds`.

    Returns:
        A matplotlib figure.
    """
    found = bounds.estimates
    figure, (axes,) = _axes(1, size=(8.0, 1.3 + 0.42 * len(found)))
    for place, estimate in enumerate(found):
        if estimate.reference:
            low, high = min(estimate.reference), max(estimate.reference)
            label = "draws from the prior" if place == 0 else None
            axes.plot([low, high], [place, place], color=GREY, lw=9, alpha=0.6, solid_capstyle="butt", label=label)
        colour = ORANGE if estimate.exceeds else BLUE
        axes.errorbar(estimate.kl, place, xerr=2 * estimate.standard_error, fmt="o", color=colour, capsize=3)
    axes.axvline(0.0, color=GREY, lw=0.8)
    axes.set_yticks(range(len(found)), [f"{estimate.name} ({estimate.kind})" for estimate in found])
    axes.invert_yaxis()
    axes.set_xlabel("KL(R || P), nats per datum")
    if any(estimate.reference for estimate in found):
        axes.legend(frameon=False)
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
    axes.set_yticks(places, shown.index)
    axes.invert_yaxis()
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
    figure, (axes,) = _axes(1, size=(8.0, 1.6 + 0.4 * min(12, len(values))))
    image = axes.imshow(values, cmap="Blues", vmin=0.0, vmax=1.0, aspect="auto")
    axes.set_xlabel("latent dim")
    axes.set_ylabel("true dim")
    for axis in (axes.xaxis, axes.yaxis):
        axis.get_major_locator().set_params(integer=True)
    figure.colorbar(image, label="absolute correlation")
    return figure
