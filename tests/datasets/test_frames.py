import math

import numpy as np
import pytest
from scipy.ndimage import map_coordinates

from pyro_ldm.datasets.frames import add_noise, draw_dots, swirl


def test_a_dot_is_the_gaussian_at_its_position():
    position = np.random.default_rng(0).uniform(-3, 3, (2, 3, 2))
    frames = draw_dots(position, size=10, extent=3.0)
    assert frames.shape == (2, 3, 1, 10, 10) and frames.dtype == np.float32
    # Written out pixel by pixel: 2/3 of a unit apart, x to the right, y upwards.
    for n, t, i, j in np.ndindex(2, 3, 10, 10):
        x, y = -3 + 2 / 3 * j, 3 - 2 / 3 * i
        squared = ((position[n, t, 0] - x) ** 2 + (position[n, t, 1] - y) ** 2) / (2 / 3) ** 2
        assert frames[n, t, 0, i, j] == pytest.approx(math.exp(-squared / 2), abs=1e-6)


def test_the_centroid_is_the_position():
    position = np.random.default_rng(1).uniform(-1, 1, (5, 20, 2))
    frames = draw_dots(position, size=31, extent=3.0, width=2.0)[:, :, 0]
    grid = np.linspace(-3, 3, 31)
    mass = frames.sum((2, 3))
    centroid = np.stack([frames.sum(2) @ grid, -(frames.sum(3) @ grid)], -1) / mass[..., None]
    assert np.abs(centroid - position).max() < 1e-4
    assert np.allclose(mass, 2 * math.pi * 2**2, rtol=1e-4)


def test_noise_has_the_variance_of_its_frame():
    frames = np.zeros((600, 2, 1, 10, 10), np.float32)  # more series than are drawn at once
    variance = np.random.default_rng(0).uniform(0, 2, (600, 2))
    variance[7, 1] = 0
    add_noise(frames, variance, np.random.default_rng(1))
    assert (frames[7, 1] == 0).all()
    standard = frames[:, :, 0][variance > 0] / np.sqrt(variance[variance > 0])[:, None, None]
    assert standard.mean() == pytest.approx(0, abs=0.02) and standard.var() == pytest.approx(1, abs=0.02)
    assert np.unique(frames[variance > 0].ravel()[:5000]).size == 5000


@pytest.mark.parametrize("shape, strength, radius", [((10, 10), 10.0, 200.0), ((7, 12), -3.0, 15.0)])
def test_swirl_is_the_map_of_scikit_image(shape, strength, radius):
    frames = np.random.default_rng(0).normal(size=(4, *shape))
    height, width = shape
    y0, x0 = (height - 1) / 2, (width - 1) / 2
    rows, columns = np.meshgrid(np.arange(height), np.arange(width), indexing="ij")
    rho = np.sqrt((columns - x0) ** 2 + (rows - y0) ** 2)
    turn = strength * np.exp(-rho / (radius / 5 * np.log(2))) + np.arctan2(rows - y0, columns - x0)
    places = np.stack([y0 + rho * np.sin(turn), x0 + rho * np.cos(turn)])
    for frame, swirled in zip(frames, swirl(frames, strength=strength, radius=radius), strict=True):
        assert np.allclose(swirled, map_coordinates(frame, places, order=1, mode="mirror"), atol=1e-10)


def test_a_swirl_of_strength_zero_does_nothing():
    frames = np.random.default_rng(0).normal(size=(3, 2, 1, 6, 6))
    assert np.allclose(swirl(frames, strength=0.0), frames)
