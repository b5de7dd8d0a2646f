import numpy as np
import pytest
import torch
from scipy.integrate import solve_ivp

from pyro_ldm.datasets import DataError, lorenz


def test_states_follow_the_equations():
    truth = lorenz(num=3, num_steps=11).truth.double()

    def flow(_, state):
        a, b, c = state
        return [10 * (b - a), a * (28 - c) - b, a * b - 8 * c / 3]

    for path in truth:
        exact = solve_ivp(flow, (0, 0.5), path[0].numpy(), t_eval=np.arange(11) * 0.05, rtol=1e-10, atol=1e-10).y.T
        assert np.allclose(path, exact, atol=0.01)


def test_states_are_on_the_attractor():
    truth = lorenz().truth.double()
    a, b, c = (truth[..., i] for i in range(3))
    assert c.mean() == pytest.approx(23.55, abs=0.3)
    # No moment has a trend there: E[(a^2)'] = 20 E[a b - a^2] = 0 and E[c'] = E[a b] - 8/3 E[c] = 0.
    assert (a * b).mean() == pytest.approx(float((a**2).mean()), rel=0.03)
    assert (a * b).mean() == pytest.approx(8 / 3 * float(c.mean()), rel=0.03)
    assert truth[:, 0].std(0).min() > 5  # each series begins elsewhere


def test_the_observation_is_a_fixed_map_and_noise():
    clean, noisy, other = (
        lorenz(num=50, **kw) for kw in ({"noise": 0.0}, {"noise": 0.1}, {"noise": 0, "world_seed": 1})
    )
    assert torch.equal(clean.truth, noisy.truth) and torch.equal(clean.truth, other.truth)
    assert (noisy.x - clean.x).double().std() == pytest.approx(0.1, rel=0.02)
    assert (clean.x - other.x).abs().max() > 0.5
    # Smooth and invertible: three numbers wide, yet not linear in the state.
    x, truth = clean.x.double().flatten(0, 1), clean.truth.double().flatten(0, 1)
    far = torch.cdist(truth[::20], truth[::20]) > 8
    assert torch.cdist(x[::20], x[::20])[far].min() > 0.2
    inputs = torch.cat([truth, torch.ones(len(truth), 1)], 1)
    rest = x - inputs @ torch.linalg.lstsq(inputs, x).solution
    assert 0.02 < rest.var(0).sum() / x.var(0).sum() < 0.5


def test_seed_and_shape():
    assert torch.equal(lorenz(num=5, seed=1).x, lorenz(num=5, seed=1).x)
    assert not torch.equal(lorenz(num=5, seed=1).x, lorenz(num=5, seed=2).x)
    assert lorenz(num=5, num_steps=7, observed_dim=3).x.shape == (5, 7, 3)


@pytest.mark.parametrize("bad", [{"num": 1}, {"num_steps": 0}, {"dt": 0.0}, {"observed_dim": 2}, {"noise": -1.0}])
def test_bad_parameters(bad):
    with pytest.raises(DataError, match="give at least"):
        lorenz(**bad)
