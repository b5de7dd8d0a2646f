r"""Who beats whom on which measure, beyond the spread over seeds; in words.

A difference of two models' means counts where Welch's t-test, seeds as independent samples, gives p < 0.05.
"""

import math
from collections.abc import Mapping, Sequence
from typing import NamedTuple

import numpy as np

from pyro_ldm.runs.comparison.measures import Measure

LEVEL = 0.05


class Finding(NamedTuple):
    """Who is ahead on a measure.

    Attributes:
        measure: Its name.
        models: Those that have a value, the best mean first.
        beats: Pairs of models, of which the first is better than the second beyond the spread.
        decided: Whether each has seeds enough to say so.
        sentence: It in words.
    """

    measure: str
    models: tuple[str, ...]
    beats: tuple[tuple[str, str], ...]
    decided: bool
    sentence: str

    @property
    def unbeaten(self) -> tuple[str, ...]:
        """Models that no other beats; none where nothing can be said."""
        return tuple(m for m in self.models if self.decided and m not in {loser for _, loser in self.beats})


def finding(measure: Measure, values: Mapping[str, Sequence[float]]) -> Finding | None:
    """Who is ahead; ``None`` where neither more nor less is better, or fewer than two models have a value.

    Args:
        measure: The measure.
        values: Of each model, a number per seed; NaN where undefined.

    Example:
        >>> of = Measure("linear probe", "accuracy", "more", lambda case: 0.0)
        >>> finding(of, {"LDM": [0.90, 0.91, 0.90], "VAE": [0.95, 0.96, 0.95]}).sentence
        'linear probe: VAE wins, 0.953 (spread 0.0058), over LDM, 0.903 (spread 0.0058)'
        >>> finding(of, {"LDM": [0.90, 0.99], "VAE": [0.95, 0.93]}).sentence
        'linear probe: a tie, LDM 0.945 (spread 0.064), VAE 0.94 (spread 0.014)'
    """
    there = {model: np.asarray(v)[np.isfinite(v)] for model, v in values.items()}
    there = {model: v for model, v in there.items() if len(v)}
    if not measure.better or len(there) < 2:
        return None
    sign = 1.0 if measure.better == "more" else -1.0
    order = tuple(sorted(there, key=lambda model: -sign * float(there[model].mean())))
    listed = ", ".join(f"{model} {_said(there[model])}" for model in order)
    if min(map(len, there.values())) < 2:
        why = "of one seed nothing can be said of the spread"
        return Finding(measure.name, order, (), False, f"{measure.name}: not decided, {listed}; {why}")
    beats = tuple((a, b) for i, a in enumerate(order) for b in order[i + 1 :] if differ(there[a], there[b]))
    if not beats:
        words = f"a tie, {listed}"
    elif len(order) == 2:
        (best, other), (first, second) = order, (_said(there[model]) for model in order)
        words = f"{best} wins, {first}, over {other}, {second}"
    else:
        losers = {a: [b for winner, b in beats if winner == a] for a in order}
        words = f"{'; '.join(f'{a} beats {_and(b)}' for a, b in losers.items() if b)}: {listed}"
    return Finding(measure.name, order, beats, True, f"{measure.name}: {words}")


def differ(first: np.ndarray, second: np.ndarray) -> bool:
    """Whether two means differ beyond the spread over seeds."""
    from scipy.stats import ttest_ind_from_stats

    if np.isclose(first.mean(), second.mean(), rtol=1e-6, atol=1e-12):  # but for rounding, the same
        return False
    if np.ptp(first) == 0 and np.ptp(second) == 0:  # no spread, as of counts: nothing to test
        return True
    moments = (moment for v in (first, second) for moment in (v.mean(), v.std(ddof=1), len(v)))
    return bool(ttest_ind_from_stats(*moments, equal_var=False).pvalue < LEVEL)


def summary(findings: Sequence[Finding], models: Sequence[str]) -> str:
    """Where each model is better or worse than the first, in one sentence."""
    if not any(f.decided for f in findings):
        return "not decided: one seed of a model says nothing of the spread, so compare more seeds"
    reference, others = models[0], models[1:]
    parts, won, lost = [], 0, 0
    for other in others:
        shared = [f for f in findings if f.decided and {reference, other} <= set(f.models)]
        better = [f.measure for f in shared if (other, reference) in f.beats]
        worse = [f.measure for f in shared if (reference, other) in f.beats]
        won, lost = won + bool(worse), lost + bool(better)
        words = [f"{word} on {_listed(names)}" for word, names in (("better", better), ("worse", worse)) if names]
        words.append(f"no different on {len(shared) - len(better) - len(worse)}")
        parts.append(f"{other} is {_and(words)}")
    if won and lost:
        head = "no one wins everywhere"
    elif won or lost:
        head = f"{reference} is never {'worse' if won else 'better'}"
    else:
        head = "a tie"
    return f"{head}: than {reference}, {'; '.join(parts)}"


def mean(values: Sequence[float]) -> float:
    """Mean over the seeds that have a value; NaN where none has."""
    there = np.asarray(values)[np.isfinite(values)]
    return float(there.mean()) if len(there) else math.nan


def spread(values: Sequence[float]) -> float:
    """Standard deviation over the seeds; NaN of fewer than two."""
    there = np.asarray(values)[np.isfinite(values)]
    return float(there.std(ddof=1)) if len(there) > 1 else math.nan


def written(value: float) -> str:
    """A number with three digits.

    Example:
        >>> written(1234.5), written(0.12345)
        ('1234', '0.123')
    """
    return f"{value:.0f}" if abs(value) >= 1000 else f"{value:.3g}"


def _said(values: np.ndarray) -> str:
    mean = written(float(values.mean()))
    return f"{mean} (spread {float(values.std(ddof=1)):.2g})" if len(values) > 1 else mean


def _listed(names: Sequence[str]) -> str:
    return f"{len(names)} ({', '.join(names)})"


def _and(words: Sequence[str]) -> str:
    return " and ".join([", ".join(words[:-1]), words[-1]] if len(words) > 1 else words)
