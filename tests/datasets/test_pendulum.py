import math

import pytest
import torch
from scipy.special import ellipk

from pyro_ldm.datasets import DataError, pendulum


def test_energy_is_kept_and_bounded():
    truth = pendulum().truth.double()
    energy = truth[..., 1] ** 2 / 2 - truth[..., 0].cos()
    assert (energy - energy[:, :1]).abs().max() < 1e-3
    assert energy.max() <= -math.cos(2.5) + 1e-3
    assert truth[..., 0].abs().max() < 2.51 and truth[..., 0].abs().max() > 2.3


def test_period_is_that_of_the_elliptic_integral():
    truth = pendulum(num=20, num_steps=600, dt=0.05).truth.double()
    for angle, rate in zip(*truth.unbind(-1), strict=True):
        upward = ((angle[:-1] < 0) & (angle[1:] >= 0)).nonzero().flatten()
        crossings = upward + angle[upward] / (angle[upward] - angle[upward + 1])
        amplitude = math.acos(float(angle[0].cos() - rate[0] ** 2 / 2))
        assert float(crossings.diff().mean()) * 0.05 == pytest.approx(
            4 * ellipk(math.sin(amplitude / 2) ** 2), rel=1e-3
        )


def test_the_bob_is_where_the_angle_says():
    data = pendulum(num=20, noise=0.0)
    frames, grid = data.x[:, :, 0].double(), torch.linspace(-1.5, 1.5, 16)
    mass = frames.sum((2, 3))
    across, up = (frames.sum(2) @ grid) / mass, -(frames.sum(3) @ grid) / mass
    assert torch.allclose(across, data.truth[..., 0].double().sin(), atol=0.02)
    assert torch.allclose(up, -data.truth[..., 0].double().cos(), atol=0.02)
    noisy = pendulum(num=20, noise=0.2)
    assert torch.equal(noisy.truth, data.truth)
    assert (noisy.x - data.x).double().std() == pytest.approx(0.2, rel=0.01)


def test_seed():
    assert torch.equal(pendulum(num=5, seed=1).x, pendulum(num=5, seed=1).x)
    assert not torch.equal(pendulum(num=5, seed=1).truth, pendulum(num=5, seed=2).truth)


@pytest.mark.parametrize("bad", [{"num": 1}, {"num_steps": 0}, {"dt": 0.0}, {"amplitude": 3.2}, {"noise": -0.1}])
def test_bad_parameters(bad):
    with pytest.raises(DataError, match="give at least"):
        pendulum(**bad)
