"""Ranks of true values among draws: each scalar, whether they are uniform, and what is wrong if not."""

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np

from pyro_ldm.posterior.uniformity import ecdf_p_value

if TYPE_CHECKING:
    from pandas import DataFrame


FEW = 20  # simulations, below which nothing is concluded


def pit(true: np.ndarray, draws: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Randomised rank of the true value among draws (L, *shape), in (0, 1)."""
    below, equal = (draws < true).sum(axis=0), (draws == true).sum(axis=0)
    return (below + rng.integers(0, equal + 1) + rng.uniform(size=true.shape)) / (len(draws) + 1)


def scalars(pits: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    """Of each scalar, by its label, all of its ranks."""
    found = {}
    for name, values in pits.items():
        for index in np.ndindex(*values.shape[1:]):
            label = f"{name}[{', '.join(map(str, index))}]" if index else name
            found[label] = values[(slice(None), *index)]
    return found


def table(ranks: Mapping[str, np.ndarray], level: float) -> "DataFrame":
    """A row per scalar, the least p-value first."""
    import pandas as pd

    rows = []
    for values in ranks.values():
        p_value = ecdf_p_value(values)
        wrong = _direction(values) if p_value < level / len(ranks) else ""
        rows.append({"mean": values.mean(), "variance": values.var(), "p_value": p_value, "wrong": wrong})
    found = pd.DataFrame(rows, index=pd.Index(list(ranks), name="scalar"))
    return found.sort_values("p_value", kind="stable")


def _direction(pit: np.ndarray) -> str:
    """What is wrong with the draws, by the moment that departs most."""
    shift = (pit.mean() - 1 / 2) * np.sqrt(12 * len(pit))
    spread = (pit.var() - 1 / 12) * np.sqrt(180 * len(pit))
    if abs(shift) > abs(spread):
        return "draws too low" if shift > 0 else "draws too high"
    return "draws too narrow" if spread > 0 else "draws too wide"


def verdict(table: "DataFrame", level: float, num: int, failures: list[str]) -> str:
    """The finding, in one sentence."""
    failed = f"; {len(failures)} of {num + len(failures)} simulations failed, {failures[0]}" if failures else ""
    if num < FEW:
        return f"inconclusive: {num} simulations are too few{failed}"
    wrong = table[table["wrong"] != ""]
    if len(wrong):
        named = ", ".join(f"{name} ({row.wrong})" for name, row in wrong.head(4).iterrows())
        more = f" and {len(wrong) - 4} more" if len(wrong) > 4 else ""
        return f"not calibrated: {named}{more}, of {len(table)} scalars over {num} simulations{failed}"
    least = f"least p-value {table['p_value'].min():.2f} of {len(table)} scalars"
    if len(failures) > 0.1 * num:
        return f"inconclusive: calibrated over the {num} simulations that did not fail, {least}{failed}"
    return f"calibrated, as far as {num} simulations tell: {least}{failed}"
