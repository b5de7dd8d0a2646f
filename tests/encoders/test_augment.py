"""Augmentations: batched, a draw of its own for each sample, seeded by torch."""

import math

import pytest
import torch
from torch import nn

from pyro_ldm.encoders import Affine, ColorJitter, Cutout, Flip, Mask, Noise, TwoViews

ALL = [Affine(), ColorJitter(), Cutout(), Flip(), Mask(), Noise()]


@pytest.mark.parametrize("augmentation", ALL, ids=lambda a: type(a).__name__)
class TestEvery:
    def test_keeps_shape_and_dtype_and_differs_by_sample(self, augmentation):
        x = torch.rand(1, 3, 8, 8, dtype=torch.float32).expand(64, -1, -1, -1)
        y = augmentation(x)
        assert y.shape == x.shape and y.dtype == x.dtype
        assert len(torch.unique(y.flatten(1), dim=0)) > 1

    def test_is_reproducible_by_seed(self, augmentation):
        x = torch.rand(8, 1, 8, 8)
        draws = []
        for _ in range(2):
            torch.manual_seed(7)
            draws.append(augmentation(x))
        assert torch.equal(*draws)

    def test_is_reproducible_by_a_generator_of_its_own(self, augmentation):
        x, state = torch.rand(8, 1, 8, 8), torch.get_rng_state()
        own = [type(augmentation)(generator=torch.Generator().manual_seed(7)) for _ in range(2)]
        first, second = own[0](x), own[1](x)
        assert torch.equal(first, second) and not torch.equal(first, own[0](x))
        assert torch.equal(torch.get_rng_state(), state)


def test_affine_without_change_is_the_identity():
    x = torch.rand(4, 1, 9, 9)
    torch.testing.assert_close(Affine(degrees=0, shift=0, scale=0)(x), x)


def test_affine_rotates_by_at_most_its_degrees():
    """A dot to the right of the centre stays within the angle."""
    x = torch.zeros(500, 1, 41, 41)
    x[:, :, 20, 35] = 1.0
    y = Affine(degrees=30, shift=0, scale=0)(x).squeeze(1)
    place = torch.arange(41.0) - 20
    down, right = ((y * axis).sum((1, 2)) / y.sum((1, 2)) for axis in (place[:, None], place[None, :]))
    angle = torch.atan2(down, right).abs()
    assert angle.max() < math.radians(31) and angle.max() > math.radians(25)


def test_affine_rotates_without_shear_off_the_square():
    """A bar in an image twice as high as wide keeps its length, and turns by no more than its degrees."""
    x = torch.zeros(300, 1, 60, 30)
    x[:, :, 27:33, 7:23] = 1.0
    y = Affine(degrees=40, shift=0, scale=0)(x).squeeze(1)
    down, right = torch.arange(60.0) - 29.5, torch.arange(30.0) - 14.5
    places = torch.stack(torch.broadcast_tensors(down[:, None], right[None, :]), -1).reshape(-1, 2)
    mass = y.flatten(1)
    moments = torch.einsum("np,pi,pj->nij", mass, places, places) / mass.sum(1)[:, None, None]
    long, short = torch.linalg.eigvalsh(moments).flip(1).sqrt().unbind(1)
    # A uniform bar of side a has standard deviation a / sqrt(12); interpolation adds a little.
    torch.testing.assert_close(long, torch.full_like(long, 16 / math.sqrt(12)), rtol=0.03, atol=0)
    torch.testing.assert_close(short, torch.full_like(short, 6 / math.sqrt(12)), rtol=0.12, atol=0)


@pytest.mark.parametrize("augmentation", [Affine(), ColorJitter(), Cutout(), Flip()], ids=lambda a: type(a).__name__)
def test_those_of_images_refuse_vectors(augmentation):
    with pytest.raises(ValueError, match=f"{type(augmentation).__name__} takes images.*for vectors"):
        augmentation(torch.rand(5, 3))


def test_affine_refuses_a_scale_that_mirrors():
    with pytest.raises(ValueError, match="below 1"):
        Affine(scale=1.0)


def test_color_jitter_keeps_within_its_bounds():
    x = torch.randn(500, 2, 9, 9)
    y = ColorJitter(brightness=0.3, contrast=0.4)(x)
    lift = (y.mean((1, 2, 3)) - x.mean((1, 2, 3))).abs()
    stretch = y.std((1, 2, 3)) / x.std((1, 2, 3))
    assert 0.28 < lift.max() <= 0.3 and 0.6 <= stretch.min() < 0.62 and 1.38 < stretch.max() <= 1.4


def test_flip_mirrors_about_half():
    x = torch.arange(8.0).expand(1000, 1, 1, 8)
    flipped = (Flip()(x)[:, 0, 0, 0] == 7).double().mean()
    assert 0.4 < float(flipped) < 0.6


def test_cutout_blanks_a_square():
    y = Cutout(size=0.5)(torch.ones(200, 2, 16, 16))
    blank = y == 0
    assert torch.equal(blank[:, 0], blank[:, 1])
    rows, columns = blank[:, 0].any(-1).sum(-1), blank[:, 0].any(-2).sum(-1)
    assert torch.equal(rows * columns, blank[:, 0].sum((-2, -1))) and rows.max() == 8


def test_mask_and_noise_have_their_size():
    x = torch.ones(1000, 10)
    assert float((Mask(probability=0.3)(x) == 0).double().mean()) == pytest.approx(0.3, abs=0.03)
    assert float((Noise(std=0.5)(x) - x).std()) == pytest.approx(0.5, abs=0.02)


def test_two_views_are_drawn_apart():
    x = torch.rand(8, 1, 8, 8)
    first, second = TwoViews(nn.Sequential(Affine(), Noise()))(x)
    assert first.shape == second.shape == x.shape and not torch.equal(first, second)
