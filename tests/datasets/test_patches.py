import pytest
import torch

from pyro_ldm.datasets import DataError, patches
from pyro_ldm.datasets.photographs import grey_photographs


def test_shape_mean_and_scale():
    data = patches(6, num=500)
    assert data.x.shape == (500, 1, 6, 6) and data.x.dtype == torch.float32
    assert data.x.mean((1, 2, 3)).abs().max() < 1e-5
    assert data.x.double().pow(2).mean() == pytest.approx(1, abs=1e-4)


def test_default_is_20000_distinct_patches_of_12_by_12():
    x = patches().x
    assert x.shape == (20000, 1, 12, 12)
    assert len(x.unique(dim=0)) == 20000


def test_patches_are_cut_from_the_photographs():
    # Up to its mean and the common scale, a patch occurs in a photograph: find it by brute force.
    x = patches(4, num=50).x.double().flatten(1)
    windows = torch.as_tensor(grey_photographs()).unfold(1, 4, 1).unfold(2, 4, 1).reshape(-1, 16)
    windows = windows - windows.mean(1, keepdim=True)
    norms = windows.norm(dim=1)
    cosine = (windows / norms.clamp_min(1e-9).unsqueeze(1)) @ (x[0] / x[0].norm())
    found = int(cosine.argmax())
    assert cosine[found] > 1 - 1e-9
    assert x[0].norm() / norms[found] > 1  # scaled up: intensities vary by less than 1


def test_seed():
    assert torch.equal(patches(4, num=100, seed=5).x, patches(4, num=100, seed=5).x)
    assert not torch.equal(patches(4, num=100, seed=5).x, patches(4, num=100, seed=6).x)


@pytest.mark.parametrize("size, num", [(1, 10), (428, 10), (12, 1), (427, 429)])
def test_impossible_requests(size, num):
    with pytest.raises(DataError, match="give"):
        patches(size, num=num)
