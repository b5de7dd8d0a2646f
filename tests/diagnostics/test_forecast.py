import numpy as np
import pytest
import torch

from pyro_ldm.diagnostics import forecast_skill


def test_skill_by_hand():
    # Two series, two steps, errors of the forecast 1, 1 | 2, 0 and of persistence 2, 4 | 2, 2 (one coordinate).
    value = np.array([[[2.0], [4.0]], [[3.0], [3.0]]])
    forecast = value - np.array([[[1.0], [1.0]], [[2.0], [0.0]]])
    found = forecast_skill(forecast, value, np.array([[0.0], [1.0]]))
    assert found.mse.tolist() == [2.5, 0.5]
    assert found.reference_mse.tolist() == [4.0, 10.0]
    assert found.skill.tolist() == [1 - 2.5 / 4, 1 - 0.5 / 10]


def test_skill_of_the_best_forecast_of_an_autoregression():
    # s' = rho s + noise, variance 1: errors 1 - rho^2h of the best forecast and 2 (1 - rho^h) of persistence, so that
    # the skill is 1 - (1 + rho^h) / 2.
    rng = np.random.default_rng(0)
    rho, last = 0.8, rng.normal(size=(20_000, 2))
    value = [last]
    for _ in range(5):
        value.append(rho * value[-1] + np.sqrt(1 - rho**2) * rng.normal(size=last.shape))
    power = rho ** np.arange(1, 6)
    found = forecast_skill(power[:, None] * last[:, None], np.stack(value[1:], axis=1), last)
    np.testing.assert_allclose(found.skill, 1 - (1 + power) / 2, atol=0.01)
    np.testing.assert_allclose(found.mse, 2 * (1 - power**2), rtol=0.03)


def test_skill_of_persistence_itself_is_zero_and_of_worse_negative():
    rng = np.random.default_rng(0)
    last, value = rng.normal(size=(10, 2)), rng.normal(size=(10, 3, 2))
    persistence = np.repeat(last[:, None], 3, axis=1)
    assert forecast_skill(persistence, value, last).skill.tolist() == [0.0, 0.0, 0.0]
    assert forecast_skill(value + 2 * (persistence - value), value, last).skill == pytest.approx(-3.0)
    assert forecast_skill(value, value, last).skill.tolist() == [1.0, 1.0, 1.0]


def test_reference_may_be_another_forecast():
    rng = np.random.default_rng(0)
    value = rng.normal(size=(10, 3, 2))
    np.testing.assert_allclose(forecast_skill(value + 1, value, value - 2).skill, 0.75)


def test_masked_steps_are_left_out_and_tensors_give_the_same():
    rng = np.random.default_rng(0)
    forecast, value = rng.normal(size=(2, 30, 4, 2))
    last, mask = rng.normal(size=(30, 2)), rng.uniform(size=(30, 4)) < 0.6
    mask[7] = False
    mse, reference_mse = (
        np.array([2 * (error[mask[:, h], h] ** 2).mean() for h in range(4)])  # of two coordinates, added
        for error in (forecast - value, last[:, None] - value)
    )
    forecast[~mask], value[~mask], last[7] = np.nan, np.inf, np.nan
    expected = forecast_skill(forecast, value, last, mask=mask)
    np.testing.assert_allclose(expected.mse, mse, rtol=1e-12)
    np.testing.assert_allclose(expected.skill, 1 - mse / reference_mse, rtol=1e-12)
    tensors = [torch.tensor(array, requires_grad=True) for array in (forecast, value, last)]
    found = forecast_skill(*tensors, mask=torch.tensor(mask))
    np.testing.assert_array_equal(found.skill, expected.skill)


VALUE = np.random.default_rng(0).normal(size=(5, 3, 2))


@pytest.mark.parametrize(
    "forecast, value, reference, mask, message",
    [
        (VALUE[:4], VALUE, VALUE[:, 0], None, r"forecast \(4, 3, 2\) and value \(5, 3, 2\) must both be \(N, H, K\)"),
        (VALUE[..., 0], VALUE[..., 0], VALUE[:, 0, 0], None, r"must both be \(N, H, K\).*values\[..., None\]"),
        (VALUE, VALUE, VALUE[0], None, r"reference has shape \(3, 2\): pass the last observed values \(5, 2\), or"),
        (VALUE * np.nan, VALUE, VALUE[:, 0] + 1, None, "forecast has NaN"),
        (VALUE, VALUE, VALUE[:, 0] * np.nan, None, "reference has NaN"),
        (VALUE, VALUE, VALUE[:, 0], None, "reference is exact at horizon 1, where no skill is defined"),
        (
            VALUE,
            VALUE,
            VALUE[:, 0] + 1,
            np.arange(3)[None].repeat(5, 0) < 1,
            "no step counts at horizon 2, 3: pass more",
        ),
        (VALUE, VALUE, VALUE[:, 0] + 1, np.ones((5, 3, 2), bool), "mask has shape"),
    ],
)
def test_errors_name_cause_and_remedy(forecast, value, reference, mask, message):
    with pytest.raises(ValueError, match=message):
        forecast_skill(forecast, value, reference, mask=mask)
