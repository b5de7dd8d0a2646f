r"""Do several runs find the same latents, and up to what: order and scale, a rotation, an affine map?"""

from collections.abc import Mapping
from dataclasses import dataclass
from itertools import combinations
from typing import TYPE_CHECKING

import numpy as np

from pyro_ldm.diagnostics.affine import affine_r2
from pyro_ldm.diagnostics.dci import dci
from pyro_ldm.diagnostics.identifiability import mcc
from pyro_ldm.diagnostics.rows import Array, as_array
from pyro_ldm.diagnostics.series import paired_series

if TYPE_CHECKING:
    from pandas import DataFrame

AGREES = 0.95


@dataclass(frozen=True, eq=False)
class Agreement:
    """What :func:`agreement` found; ``str()`` of it is the verdict.

    Args:
        pairs: A row per pair of runs (index first, second): cca, procrustes, affine, mcc.
        truth: A row per run: affine_r2, mcc, disentanglement, completeness, informativeness; ``None`` without truth.
        verdict: The finding, in one sentence.
    """

    pairs: "DataFrame"
    truth: "DataFrame | None"
    verdict: str

    def __str__(self) -> str:
        return self.verdict


def agreement(
    latents: Mapping[str, Array], *, truth: Array | None = None, mask: Array | None = None, seed: int = 0
) -> Agreement:
    r"""Compare the latents of several runs on the same data, and with the truth where it is known.

    Of each pair of runs, all in [0, 1] but for affine, which is at most 1:

    * ``mcc``, mean correlation of matched coordinates: 1 up to order, sign and scale
      (:func:`~pyro_ldm.diagnostics.identifiability.mcc`);
    * ``procrustes``, R2 of the best rotation or reflection with one scale: 1 up to those;
    * ``affine``, R2 of an affine map on rows that it was not fitted on, the worse of the two directions
      (:func:`~pyro_ldm.diagnostics.affine.affine_r2`);
    * ``cca``, mean canonical correlation: 1 if the smaller of two spaces is linear in the larger. It is of the rows
      that it is fitted on, and for unrelated latents about sqrt(D / N).

    The verdict names the strictest of the first three that reaches 0.95 for every pair. Between runs of different D,
    Procrustes pads the smaller with zeros, the affine map is from the larger to the smaller, and MCC matches the
    smaller's coordinates and leaves the others of the larger out.

    Args:
        latents: Latents of each run, by its name: two runs or more; one will do with truth.
        truth: True latents of the same rows or steps.
        mask: Boolean, True where a row or step counts.
        seed: Of the splits.

    Shape:
        Each (N, D), or series (N, T, D), with truth (N, K) or (N, T, K) and mask (N,) or (N, T); to an
        :class:`Agreement`. D may differ between runs.

    Raises:
        TypeError: If latents are no dict.
        ValueError: If there is one run and no truth, two have one name, runs differ in rows, values are not finite, a
            coordinate is constant, or there are too few rows.

    References:
        Raghu et al. (2017), SVCCA, https://arxiv.org/abs/1706.05806 (mean canonical correlation of representations).
        Gower and Dijksterhuis (2004), Procrustes Problems, chapter 4.
        Khemakhem et al. (2020), ICE-BeeM, https://arxiv.org/abs/2002.11537 (agreement of seeds by MCC and CCA).

    Example:
        >>> rng = np.random.default_rng(0)
        >>> z, rotation = rng.normal(size=(500, 2)), np.array([[0.6, -0.8], [0.8, 0.6]])
        >>> print(agreement({"seed 0": z, "seed 1": z @ rotation}))
        the same up to rotation and scale: Procrustes R2 at least 1.00 over 1 pair (MCC 0.8..., affine R2 1.00)
    """
    import pandas as pd

    if not isinstance(latents, Mapping):
        raise TypeError(f"latents are a dict of each run's by its name, got {type(latents).__name__}")
    if len({str(name) for name in latents}) < len(latents):
        raise ValueError(f"two runs have one name among {list(latents)}: names are compared as text, rename one")
    if len(latents) < (2 if truth is None else 1):
        raise ValueError(f"agreement is between two runs or more, got {len(latents)}: pass more runs, or truth")
    runs = {str(name): as_array(z) for name, z in latents.items()}
    for name, z in runs.items():
        first = next(iter(runs))
        series, _, keep = paired_series(z, runs[first], mask, names=(name, first))
        _check(name, series[keep])
    rows = {}
    for (first, a), (second, b) in combinations(runs.items(), 2):
        z, other, keep = paired_series(a, b, mask, names=(first, second))
        larger, smaller = (a, b) if a.shape[-1] >= b.shape[-1] else (b, a)
        ways = [(larger, smaller), (smaller, larger)] if a.shape[-1] == b.shape[-1] else [(larger, smaller)]
        rows[first, second] = {
            "cca": _cca(z[keep], other[keep]),
            "procrustes": _procrustes(z[keep], other[keep]),
            "affine": min(affine_r2(source, target, mask=mask, seed=seed) for source, target in ways),
            "mcc": mcc(larger, smaller, mask=mask).score,
        }
    index = pd.MultiIndex.from_tuples(rows, names=["first", "second"]) if rows else None
    pairs = pd.DataFrame(list(rows.values()), index=index, columns=["cca", "procrustes", "affine", "mcc"])
    against = None if truth is None else _against(runs, as_array(truth), mask, seed)
    within = len({z.shape[-1] for z in runs.values()}) > 1
    return Agreement(pairs=pairs, truth=against, verdict=_verdict(pairs, against, within=within))


