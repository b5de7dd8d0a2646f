"""Pictures of a fit: training curves, the latent space, and the filters of a linear encoder."""

from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch import Tensor, nn

from pyro_ldm.encoders import PCA
from pyro_ldm.training import Fit

NUM_POINTS = 4000  # more would hide one another
GREY = "#8a8f98"
PALE = "#c3c7cd"
BLUE, ORANGE, GREEN = "#2f6db3", "#d9742b", "#3f9b63"
PATHS = (BLUE, ORANGE, GREEN)


def curves(fit: Fit) -> Any:
    """Loss, and its split into alignment, uniformity and, with a likelihood, reconstruction; nats per datum.

    Returns:
        A matplotlib figure.
    """
    figure, (left, right) = _axes(2)
    history = {name: [row[name] for row in fit.history] for name in fit.history[0]}
    marker = "o" if len(fit.history) == 1 else None
    for name, colour in (("loss", BLUE), ("validation_loss", ORANGE)):
        if name in history:
            left.plot(history["epoch"], history[name], color=colour, marker=marker, label=name.replace("_", " "))
    if fit.reference and fit.terms.reconstruction is None:
        left.axhspan(min(fit.reference), max(fit.reference), color=GREY, alpha=0.5, label="draws from the prior")
    left.set_title(f"loss: {fit.terms.objective}")
    parts = [n for n in ("alignment", "uniformity", "reconstruction") if n in history]
    for name, colour in zip(parts, (GREEN, ORANGE, BLUE), strict=False):
        right.plot(history["epoch"], history[name], color=colour, marker=marker, label=name)
    right.set_title(f"its split: loss = -({' + '.join(parts)})")
    for axes in (left, right):
        axes.xaxis.get_major_locator().set_params(integer=True)
        axes.set_xlabel("epoch")
        axes.set_ylabel("nats per datum")
        axes.legend(frameon=False)
    return figure


def latent_space(z: Tensor, *, labels: Tensor | None = None, paths: dict[str, Tensor] | None = None) -> Any:
    """Latents (N, D) along their first two principal axes, coloured by label; and the spread along all of them.

    Args:
        z: The latents; of series, those of all steps.
        labels: Of each (N,).
        paths: Series (T, D) by name, encoded or filtered, drawn as lines over the latents, each from a dot.

    Returns:
        A matplotlib figure.
    """
    figure, (left, right) = _axes(2)
    rows = z.double() - z.double().mean(0)
    _, spread, axes = torch.linalg.svd(rows, full_matrices=False)
    spread = (spread / max(1, len(z) - 1) ** 0.5).numpy()
    chosen = torch.randperm(len(z), generator=torch.Generator().manual_seed(0))[:NUM_POINTS]
    plane = (rows[chosen] @ axes[:2].T).numpy()
    if plane.shape[1] == 1:
        left.hist(plane[:, 0], bins=60, color=BLUE)
        left.set_ylabel("rows")
    else:
        classes = None if labels is None else torch.unique(labels)
        few = classes is not None and len(classes) <= 20
        colour: dict[str, Any] = {"color": BLUE if paths is None else PALE}
        if labels is not None:
            colour = {"c": labels[chosen].numpy(), "cmap": "tab10" if few else "viridis"}
        scatter = left.scatter(*plane.T, s=6, linewidths=0, alpha=0.8, **colour)
        if few:
            marks, names = scatter.legend_elements(num=None)
            left.legend(marks, names, frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        for number, (name, path) in enumerate((paths or {}).items()):
            line, points = PATHS[number % len(PATHS)], (path.double() - z.double().mean(0)) @ axes[:2].T
            left.plot(*points.T.numpy(), color=line, lw=1.2, label=name)
            left.plot(*points[0].numpy(), "o", color=line, ms=6, mec="white")
        if paths is not None and not few:
            left.legend(frameon=False, loc="center left", bbox_to_anchor=(1.0, 0.5))
        left.set_aspect("equal", adjustable="datalim")
        left.set_ylabel("second principal axis")
    left.set_xlabel("first principal axis")
    what = "data" if paths is None else "steps"
    left.set_title(f"latents of {len(chosen)} {what}" + (f" of {len(z)}" if len(chosen) < len(z) else ""))
    right.bar(np.arange(1, len(spread) + 1), spread, color=BLUE, width=0.8)
    right.set_xlabel("principal axis")
    right.set_ylabel("standard deviation, in units of z")
    right.set_title("spread along every principal axis")
    right.xaxis.get_major_locator().set_params(integer=True)
    return figure


def filters(images: Tensor, *, title: str = "") -> Any:
    """A grid of images (K, C, H, W), C of 1 or 3, each on its own scale about zero.

    Returns:
        A matplotlib figure.
    """
    num, channels, height, width = images.shape
    columns = int(np.ceil(np.sqrt(num)))
    rows = int(np.ceil(num / columns))
    scaled = images.double() / images.double().abs().amax((1, 2, 3), keepdim=True).clamp_min(1e-12)
    grid = torch.full((rows * columns, channels, height + 1, width + 1), torch.nan, dtype=scaled.dtype)
    grid[:num, :, :height, :width] = scaled
    sheet = grid.unflatten(0, (rows, columns)).permute(2, 0, 3, 1, 4).reshape(channels, rows * (height + 1), -1)
    sheet = sheet[:, :-1, :-1].numpy()
    side = 7.0
    figure, (axes,) = _axes(1, size=(side, side * sheet.shape[1] / sheet.shape[2] + 0.4))
    if channels == 3:
        axes.imshow(np.nan_to_num(sheet.transpose(1, 2, 0) / 2 + 0.5, nan=1.0))
    else:
        axes.imshow(sheet[0], cmap="gray", vmin=-1, vmax=1)
    axes.set_title(title)
    axes.axis("off")
    return figure


def filters_of(guide: Callable, shape: tuple[int, ...]) -> Tensor | None:
    """The rows of a linear encoder (D, C, H, W) where the data are images, else ``None``."""
    parts: Any = guide.modules() if isinstance(guide, nn.Module) else ()
    linear = next((part for part in parts if isinstance(getattr(part, "encoder", None), nn.Linear)), None)
    if len(shape) != 3 or shape[0] not in (1, 3) or linear is None:
        return None
    weight, reduce = linear.encoder.weight.detach().cpu(), getattr(linear, "reduce", None)
    if isinstance(reduce, PCA):
        weight = weight @ (reduce.components / reduce.scale.unsqueeze(-1)).cpu()
    return weight.reshape(-1, *shape) if weight.shape[1] == int(np.prod(shape)) else None


def _axes(columns: int, *, size: tuple[float, float] = (11.0, 4.2)) -> tuple[Any, list]:
    """A figure that no interactive session keeps, and its axes."""
    from matplotlib.backends.backend_agg import FigureCanvasAgg
    from matplotlib.figure import Figure

    figure = Figure(figsize=size, layout="constrained")
    FigureCanvasAgg(figure)
    every = [figure.add_subplot(1, columns, column + 1) for column in range(columns)]
    for axes in every:
        axes.spines[["top", "right"]].set_visible(False)
    return figure, every
