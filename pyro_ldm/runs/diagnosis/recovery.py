"""Whether true latents are recovered, another run agrees, and the filter's bands hold the truth: report sections."""

import numpy as np
import torch
from torch import Tensor

from pyro_ldm.diagnostics import AffineMap, coverage
from pyro_ldm.diagnostics.agreement import AGREES, agreement
from pyro_ldm.runs.diagnosis.against import Against
from pyro_ldm.runs.diagnosis.case import Case
from pyro_ldm.runs.diagnosis.pictures import correlations
from pyro_ldm.runs.finding import Finding
from pyro_ldm.runs.report import Picture, Section, Table
from pyro_ldm.runs.series import StateSpace

TOLERANCE = 0.05  # by which a band's share of the truth may be below its level


def recovered(case: Case, against: Against | None) -> Finding | None:
    """Are the true latents identified, and up to what?"""
    truth = _truth(case, against)
    if truth is None:
        return None
    z, mask = case.z[case.rows], case.there[case.rows]
    found = agreement({"latents": z}, truth=truth, mask=mask, seed=case.seed).truth
    assert found is not None
    scores = {name: float(found[name].iloc[0]) for name in found.columns}
    r2, mcc = scores["affine_r2"], scores["mcc"]
    values = f"affine R2 {r2:.2f}" + (f", MCC {mcc:.2f}" if np.isfinite(mcc) else "")
    if mcc >= AGREES:
        verdict = f"identified up to order, sign and scale: {values}"
    elif r2 >= AGREES:
        verdict = f"identified up to an affine map: {values}"
    else:
        verdict = f"not identified: {values}"
    return Finding(
        Section(
            "Recovery of the truth",
            verdict,
            max(r2, mcc) >= AGREES,
            "The latents beside the true ones. R2 of an affine map, on rows that it was not fitted on; MCC, the mean "
            "correlation of matched coordinates; disentanglement, completeness and informativeness. All are 1 at best.",
            {name.replace("_", " ").replace("r2", "R2"): value for name, value in scores.items()},
            pictures=[
                Picture.of(
                    correlations(z[mask], truth[mask]),
                    "Absolute correlation of each latent dim with each true one.",
                    name="recovery",
                )
            ],
            note=case.of_how_many,
        )
    )


def agrees(case: Case, against: Against | None) -> Finding | None:
    """Has another run found the same latents?"""
    if against is None or against.latents is None:
        return None
    runs = {"this run": case.z[case.rows], against.name: against.latents[case.rows]}
    found = agreement(runs, mask=case.there[case.rows], seed=case.seed)
    return Finding(
        Section(
            f"Agreement with {against.name}",
            found.verdict,
            not found.verdict.startswith("not"),
            "What the latents of two runs on the same data share, up to order and scale (MCC), a rotation (Procrustes) "
            "or an affine map (R2). All are 1 at best.",
            {f"agreement, {name}": float(found.pairs[name].iloc[0]) for name in found.pairs.columns},
            note=case.of_how_many,
        )
    )


def bands(case: Case, against: Against | None) -> Finding | None:
    """Do the filter's bands hold the truth as often as they say?"""
    truth = _truth(case, against)
    space = None if case.parameters or not case.is_series else StateSpace.of_prior(case.prior, case.data)
    if truth is None or space is None:
        return None
    z, mask = case.z[case.rows], case.there[case.rows]
    band = space.band(case.data.x[case.rows], z, None if case.data.mask is None else mask)
    half = torch.arange(len(z)) % 2 == 0
    affine = AffineMap.fit(band.loc[half], truth[half], mask=mask[half])
    scale = affine.scale(band.state[~half])
    found = coverage(affine.loc(band.loc[~half]), scale, truth[~half], mask=mask[~half])
    level, share = float(found.levels[-1]), float(found.share[-1])
    too_wide = share > (1 + level) / 2  # halfway to holding all
    word = "too wide" if too_wide else "too narrow" if share < level - TOLERANCE else "calibrated"
    return Finding(
        Section(
            "The filter's bands",
            f"{word}: the filter's {100 * level:.0f} % bands hold {100 * share:.0f} % of the true states",
            word == "calibrated",
            "The filter's means and covariances, brought to the true states by an affine map that is fitted on half of "
            "the series, on the other half. The bands are the filter's own: what the map leaves open is not in them.",
            {f"share of the truth in {100 * p:.0f} % bands": s for p, s in zip(found.levels, found.share, strict=True)},
            [
                Table(
                    ("coordinate", *(f"in {100 * p:.0f} % bands" for p in found.levels)),
                    [(f"{i}", *shares) for i, shares in enumerate(found.per_dim.T.tolist())],
                    "Share of the true states within the bands",
                )
            ],
            note=case.of_how_many,
        )
    )


def _truth(case: Case, against: Against | None) -> Tensor | None:
    """True latents of the rows looked at: those of the file, else of the data."""
    given = None if against is None else against.truth
    truth = case.data.truth if given is None else given
    return None if truth is None else truth[case.rows]
