from typing import get_args, get_type_hints

import numpy as np
import pytest
import torch

from pyro_ldm.datasets import DataError, dots, load
from pyro_ldm.datasets.frames import draw_dots, swirl
from pyro_ldm.datasets.motions import on_square

WORLDS = get_args(get_type_hints(dots)["world"])


def noise_of(data):
    """What is left of the pixels without the dot."""
    position = data.truth.double().numpy()
    position = on_square(position) if data.name == "dots:square" else position
    return data.x[:, :, 0].double() - torch.as_tensor(draw_dots(position, size=10, extent=3.0))[:, :, 0]


def test_worlds():
    assert WORLDS == ("circle", "figure_eight", "square", "jumps", "wobbly")


@pytest.mark.parametrize("world", WORLDS)
def test_every_world(world):
    state, numpy_state = torch.get_rng_state(), np.random.get_state()[1].copy()
    data = dots(world, num=20, num_steps=30)
    assert torch.equal(torch.get_rng_state(), state) and (np.random.get_state()[1] == numpy_state).all()
    assert data.x.shape == (20, 30, 1, 10, 10) and data.truth.shape == (20, 30, 2)
    assert data.x.dtype == data.truth.dtype == torch.float32 and data.name == f"dots:{world}"
    assert (data.y is not None) == (world == "jumps")
    again, other = dots(world, num=20, num_steps=30), dots(world, num=20, num_steps=30, seed=1)
    assert torch.equal(data.x, again.x) and torch.equal(data.truth, again.truth)
    assert not torch.equal(data.truth, other.truth) and not torch.equal(data.x, other.x)
    assert dots(world, num=2, num_steps=1).x.shape == (2, 1, 1, 10, 10)


@pytest.mark.parametrize("world, variance", [("figure_eight", 0.01), ("square", 0.1), ("jumps", 0.15)])
def test_noise_of_one_variance(world, variance):
    noise = noise_of(dots(world, num=200))
    assert noise.mean() == pytest.approx(0, abs=0.002)
    assert noise.var() == pytest.approx(variance, rel=0.01)
    assert noise.var((2, 3)).std() == pytest.approx(variance * (2 / 99) ** 0.5, rel=0.05)  # no more than of 100 pixels


def test_the_noise_of_circle_varies_from_frame_to_frame():
    variance = noise_of(dots("circle", num=300)).var((2, 3))
    # max(0, E - 0.09) with E exponential of mean 0.3: zero with probability 1 - exp(-0.3), on average 0.3 exp(-0.3).
    assert (variance < 1e-9).double().mean() == pytest.approx(0.2592, abs=0.01)
    assert variance.mean() == pytest.approx(0.2222, rel=0.03)
    neighbors = torch.stack([variance[:, 1:].flatten(), variance[:, :-1].flatten()])
    assert torch.corrcoef(neighbors)[0, 1].abs() < 0.03


def test_wobbly_is_swirled_and_free_of_noise():
    data = dots("wobbly", num=20)
    drawn = draw_dots(data.truth.numpy(), size=10, extent=3.0)
    assert torch.allclose(data.x, torch.as_tensor(swirl(drawn)), atol=1e-5)
    assert (data.x - torch.as_tensor(drawn)).abs().max() > 0.5


def test_the_labels_of_jumps():
    data = dots("jumps", num=300)
    assert data.y.shape == (300, 100) and data.y.dtype == torch.int64
    moved = (data.truth[:, 1:] - data.truth[:, :-1]).norm(dim=-1)
    assert moved[data.y[:, 1:] == 1].mean() > 1.7 and moved[data.y[:, 1:] == 0].mean() < 0.5


def test_a_part_keeps_its_labels():
    train, test = load("dots:jumps").split()
    assert train.y.shape == (800, 100) and test.truth.shape == (200, 100, 2)


@pytest.mark.parametrize(
    "settings, message",
    [
        ({"world": "square_dance"}, "no world 'square_dance': give one of circle, figure_eight, square, jumps, wobbly"),
        ({"num": 1}, "1 series of 100 steps: give at least 2 series"),
        ({"num_steps": 0}, "1000 series of 0 steps: give at least 2 series and 1 step"),
    ],
)
def test_bad_parameters(settings, message):
    with pytest.raises(DataError, match=message):
        dots(**settings)
