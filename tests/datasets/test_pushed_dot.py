import pytest
import torch

from pyro_ldm.datasets import DataError, pushed_dot


def test_actions_and_the_spring_alone_move_the_dot():
    data = pushed_dot(num=50)
    assert data.x.shape == (50, 20, 1, 12, 12) and data.inputs.shape == data.truth.shape == (50, 20, 2)
    position, actions = data.truth, data.inputs
    assert torch.allclose(position[:, 1:], 0.9 * position[:, :-1] + actions[:, 1:], atol=1e-6)
    assert torch.allclose(position[:, 0], actions[:, 0] / 0.19**0.5, atol=1e-6)


def test_it_is_stationary():
    data = pushed_dot(num=4000, num_steps=6)
    # 0.4 / sqrt(1 - 0.81) = 0.918; 8000 numbers a step have a standard error of 0.8 %.
    assert (data.truth.std((0, 2)) - 0.9177).abs().max() < 0.035
    assert data.inputs.std() == pytest.approx(0.4, rel=0.02)


def test_the_dot_is_where_the_position_says():
    frames = pushed_dot(num=50, push=0.2, distraction=0.0, noise=0.0)
    pixels, grid = frames.x[:, :, 0].double(), torch.linspace(-3, 3, 12)
    mass = pixels.sum((2, 3))
    centroid = torch.stack([pixels.sum(2) @ grid, -(pixels.sum(3) @ grid)], -1) / mass[..., None]
    assert (centroid - frames.truth).abs().max() < 0.02


def test_the_blur_and_the_noise_leave_the_position_alone():
    plain, blurred, noisy = (
        pushed_dot(num=100, distraction=b, noise=s) for b, s in ((0.0, 0.0), (0.5, 0.0), (0.0, 0.2))
    )
    assert torch.equal(plain.truth, blurred.truth) and torch.equal(plain.truth, noisy.truth)
    assert (noisy.x - plain.x).std() == pytest.approx(0.2, rel=0.01)
    blur = (blurred.x - plain.x).squeeze(2).double()
    # One of peak 0.5 within the frame: its mass is 0.5 * 2 pi * 2^2 = 12.6 where no edge cuts it.
    assert blur.amax((2, 3)).min() > 0.44 and blur.max() <= 0.5 + 1e-6
    assert 9 < blur.sum((2, 3)).mean() < 12.6
    place = blur.sum(2) @ torch.linspace(-3, 3, 12)
    assert torch.corrcoef(torch.stack([place[:, 1:].flatten(), place[:, :-1].flatten()]))[0, 1].abs() < 0.1


def test_seed():
    state = torch.get_rng_state()
    first, again, other = (pushed_dot(num=5, seed=s) for s in (1, 1, 2))
    assert torch.equal(torch.get_rng_state(), state)
    assert torch.equal(first.x, again.x) and torch.equal(first.inputs, again.inputs)
    assert not torch.equal(first.truth, other.truth)


def test_parts_keep_their_actions():
    for part in pushed_dot(num=20).split():
        assert torch.allclose(part.truth[:, 1:], 0.9 * part.truth[:, :-1] + part.inputs[:, 1:], atol=1e-6)


@pytest.mark.parametrize(
    "bad", [{"num": 1}, {"num_steps": 0}, {"push": 0.0}, {"distraction": -1.0}, {"noise": float("nan")}]
)
def test_bad_parameters(bad):
    with pytest.raises(DataError, match="give at least 2 series and 1 step"):
        pushed_dot(**bad)
