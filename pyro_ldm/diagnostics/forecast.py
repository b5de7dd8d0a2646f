r"""Skill: do forecasts beat the assumption that nothing changes?"""

from typing import NamedTuple

import numpy as np

from pyro_ldm.diagnostics.rows import Array, as_array
from pyro_ldm.diagnostics.series import as_mask, counted


class ForecastSkill(NamedTuple):
    """What :func:`forecast_skill` found, per horizon.

    Args:
        skill: 1 - mse / reference_mse, (H,); 1 is perfect, 0 as good as the reference, below 0 worse.
        mse: Mean squared error of the forecast, summed over coordinates, in squared units of the value, (H,).
        reference_mse: The same of the reference, (H,).
    """

    skill: np.ndarray
    mse: np.ndarray
    reference_mse: np.ndarray


def forecast_skill(forecast: Array, value: Array, reference: Array, *, mask: Array | None = None) -> ForecastSkill:
    r"""Share of persistence's squared error that a forecast removes, for every horizon.

    .. math:: 1 - \frac{\sum_n \lVert s_{nh} - \hat s_{nh} \rVert^2}{\sum_n \lVert s_{nh} - s_{n0} \rVert^2}

    Persistence repeats the last observed value at all horizons. It is hard to beat one step ahead in slow series, and
    far ahead in stationary ones the mean beats it, with a skill of 0.5: pass the mean as reference to see more.

    Coordinates add up, so that those of a large scale weigh more; pass them standardised, or one by one. Forecasts of
    latents go through :meth:`AffineMap.loc` first.

    Args:
        forecast: Predicted values, or means, 1 to H steps ahead.
        value: What came true.
        reference: The last observed values, repeated over the horizons; or another forecast to compare with.
        mask: Boolean, True where a step counts; the numbers of the others may be NaN.

    Shape:
        forecast and value (N, H, K), reference (N, K) or (N, H, K), mask (N, H), to a :class:`ForecastSkill`.

    Raises:
        ValueError: If the shapes do not fit, a number that counts is not finite, a horizon has no step that counts, or
            the reference has no error at one.

    References:
        Murphy (1988), Skill scores based on the mean square error and their relationships to the correlation
        coefficient, https://doi.org/10.1175/1520-0493(1988)116%3C2417:SSBOTM%3E2.0.CO;2.

    Example:
        >>> value = np.array([[[1.0], [2.0]], [[3.0], [5.0]]])      # 2 series, 2 steps ahead
        >>> forecast_skill(value - 1, value, np.array([[0.0], [1.0]])).skill.round(2)
        array([0.6, 0.9])
    """
    predicted, truth, other = as_array(forecast), as_array(value), as_array(reference)
    if truth.ndim != 3 or truth.size == 0 or predicted.shape != truth.shape:
        raise ValueError(
            f"forecast {predicted.shape} and value {truth.shape} must both be (N, H, K), not empty: pass the same "
            "series and horizons in both; one coordinate is values[..., None]"
        )
    if other.shape == truth[:, 0].shape:
        other = other[:, None]
    elif other.shape != truth.shape:
        raise ValueError(
            f"reference has shape {other.shape}: pass the last observed values {truth[:, 0].shape}, or a forecast "
            f"{truth.shape}"
        )
    keep = as_mask(mask, truth.shape[:2])
    count = keep.sum(axis=0)
    if not count.all():
        raise ValueError(
            f"no step counts at horizon {_ahead(count == 0)}: pass more series, or forecasts of the horizons observed"
        )
    observed = counted(truth, keep, name="value")
    mse = []
    for values, name in ((predicted, "forecast"), (np.broadcast_to(other, truth.shape), "reference")):
        error = np.zeros(keep.shape)
        error[keep] = ((counted(values, keep, name=name) - observed) ** 2).sum(axis=-1)
        mse.append(error.sum(axis=0) / count)
    if not mse[1].all():
        raise ValueError(
            f"reference is exact at horizon {_ahead(mse[1] == 0)}, where no skill is defined: leave it out, or pass "
            "the last observed values before the forecast, not the values themselves"
        )
    return ForecastSkill(skill=1 - mse[0] / mse[1], mse=mse[0], reference_mse=mse[1])


def _ahead(wrong: np.ndarray) -> str:
    return ", ".join(str(index + 1) for index in np.flatnonzero(wrong))
