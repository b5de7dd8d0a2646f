"""Pictures show what they are given: their data are read back from the figures."""

import numpy
import pytest
import torch

import pyro_ldm as ldm
from pyro_ldm.runs import curves, filters, latent_space
from pyro_ldm.runs.pictures import filters_of


def a_fit(**extra):
    rows = [{"epoch": float(i), "loss": 3.0 - i, "alignment": -2.0, "uniformity": 1.0 + i, **extra} for i in (1, 2)]
    return ldm.Fit(None, ldm.Terms(-2.0, 3.0, -1.0, 0.0, "KL"), rows, (0.0, 0.1))


def test_curves():
    left, right = curves(a_fit(validation_loss=2.0)).axes
    lines = {line.get_label(): line.get_ydata() for axes in (left, right) for line in axes.lines}
    assert list(lines) == ["loss", "validation loss", "alignment", "uniformity"]
    assert list(lines["loss"]) == [2.0, 1.0] and list(lines["uniformity"]) == [2.0, 3.0]
    assert "nats" in left.get_ylabel() and "KL" in left.get_title()


@pytest.mark.parametrize("dim", [1, 2, 5])
@pytest.mark.parametrize("labels", [None, torch.arange(50) % 4, torch.linspace(0, 1, 50)])
def test_latent_space(dim, labels):
    z = torch.randn(50, dim) * torch.arange(1.0, dim + 1)
    left, right = latent_space(z, labels=labels).axes
    spread = [bar.get_height() for bar in right.patches]
    expected = torch.linalg.eigvalsh(torch.atleast_2d(z.T.cov())).flip(0).sqrt()
    assert numpy.allclose(spread, expected)
    if dim > 1:
        points = left.collections[0].get_offsets()
        assert len(points) == 50 and numpy.allclose(points.std(0, ddof=1), spread[:2])


def test_paths_are_drawn_over_the_latents_along_the_same_axes():
    z = torch.randn(40, 6, 2) * torch.tensor([3.0, 1.0])
    left, _ = latent_space(z.flatten(0, 1), paths={"series 0": z[0], "series 1": z[1]}).axes
    (first, _, second, _) = left.lines
    assert [line.get_label() for line in (first, second)] == ["series 0", "series 1"]
    points = left.collections[0].get_offsets()
    for line in (first, second):
        assert all(numpy.abs(points - point).sum(1).min() < 1e-9 for point in line.get_xydata())
    assert "steps" in left.get_title()


def test_latent_space_of_equal_rows():
    latent_space(torch.ones(10, 3)).savefig("/dev/null", format="png")


@pytest.mark.parametrize(("channels", "num"), [(1, 7), (3, 4)])
def test_filters_are_laid_out_row_by_row(channels, num):
    images = torch.randn(num, channels, 2, 3)
    (axes,) = filters(images, title="them").axes
    sheet = torch.as_tensor(axes.images[0].get_array().filled(numpy.nan))
    columns = 3 if num == 7 else 2
    second_row = sheet[3:5, :3] if channels == 1 else sheet[3:5, :3].permute(2, 0, 1) * 2 - 1
    image = images[columns] / images[columns].abs().max()
    assert torch.allclose(second_row.double(), image.double().squeeze(0))
    assert axes.get_title() == "them"


class TestFiltersOf:
    def test_a_linear_encoder(self):
        linear = ldm.encoders.Linear(12, 2)
        images = filters_of(ldm.guides.Deterministic(linear, ldm.entropy.LogDet()), (1, 3, 4))
        assert torch.equal(images.flatten(1), linear.weight)

    def test_after_pca_in_a_compound_guide(self):
        x = torch.randn(30, 1, 3, 4)
        reduce, linear = ldm.encoders.PCA(12, 5).fit(x), ldm.encoders.Linear(5, 5)
        guide = ldm.guides.Compose(ldm.guides.Invertible(linear, reduce=reduce))
        rows = filters_of(guide, (1, 3, 4)).flatten(1)
        assert torch.allclose((x.flatten(1) - reduce.mean) @ rows.T, linear(reduce(x)))

    @pytest.mark.parametrize("shape", [(12,), (2, 2, 3), (1, 4, 4)])
    def test_none_for_other_data(self, shape):
        guide = ldm.guides.Deterministic(ldm.encoders.Linear(12, 2), ldm.entropy.LogDet())
        assert filters_of(guide, shape) is None

    def test_none_for_other_encoders(self):
        assert filters_of(ldm.guides.Deterministic(ldm.encoders.MLP(12, 2), ldm.entropy.LogDet()), (1, 3, 4)) is None
