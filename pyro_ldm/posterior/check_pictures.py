"""Picture of a predictive check: the worst discrepancies, and the densities of the worst dims."""

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from pyro_ldm.posterior.checks import PredictiveCheck

BLUE, ORANGE, GREY = "#2f6db3", "#d9742b", "#8a8f98"
COLUMNS = 3
BINS = 30


def picture(check: "PredictiveCheck") -> Any:
    """Above, the observed value over replicated ones, of the worst number of each of six discrepancies; below,
    the marginal log-densities of three dims, the latents' over the range of the kept replicated ones.

    Args:
        check: Of :func:`pyro_ldm.posterior.checks.predictive_check`.

    Returns:
        A matplotlib figure.
    """
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    worst = check.table.drop_duplicates("discrepancy").head(2 * COLUMNS)
    dims = _worst_dims(check) if check.kept else []
    rows = int(np.ceil(len(worst) / COLUMNS)) + bool(dims)
    figure = Figure(figsize=(11.0, 2.9 * rows + 0.6), layout="constrained")
    FigureCanvasAgg(figure)
    for number, (_, row) in enumerate(worst.iterrows()):
        axes = figure.add_subplot(rows, COLUMNS, number + 1)
        _histogram(axes, check, row, first=number == 0)
    for number, (site, dim) in enumerate(dims):
        axes = figure.add_subplot(rows, COLUMNS, (rows - 1) * COLUMNS + number + 1)
        _density(axes, check, site, dim, first=number == 0)
    for axes in figure.axes:
        axes.spines[["top", "right"]].set_visible(False)
    fit = "no misfit" if check.matched else "misfit"
    figure.suptitle(f"{check.kind} check: {fit}, p = {check.p_value:.2g} (corrected); worst discrepancies first")
    return figure


def _histogram(axes: Any, check: "PredictiveCheck", row: Any, *, first: bool) -> None:
    """Replicated values of one number, and the observed one."""
    name, discrepancy = row["discrepancy"], check.discrepancies[row["discrepancy"]]
    label = row["label"]
    k = list(discrepancy.labels).index(label) if discrepancy.labels else int(label or 0)
    values = check.replicated[name][:, k]
    # A few far outliers of a heavy-tailed discrepancy would squeeze all others into one bar.
    low, high = np.quantile(values, (0.005, 0.995))
    axes.hist(values[(values >= low) & (values <= high)], bins=BINS, color=GREY, label="replicated")
    axes.axvline(row["observed"], color=ORANGE, lw=2.5, label="latents")
    axes.set_title(f"{name}{f', {label}' if label else ''}", fontsize=10)
    axes.set_xlabel(f"corrected p = {row['corrected']:.2g}", color=ORANGE if row["misfit"] else "black")
    axes.locator_params(axis="x", nbins=4)  # numbers of many digits would run into one another
    axes.set_yticks([])
    axes.spines["left"].set_visible(False)
    if first:
        axes.set_ylim(top=1.3 * axes.get_ylim()[1])  # room for the legend
        axes.legend(frameon=False, fontsize=8)


def _worst_dims(check: "PredictiveCheck") -> list[tuple[str, int]]:
    """Three dims of sites of real numbers, those that the worst labels name first."""
    every = [(site, dim) for site, values in check.kept.items() if values.dim() > 2 for dim in range(values.shape[-1])]
    several = len(check.kept) > 1
    named = {(f"{site}, " if several else "") + f"dim {dim}": (site, dim) for site, dim in every}
    found = []
    for label in check.table["label"]:
        dim = named.get(label.split(" at ")[0])
        if dim is not None and dim not in found:
            found.append(dim)
    return (found or every)[:COLUMNS]


def _density(axes: Any, check: "PredictiveCheck", site: str, dim: int, *, first: bool) -> None:
    """Log-density of one dim by a histogram, over the replicated ones' range."""
    observed = check.latents[site][..., dim].double().flatten().numpy()
    replicated = check.kept[site][..., dim].double().flatten(1).numpy()
    low, high = np.quantile(np.concatenate([observed, replicated.flatten()]), (0.0005, 0.9995))
    edges = np.linspace(low, high, BINS + 1)
    width = edges[1] - edges[0]
    densities = [np.histogram(values, edges)[0] / (len(values) * width) for values in replicated]
    floor = 0.5 / (len(observed) * width)  # half a datum: what is drawn for an empty bin
    axes.stairs(
        np.max(densities, 0).clip(floor),
        edges,
        baseline=np.min(densities, 0).clip(floor),
        fill=True,
        color=GREY,
        alpha=0.6,
        label=f"range of {len(replicated)} replicated",
    )
    density = np.histogram(observed, edges)[0] / (len(observed) * width)
    axes.stairs(density.clip(floor), edges, color=BLUE, lw=1.5, label="latents")
    axes.set_yscale("log")
    axes.set_title(f"density of {f'{site}, ' if len(check.kept) > 1 else ''}dim {dim}", fontsize=10)
    axes.set_xlabel("in units of z")
    if first:
        axes.set_ylim(top=8 * axes.get_ylim()[1])  # room for the legend
        axes.legend(frameon=False, fontsize=8, loc="upper left")
