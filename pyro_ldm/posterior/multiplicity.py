r"""P-values of many comparisons at once, after Westfall and Young."""

from collections.abc import Mapping

import numpy as np


def corrected_p_values(
    observed: Mapping[str, np.ndarray], replicated: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """P-values corrected for all numbers, sides and discrepancies, as :func:`predictive_check` says.

    Args:
        observed: By name, (K,).
        replicated: By the same names, (S, K).
    """
    far: dict[str, np.ndarray] = {}  # how far out the observed numbers are, on both sides: (2, K)
    farthest: list[np.ndarray] = []  # and the farthest of each set, the observed one first: (S + 1,)
    for name, replicas in replicated.items():
        every = np.concatenate([observed[name][None], replicas])
        centre = np.median(every, axis=0)
        sides = []
        for distance in (every - centre, centre - every):
            # Spread on this side alone: of a skewed discrepancy, such as kurtosis, both sides are to be heard.
            spread = np.quantile(distance, 0.84, axis=0)
            with np.errstate(over="ignore"):  # of a count that is nearly always the same: infinitely far out
                sides.append(distance / np.maximum(spread, np.finfo(float).tiny))
            farthest.append(sides[-1].max(axis=1))
        far[name] = np.stack([side[0] for side in sides])
    sets = [np.sort(values) for values in farthest]
    smallest = np.sort(np.min([_share(s, values) for s, values in zip(sets, farthest, strict=True)], axis=0))
    corrected = {}
    for number, (name, distances) in enumerate(far.items()):
        alone = [_share(sets[2 * number + side], distances[side]) for side in (0, 1)]
        corrected[name] = np.searchsorted(smallest, np.min(alone, axis=0), side="right") / len(smallest)
    return corrected


def _share(ordered: np.ndarray, values: np.ndarray) -> np.ndarray:
    """Share of the sets that are at least as far out."""
    return 1 - np.searchsorted(ordered, values, side="left") / len(ordered)
