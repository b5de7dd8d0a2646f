"""Pictures of simulation-based calibration: histograms of ranks, and ECDFs less the diagonal, within their bands."""

from typing import Any

import numpy as np

from pyro_ldm.posterior.sbc import SBC
from pyro_ldm.posterior.uniformity import ecdf_band

BLUE, ORANGE, PALE, GREY = "#2f6db3", "#d9742b", "#c3c7cd", "#8a8f98"
COLUMNS, LARGEST = 4, 12


def rank_histograms(sbc: SBC) -> Any:
    """Histograms of pit, of the twelve scalars of least p-value; a band that holds 99 % of each bin's counts.

    A hump says that draws are too wide, high ends that they are too narrow, a slope that they are off to one side.

    Args:
        sbc: Of :func:`pyro_ldm.posterior.sbc.run_sbc`.

    Returns:
        A matplotlib figure.
    """
    from scipy.stats import binom

    def draw(axes: Any, pit: np.ndarray, colour: str) -> None:
        bins = int(np.clip(len(pit) // 20, 5, 20))
        low, high = binom.ppf([0.005, 0.995], len(pit), 1 / bins)
        axes.axhspan(low, high, color=PALE, alpha=0.6, lw=0)
        axes.axhline(len(pit) / bins, color=GREY, lw=1)
        axes.hist(pit, bins=bins, range=(0, 1), color=colour, rwidth=0.92)
        axes.set_xlim(0, 1)

    return _grid(sbc, draw, "rank of the true value", "simulations")


def ecdf_difference(sbc: SBC) -> Any:
    """Empirical distribution function of pit less the diagonal, of the twelve scalars of least p-value.

    A right posterior leaves the band anywhere, for any of the scalars, with probability ``sbc.level``.

    Args:
        sbc: Of :func:`pyro_ldm.posterior.sbc.run_sbc`.

    Returns:
        A matplotlib figure.
    """

    def draw(axes: Any, pit: np.ndarray, colour: str) -> None:
        grid, low, high = ecdf_band(len(pit), sbc.level / len(sbc.table))
        axes.fill_between(grid, low - grid, high - grid, color=PALE, alpha=0.6, lw=0)
        axes.axhline(0, color=GREY, lw=1)
        share = np.searchsorted(np.sort(pit), grid, side="right") / len(pit)
        axes.plot(grid, share - grid, color=colour, lw=1.6)
        axes.set_xlim(0, 1)

    return _grid(sbc, draw, "rank of the true value", "ECDF less diagonal")


def _grid(sbc: SBC, draw: Any, xlabel: str, ylabel: str) -> Any:
    """One panel per scalar, worst first; those outside their bands in orange."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    worst, scalars = sbc.table.head(LARGEST), sbc.scalars()
    columns = min(COLUMNS, max(2, len(worst)))
    rows = -(-len(worst) // columns)
    figure = Figure(figsize=(2.9 * columns, 2.5 * rows + 0.5), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (name, row) in enumerate(worst.iterrows()):
        axes = figure.add_subplot(rows, columns, number + 1)
        draw(axes, scalars[name], ORANGE if row.wrong else BLUE)
        axes.set_title(f"{name.replace('_', ' ')}" + (f": {row.wrong}" if row.wrong else ""), fontsize=10)
        axes.spines[["top", "right"]].set_visible(False)
        if number % columns == 0:
            axes.set_ylabel(ylabel)
        if number + columns >= len(worst):
            axes.set_xlabel(xlabel)
    more = f", the {LARGEST} of least p-value of {len(sbc.table)}" if len(sbc.table) > LARGEST else ""
    figure.suptitle(f"{len(sbc.num_draws)} simulations{more}", fontsize=11)
    return figure
