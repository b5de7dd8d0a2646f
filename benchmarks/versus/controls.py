"""Controls of `videos.py`: least squares, from a frame to the position, and from true positions to those missing."""

import math
from typing import Any

import torch

import pyro_ldm as ldm
from versus.series import rms

Data = ldm.datasets.Data
CONTROLS = ("PCA", "least squares, pixels", "last true position", "least squares, true positions")


def control(model: str, world: Any, parts: tuple[Data, Data, Data]) -> dict[str, float]:
    """Measures of one, of data to train on, to fit on and to score."""
    train, fit, test = parts
    paths = [part.truth[..., :2] for part in (train, test)]
    if model in CONTROLS[:2]:
        pixels = [part.x.flatten(2) for part in (fit, test)]
        if model == "PCA":
            pca = ldm.encoders.PCA(math.prod(world.frame), 2, whiten=False).fit(pixels[0].flatten(0, 1))
            pixels = [pca(x.flatten(0, 1)).unflatten(0, x.shape[:2]) for x in pixels]
        return {"encoder": ldm.diagnostics.affine_r2(pixels[0], fit.truth[..., :2], test=(pixels[1], paths[1]))}
    row, steps = {}, torch.arange(test.x.shape[1])
    for key, what in (("imputation", world.gap), ("forecast", world.ahead)):
        missing = torch.zeros(len(steps), dtype=torch.bool)
        missing[slice(*what)] = True
        seen = ~missing if key == "imputation" else steps < what[0]
        if model == "last true position":
            guess = paths[1][:, [what[0] - 1]].expand(-1, int(missing.sum()), -1).flatten(1).numpy()
        else:
            known, wanted = ([path[:, which].flatten(1) for path in paths] for which in (seen, missing))
            guess = ldm.diagnostics.AffineMap.fit(known[0], wanted[0]).loc(known[1])
        row[key] = rms(guess - paths[1][:, missing].flatten(1).numpy())
    return row
