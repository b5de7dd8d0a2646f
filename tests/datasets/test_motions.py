import math

import numpy as np
import pytest

from pyro_ldm.datasets import motions


def rng():
    return np.random.default_rng(0)


def turns(position):
    """Angle between a step and the next, from -pi to pi."""
    z = position[..., 0] + 1j * position[..., 1]
    return np.angle(z[:, 1:] / z[:, :-1])


def test_circle():
    position = motions.circle(rng(), 3000, 50).position
    assert np.allclose(np.hypot(*np.moveaxis(position, -1, 0)), 1)
    steps = turns(position)
    assert steps.mean() == pytest.approx(math.pi / 10, abs=0.004)  # 20 a turn
    # Noise of standard deviation s on the unit circle turns it by arg(1 + s (n + i m)): by quadrature, s^2 = .05.
    nodes, weights = np.polynomial.hermite_e.hermegauss(60)
    angle = np.arctan2(0.05**0.5 * nodes[:, None], 1 + 0.05**0.5 * nodes)
    expected = (weights[:, None] * weights * angle**2).sum() / (2 * math.pi)
    assert (steps - math.pi / 10).var() == pytest.approx(expected, rel=0.02)
    start = np.arctan2(position[:, 0, 1], position[:, 0, 0])
    assert np.histogram(start, 6, (-math.pi, math.pi))[0] == pytest.approx(500, abs=85)  # 4 standard errors


def test_jumps():
    position, truth, labels = motions.jumps(rng(), 2000, 100)
    assert truth is None and labels.dtype == np.int64 and (labels[:, 0] == 0).all()
    assert labels[:, 1:].mean() == pytest.approx(0.01, abs=0.001)
    # The label stands at the step where the dot has landed, 135 degrees ahead of where it was to be.
    off = np.abs(np.angle(np.exp(1j * (turns(position) - math.pi / 10 - 0.75 * math.pi * labels[:, 1:]))))
    assert off.mean() < 0.2 and off.max() < 2
    assert np.median(turns(position)[labels[:, 1:] == 1]) == pytest.approx(math.pi * 0.85, abs=0.05)


def test_figure_eight():
    x, y = np.moveaxis(motions.figure_eight(rng(), 10, 41).position, -1, 0)
    assert np.allclose(y**2, x**2 * (1 - x**2))
    assert np.allclose(x[:, 20:], x[:, :21]) and np.allclose(y[:, 20:], y[:, :21])
    assert np.allclose(x[:, 10:], -x[:, :31]) and np.allclose(y[:, 10:], y[:, :31])  # half a period on


def test_square():
    position, phase, labels = motions.square(rng(), 10, 41)
    assert labels is None
    assert np.allclose(np.abs(position).max(-1), 1)
    assert np.allclose(np.hypot(*np.moveaxis(phase, -1, 0)), 1)
    assert np.allclose(turns(phase), 2 * math.pi / 20)
    assert np.allclose(position[:, 20:], position[:, :21])
    # 0.4 a step along the edges, around a corner too.
    moved = np.abs(np.diff(position, axis=1))
    assert np.allclose(moved.sum(-1), 0.4)


def test_on_square_by_its_corners():
    angle = np.array([0, 1, 2, 3, 4, 5, 6, 7]) * math.pi / 4
    expected = [(1, 0), (1, 1), (0, 1), (-1, 1), (-1, 0), (-1, -1), (0, -1), (1, -1)]
    assert np.allclose(motions.on_square(np.stack([np.cos(angle), np.sin(angle)], -1)), expected)


def test_wobbly_follows_the_flow_between_its_noise():
    position = motions.wobbly(rng(), 2000, 100).position
    radius = np.hypot(*np.moveaxis(position, -1, 0))
    assert np.allclose(radius[:, 0], 1) and 2.45 < radius.max() <= 2.5
    # The exact flow: r + a sin(k (angle + 3 pi / 8)) between the two ends, and the angle by .3. Where the dot is far
    # from the edge the rest is the noise, of variance .1 in either coordinate.
    angle = np.arctan2(position[..., 1], position[..., 0])
    rise = 0.5 * (np.sin(4 * (angle + 0.3 + 3 * math.pi / 8)) - np.sin(4 * (angle + 3 * math.pi / 8)))
    there = np.stack([(radius + rise) * np.cos(angle + 0.3), (radius + rise) * np.sin(angle + 0.3)], -1)
    inside = np.hypot(*np.moveaxis(there, -1, 0))[:, :-1] < 1
    rest = (position[:, 1:] - there[:, :-1])[inside]
    assert rest.mean(0) == pytest.approx([0, 0], abs=0.005)
    assert np.cov(rest.T) == pytest.approx(np.diag([0.1, 0.1]), abs=0.002)
