import numpy as np
import pytest
import torch

from pyro_ldm.datasets import DataError, signal_and_nuisance
from pyro_ldm.datasets.signal_and_nuisance import _world


def r2(inputs, targets):
    """Of the best affine map, by its normal equations."""
    inputs = torch.cat([inputs, torch.ones(len(inputs), 1)], 1)
    rest = targets - inputs @ torch.linalg.lstsq(inputs, targets).solution
    return 1 - rest.var(0) / targets.var(0)


def test_the_signal_is_stationary_and_turns():
    truth = signal_and_nuisance(num=20_000, num_steps=8).truth.double()
    for t in (0, 3, 7):
        assert (truth[:, t].T @ truth[:, t] / 20_000 - torch.eye(5)).abs().max() < 0.04
    now, then = truth[:, :-1].flatten(0, 1), truth[:, 1:].flatten(0, 1)
    turn = now.T @ then / len(now) / 0.9
    assert torch.allclose(turn @ turn.T, torch.eye(5), atol=0.03)  # cov(s_t, s_{t+1}) = .9 Q
    assert torch.linalg.det(turn) == pytest.approx(1, abs=0.03)
    assert (turn - torch.eye(5)).abs().max() > 0.5
    noise = then - 0.9 * now @ turn
    assert torch.cov(noise.T).diagonal() == pytest.approx([0.19] * 5, rel=0.03)


def test_the_world_has_a_seed_of_its_own():
    one, two = (signal_and_nuisance(num=4000, seed=seed).x.double().flatten(0, 1) for seed in (0, 1))
    other = signal_and_nuisance(num=4000, world_seed=1).x.double().flatten(0, 1)
    assert torch.allclose(one.mean(0), two.mean(0), atol=0.03)
    assert torch.allclose(torch.cov(one.T), torch.cov(two.T), atol=0.03)
    assert (one.mean(0) - other.mean(0)).abs().max() > 0.1
    # The same latents in both worlds: only what is made of them differs.
    steps = {"num": 50, "num_steps": 1}
    assert torch.equal(signal_and_nuisance(**steps).truth, signal_and_nuisance(**steps, world_seed=1).truth)


def test_seed_leaves_the_global_state_alone():
    state = np.random.get_state()[1].copy()
    first = signal_and_nuisance(num=20, seed=1)
    assert (np.random.get_state()[1] == state).all()
    assert torch.equal(first.x, signal_and_nuisance(num=20, seed=1).x)
    assert not torch.equal(first.x, signal_and_nuisance(num=20, seed=2).x)


def test_the_network_by_hand():
    rotation, network = _world(np.random.default_rng(3), 4, 8)
    assert np.allclose(rotation @ rotation.T, np.eye(4), atol=1e-6)
    # Drawn again in the same order: the rotation, then weight and bias of the three layers.
    rng = np.random.default_rng(3)

    def orthonormal(size_in, size_out):
        q, r = np.linalg.qr(rng.standard_normal((size_out, size_in)))
        return q @ np.diag(np.sign(np.diag(r)))

    orthonormal(4, 4)
    x = np.random.default_rng(0).normal(size=(6, 8))
    expected = x.T
    for size_in, size_out in ((8, 25), (25, 50), (50, 100)):
        weight = orthonormal(size_in, size_out)
        assert np.allclose(weight.T @ weight, np.eye(size_in))
        if size_in > 8:
            expected = np.maximum(expected, 0.2 * expected)
        expected = weight @ expected + 0.1 * rng.standard_normal(size_out, dtype=np.float32)[:, None]
    assert np.allclose(network(x), expected.T, atol=1e-6)


@pytest.mark.parametrize("latent_dim, widths", [(8, (25, 50)), (40, (40, 50)), (80, (80, 80))])
def test_the_network_is_injective(latent_dim, widths):
    _, network = _world(np.random.default_rng(0), latent_dim // 2, latent_dim)
    x = np.random.default_rng(1).normal(size=(200, latent_dim))
    # An orthonormal layer keeps lengths and LeakyReLU shrinks them to a fifth at most, so that two keep 1 / 25.
    ratio = np.linalg.norm(network(x[:100]) - network(x[100:]), axis=1) / np.linalg.norm(x[:100] - x[100:], axis=1)
    assert (ratio > 0.04).all() and (ratio <= 1 + 1e-6).all()
    assert np.linalg.matrix_rank(network(x) - network(x).mean(0)) >= max(widths[0], latent_dim)


def test_a_linear_map_recovers_much_of_the_signal_and_the_nuisance_is_there():
    train = signal_and_nuisance(num=4000)
    linear = r2(train.x.double().flatten(0, 1), train.truth.double().flatten(0, 1))
    assert 0.85 < linear.mean() < 0.99
    bare = signal_and_nuisance(nuisance_dim=0, num=4000)
    assert torch.linalg.matrix_rank(torch.cov(bare.x.double().flatten(0, 1).T)) <= 50
    assert signal_and_nuisance(5, nuisance_dim=15, num=2).x.shape == (2, 5, 100)


def test_x_is_the_network_of_both():
    data = signal_and_nuisance(3, nuisance_dim=4, num=50, seed=2, world_seed=7)
    _, network = _world(np.random.default_rng([0, 7]), 3, 7)
    latents = torch.cat([data.truth, data.nuisance], -1).numpy()
    assert data.nuisance.shape == (50, 5, 4) and np.allclose(network(latents), data.x.numpy(), atol=1e-6)
    assert signal_and_nuisance(nuisance_dim=0, num=5).nuisance is None
    for part in data.split((0.4, 0.6)):
        assert np.allclose(network(torch.cat([part.truth, part.nuisance], -1).numpy()), part.x.numpy(), atol=1e-6)


@pytest.mark.parametrize(
    "bad", [{"signal_dim": 51}, {"signal_dim": 0}, {"nuisance_dim": -1}, {"num": 1}, {"num_steps": 0}, {"rho": 1.1}]
)
def test_bad_parameters(bad):
    with pytest.raises(DataError, match="give at least"):
        signal_and_nuisance(**bad)