def _check(name: str, rows: np.ndarray) -> None:
    """Enough rows, and none that are flat in some coordinate."""
    if len(rows) < 2 * rows.shape[1] + 4:
        raise ValueError(
            f"{name!r} has {len(rows)} rows that count of {rows.shape[1]} dims, too few to compare: pass "
            f"{2 * rows.shape[1] + 4} or more"
        )
    constant = np.flatnonzero(np.ptp(rows, axis=0) == 0)
    if len(constant):
        raise ValueError(
            f"{name!r} is constant in coordinates {constant.tolist()}: the encoder has collapsed there, leave them out"
        )


def _cca(first: np.ndarray, second: np.ndarray) -> float:
    """Mean singular value between orthonormal bases of the two."""
    bases = []
    for rows in (first, second):
        left, spread, _ = np.linalg.svd(rows - rows.mean(axis=0), full_matrices=False)
        bases.append(left[:, spread > 1e-10 * spread[0]])
    return float(np.linalg.svd(bases[0].T @ bases[1], compute_uv=False).clip(max=1.0).mean())


def _procrustes(first: np.ndarray, second: np.ndarray) -> float:
    """R2 of the best rotation and scale: the same in both directions."""
    a, b = (rows - rows.mean(axis=0) for rows in (first, second))
    inner = np.linalg.svd(a.T @ b, compute_uv=False).sum()
    return float(min(1.0, (inner / (np.linalg.norm(a) * np.linalg.norm(b))) ** 2))


def _against(runs: dict[str, np.ndarray], truth: np.ndarray, mask: Array | None, seed: int) -> "DataFrame":
    import pandas as pd

    rows = []
    for z in runs.values():
        found = dci(z, truth, mask=mask, seed=seed)
        rows.append(
            {
                "affine_r2": affine_r2(z, truth, mask=mask, seed=seed),
                "mcc": mcc(z, truth, mask=mask).score if z.shape[-1] >= truth.shape[-1] else np.nan,
                "disentanglement": found.disentanglement,
                "completeness": found.completeness,
                "informativeness": found.informativeness,
            }
        )
    return pd.DataFrame(rows, index=pd.Index(list(runs), name="run"))


def _verdict(pairs: "DataFrame", truth: "DataFrame | None", *, within: bool) -> str:
    """In words; ``within`` where some runs have more dims than others, so that one can only hold the other."""
    parts = []
    if len(pairs):
        lowest = pairs.min()
        over = f"over {len(pairs)} pair{'s' if len(pairs) > 1 else ''}"
        over += ", of unequal dims the smaller within the larger" if within else ""
        values = {"mcc": "MCC", "procrustes": "Procrustes R2", "affine": "affine R2"}
        words = {
            "mcc": "the same up to order, sign and scale",
            "procrustes": "the same up to rotation and scale",
            "affine": "the same up to an affine map",
        }
        found = next((name for name in words if lowest[name] >= AGREES), None)
        rest = ", ".join(f"{values[name]} {lowest[name]:.2f}" for name in words if name != found)
        if found is not None:
            parts.append(f"{words[found]}: {values[found]} at least {lowest[found]:.2f} {over} ({rest})")
        else:
            worst = " and ".join(map(repr, pairs["affine"].idxmin()))
            parts.append(f"not the same: {rest} at worst {over}, least between {worst}")
    if truth is not None:
        affine, scored = truth["affine_r2"], truth["mcc"].dropna()
        text = f"the truth is found with affine R2 {affine.min():.2f} to {affine.max():.2f}"
        text += f", MCC {scored.min():.2f} to {scored.max():.2f}" if len(scored) else ""
        narrow = list(truth.index[truth["mcc"].isna()])
        parts.append(text + (f", no MCC of {', '.join(narrow)}, of fewer dims than the truth" if narrow else ""))
    return "; ".join(parts)
