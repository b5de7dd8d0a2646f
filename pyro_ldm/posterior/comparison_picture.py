"""The picture of compared priors."""

from typing import TYPE_CHECKING, Any

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pyro_ldm.posterior.comparison import Comparison

BLUE, GREY = "#2f6db3", "#8a8f98"
FAR = 4.0  # times as far as the next: on one scale with it, the others would be a point


def picture(compared: "Comparison") -> Figure:
    """Each prior's elpd, and its difference from the best, with standard errors.

    A prior far behind all others is at the edge, an arrow with its number, so that the others can be told apart.

    Args:
        compared: The priors.
    """
    table = compared.table
    figure = Figure(figsize=(11.0, 1.6 + 0.45 * len(table)), layout="constrained")
    FigureCanvasAgg(figure)
    left, right = figure.subplots(1, 2, sharey=True)
    places = np.arange(len(table))
    left.errorbar(table["elpd_loo"], places, xerr=table["se"], fmt="o", color=BLUE, capsize=3)
    left.set_title("predicted density of left-out latents")
    left.set_xlabel("elpd, nats, +- standard error")
    right.errorbar(-table["elpd_diff"], places, xerr=2 * table["dse"], fmt="o", color=BLUE, capsize=3)
    right.axvline(0.0, color=GREY, lw=1)
    right.set_title("difference from the best")
    right.set_xlabel("nats, +- 2 standard errors of the difference")
    for axes, values, errors in (
        (left, table["elpd_loo"], table["se"]),
        (right, -table["elpd_diff"], 2 * table["dse"]),
    ):
        _leave_out_the_far(axes, values.to_numpy(), errors.to_numpy())
        axes.xaxis.get_major_locator().set_params(nbins=6)
        axes.spines[["top", "right"]].set_visible(False)
    left.set_yticks(places, table.index)
    left.set_ylim(len(table) - 0.5, -0.5)
    return figure


def _near(values: np.ndarray, errors: np.ndarray) -> int:
    """How many of the priors, best first, one scale can show."""
    behind, near = values[0] - values, len(values)
    for last in range(len(values) - 2, 0, -1):  # two are always shown
        if behind[last + 1] - errors[last + 1] > FAR * (behind[last] + errors[last]):
            near = last + 1
    return near


def _leave_out_the_far(axes: Any, values: np.ndarray, errors: np.ndarray) -> None:
    """Scale the axis to the priors that are near; the others are arrows at the left edge, with their numbers."""
    near = _near(values, errors)
    if near == len(values):
        return
    low, high = (values - errors)[:near].min(), (values + errors)[:near].max()
    margin = 0.08 * (high - low) or 1.0
    axes.set_xlim(low - 3 * margin, high + margin)
    for place in range(near, len(values)):
        where = axes.get_yaxis_transform()
        axes.plot(0.02, place, "<", color=BLUE, transform=where)
        number = f"{values[place]:.0f} +- {errors[place]:.0f}"
        axes.text(0.045, place, number, transform=where, va="center", fontsize=9, color=BLUE)
