r"""Events: does a score per step, such as a filter's surprise, rise where something happens?"""

from typing import NamedTuple

import numpy as np

from pyro_ldm.diagnostics.rows import Array, as_array
from pyro_ldm.diagnostics.series import as_mask, counted


class Detection(NamedTuple):
    """What :func:`detection_auc` found.

    Args:
        auc: Area under the ROC curve, in [0, 1]: the probability that an event scores above a step without; 0.5 is
            chance.
        fpr: False positive rates, ascending, the horizontal axis of the curve.
        tpr: True positive rates, its vertical axis.
        thresholds: Scores from which on a step is called an event, descending; the first is infinite.
    """

    auc: float
    fpr: np.ndarray
    tpr: np.ndarray
    thresholds: np.ndarray


def detection_auc(score: Array, events: Array, *, mask: Array | None = None, tolerance: int = 0) -> Detection:
    r"""ROC curve of scores per step against events, found at once or up to ``tolerance`` steps late.

    .. math:: \tilde a_t = \max_{0 \le k \le \text{tolerance}} a_{t + k}

    scores step t, with or without an event, so that chance stays at 0.5. Steps without an event that are within
    ``tolerance`` of one, before or after, are left out: their window may hold the response to it. At the end of a
    series the window is what is left of it.

    Args:
        score: Higher where an event is more likely; of log-densities pass the negative.
        events: 1 where an event happens, 0 elsewhere.
        mask: Boolean, True where a step counts; the numbers of the others may be NaN.
        tolerance: Steps that the response may be late, >= 0.

    Shape:
        score, events and mask (N, T), to a :class:`Detection`.

    Raises:
        ValueError: If the shapes do not fit, a score that counts is not finite, events are not 0 or 1, tolerance is
            negative, or no event, or nothing but events, is left to count.

    References:
        Fawcett (2006), An introduction to ROC analysis, https://doi.org/10.1016/j.patrec.2005.10.010.

    Example:
        >>> events = np.array([[0, 0, 1, 0, 0, 0, 0, 1, 0]])
        >>> late = np.array([[0.1, 0.2, 0.0, 2.0, 0.3, 0.1, 0.2, 0.15, 3.0]])
        >>> round(detection_auc(late, events).auc, 2), detection_auc(late, events, tolerance=1).auc
        (0.14, 1.0)
    """
    from sklearn.metrics import auc, roc_curve

    values, happens = as_array(score), as_array(events)
    if values.ndim != 2 or values.shape != happens.shape:
        raise ValueError(
            f"score {values.shape} and events {happens.shape} must both be (N, T): pass the same steps in both, and "
            "one series as values[None]"
        )
    if tolerance < 0 or tolerance != int(tolerance):
        raise ValueError(f"tolerance must be a number of steps >= 0, got {tolerance}: for none pass 0")
    keep = as_mask(mask, values.shape)
    counted(values, keep, name="score")
    if not np.isin(happens[keep], (0, 1)).all():
        raise ValueError("events must be 0 or 1 where they count: pass times of events as an indicator per step")
    happens = happens == 1
    values = np.where(keep, values, -np.inf)  # a step that does not count is no response either
    peak = _window_max(values, after=int(tolerance))
    near = _window_max(_window_max(happens, after=int(tolerance))[:, ::-1], after=int(tolerance))[:, ::-1]
    keep = keep & (happens | ~near)
    if not happens[keep].any() or happens[keep].all():
        raise ValueError(
            f"{happens[keep].sum()} events and {(~happens[keep]).sum()} steps without are left to count, at least one "
            "of both is needed: pass more series, or a smaller tolerance"
        )
    fpr, tpr, thresholds = roc_curve(happens[keep], peak[keep])
    return Detection(auc=float(auc(fpr, tpr)), fpr=fpr, tpr=tpr, thresholds=thresholds)


def _window_max(values: np.ndarray, *, after: int) -> np.ndarray:
    """The largest of each entry and the ``after`` next ones of its row, as far as there are any."""
    largest = values.copy()
    for lag in range(1, min(after, values.shape[1] - 1) + 1):
        np.maximum(largest[:, :-lag], values[:, lag:], out=largest[:, :-lag])
    return largest
