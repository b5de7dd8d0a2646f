"""The picture of compared priors."""

from typing import TYPE_CHECKING

import numpy as np
from matplotlib.backends.backend_agg import FigureCanvasAgg
from matplotlib.figure import Figure

if TYPE_CHECKING:
    from pyro_ldm.posterior.comparison import Comparison

BLUE, GREY = "#2f6db3", "#8a8f98"


def picture(compared: "Comparison") -> Figure:
    """Each prior's elpd, and its difference from the best, with standard errors.

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
    left.set_yticks(places, table.index)
    left.invert_yaxis()
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(nbins=6)
        axes.spines[["top", "right"]].set_visible(False)
    return figure
