"""Augmentations: batched, a draw of its own for each sample, seeded by torch."""

import math
import random

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyro_ldm.encoders import Affine, ColorJitter, Crop, Cutout, Flip, Mask, Noise, TwoViews

ALL = [Affine(), ColorJitter(), Crop(), Cutout(), Flip(), Mask(), Noise()]


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


@pytest.mark.parametrize("augmentation", [Affine(), Crop()])
def test_pixels_are_moved_in_full_precision_under_autocast(augmentation):
    x, views = torch.rand(8, 1, 12, 12, dtype=torch.float32), []
    for enabled in (False, True):
        torch.manual_seed(7)
        with torch.autocast("cpu", torch.bfloat16, enabled=enabled):
            views.append(augmentation(x))
    assert torch.equal(*views)


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


@pytest.mark.parametrize(
    "augmentation", [Affine(), ColorJitter(), Crop(), Cutout(), Flip()], ids=lambda a: type(a).__name__
)
def test_those_of_images_refuse_vectors(augmentation):
    with pytest.raises(ValueError, match=f"{type(augmentation).__name__} takes images.*for vectors"):
        augmentation(torch.rand(5, 3))


def test_affine_refuses_a_scale_that_mirrors():
    with pytest.raises(ValueError, match="below 1"):
        Affine(scale=1.0)


def windows(crop, num, height, width):
    """Top, left, height and width of each crop in pixels, read off images whose values are their coordinates."""
    down, right = torch.meshgrid(torch.arange(height) + 0.5, torch.arange(width) + 0.5, indexing="ij")
    y = crop(torch.stack([down, right]).expand(num, -1, -1, -1))
    middle = y[:, :, height // 2 - 1 : height // 2 + 2, width // 2 - 1 : width // 2 + 2]  # clear of the borders
    size_down = (middle[:, 0, 2, 1] - middle[:, 0, 0, 1]) / 2 * height
    size_right = (middle[:, 1, 1, 2] - middle[:, 1, 1, 0]) / 2 * width
    top = middle[:, 0, 1, 1] - size_down * (height // 2 + 0.5) / height
    left = middle[:, 1, 1, 1] - size_right * (width // 2 + 0.5) / width
    return top, left, size_down, size_right


def reference_crop(rng, height, width, scale, ratio):
    """Height and width as torchvision's RandomResizedCrop.get_params draws them, one at a time, unrounded."""
    for _ in range(10):
        area = height * width * rng.uniform(*scale)
        aspect = math.exp(rng.uniform(math.log(ratio[0]), math.log(ratio[1])))
        w, h = math.sqrt(area * aspect), math.sqrt(area / aspect)
        if 0 < w <= width and 0 < h <= height:
            return h, w
    if width / height < min(ratio):
        return width / min(ratio), width
    if width / height > max(ratio):
        return height, height * max(ratio)
    return height, width


@pytest.mark.parametrize("shape", [(32, 32), (24, 32)])
def test_crops_have_the_area_and_ratio_that_are_stated_and_stay_inside(shape):
    top, left, down, right = windows(Crop(scale=(0.2, 0.7), ratio=(0.5, 1.5)), 4000, *shape)
    area, ratio = down * right / math.prod(shape), right / down
    assert 0.2 - 1e-9 <= area.min() < 0.21 and 0.67 < area.max() <= 0.7 + 1e-9
    assert 0.5 - 1e-9 <= ratio.min() < 0.53 and 1.47 < ratio.max() <= 1.5 + 1e-9
    for start, size, side in ((top, down, shape[0]), (left, right, shape[1])):
        assert start.min() > -1e-9 and (start + size).max() < side + 1e-9
        place = start / (side - size)  # uniform on [0, 1]: mean 1/2, variance 1/12
        assert float(place.mean()) == pytest.approx(0.5, abs=0.02)
        assert float(place.var()) == pytest.approx(1 / 12, abs=0.004)


@pytest.mark.parametrize("shape", [(32, 32), (24, 48), (60, 20)])
def test_crops_are_distributed_as_torchvision_s(shape):
    scale, ratio, rng = (0.08, 1.0), (3 / 4, 4 / 3), random.Random(0)
    _, _, *ours = windows(Crop(), 8000, *shape)
    expected = torch.tensor([reference_crop(rng, *shape, scale, ratio) for _ in range(8000)]).unbind(1)
    for mine, other in zip(ours, expected, strict=True):
        levels = torch.linspace(0.02, 0.98, 25)
        # 8000 draws each: quantiles agree to a hundredth of the side; with two tries in place of ten they would not.
        assert (mine.quantile(levels) - other.quantile(levels)).abs().max() < 0.015 * max(shape)


def test_a_crop_of_everything_is_the_identity():
    x = torch.rand(4, 2, 28, 28)
    torch.testing.assert_close(Crop(scale=(1, 1), ratio=(1, 1))(x), x)
    torch.testing.assert_close(Crop(scale=(1, 1), ratio=(1, 1))(x.float()), x.float())
    wide = torch.rand(4, 2, 9, 15)
    torch.testing.assert_close(Crop(scale=(1, 1), ratio=(15 / 9, 15 / 9))(wide), wide)


def test_a_crop_that_never_fits_is_the_largest_central_one():
    """A square of the whole area of an image twice as high as wide: the square in its middle."""
    top, left, down, right = windows(Crop(scale=(1, 1), ratio=(1, 1)), 3, 40, 20)
    torch.testing.assert_close(down, torch.full_like(down, 20.0))
    torch.testing.assert_close(right, torch.full_like(right, 20.0))
    torch.testing.assert_close(left, torch.zeros_like(left), atol=1e-9, rtol=0)
    torch.testing.assert_close(top, torch.full_like(top, 10.0))


def test_a_crop_is_the_resized_window():
    """Against torch's own resizing, where the window falls on whole pixels."""
    x = torch.rand(1, 2, 12, 12)
    crop = Crop(scale=(0.25, 0.25), ratio=(1, 1))
    crop.rand = lambda x, *shape: torch.full(shape, 1 / 3)  # the second sixth of either side
    expected = F.interpolate(x[:, :, 2:8, 2:8], (12, 12), mode="bilinear", align_corners=False)
    inside = (..., slice(1, -1), slice(1, -1))  # at its rim, a crop sees the pixels beside it
    torch.testing.assert_close(crop(x)[inside], expected[inside])


def test_crops_at_the_border_take_in_no_zeros():
    torch.testing.assert_close(Crop()(torch.ones(200, 1, 8, 8)), torch.ones(200, 1, 8, 8))


@pytest.mark.parametrize("bad", [{"scale": (0, 1)}, {"scale": (0.5, 0.2)}, {"scale": (0.5, 1.5)}, {"ratio": (0, 1)}])
def test_crop_refuses_what_is_no_range(bad):
    with pytest.raises(ValueError, match="smallest first, got"):
        Crop(**bad)


def test_crop_passes_gradients():
    x = torch.rand(2, 1, 5, 5, requires_grad=True)
    (grad,) = torch.autograd.grad(Crop(scale=(0.5, 0.5))(x).sum(), x)
    torch.testing.assert_close(grad.sum(), torch.tensor(50.0))  # each pixel is an average of pixels


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


def test_symmetric_views_are_the_same_pairs_in_both_orders():
    x = torch.rand(5, 3)
    first, second = TwoViews(Noise(), symmetric=True)(x)
    assert first.shape == second.shape == (10, 3)
    assert torch.equal(first[:5], second[5:]) and torch.equal(first[5:], second[:5])
    assert not torch.equal(first[:5], first[5:])
