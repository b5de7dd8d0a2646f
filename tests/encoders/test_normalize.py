"""Normalize: onto the unit sphere, whatever the row."""

import pytest
import torch
from torch import nn

from pyro_ldm.encoders import Normalize


@pytest.mark.parametrize("shape", [(5, 3), (5, 1), (4, 5, 3)])
def test_is_its_formula(shape):
    z = torch.randn(shape)
    torch.testing.assert_close(Normalize()(z), z / z.square().sum(-1, keepdim=True).sqrt())


def test_gradient():
    z = torch.randn(4, 3, requires_grad=True)
    assert torch.autograd.gradcheck(Normalize(), z)
    assert torch.autograd.gradgradcheck(Normalize(), z)


def test_a_zero_row_becomes_the_first_unit_vector_with_no_gradient():
    z = torch.tensor([[0.0, 0.0, 0.0], [0.0, 3.0, 4.0], [0.0, 1e-13, 0.0]], requires_grad=True)
    y = Normalize()(z)
    assert y.tolist() == [[1, 0, 0], [0, 0.6, 0.8], [1, 0, 0]]
    (grad,) = torch.autograd.grad((y * torch.randn(3, 3)).sum(), z)
    assert grad[[0, 2]].eq(0).all() and grad[1].abs().sum() > 0


@pytest.mark.parametrize("size", [1e-10, 1e-5, 1e20, 1e38])
def test_the_size_of_a_row_does_not_matter(size):
    z = torch.randn(5, 3, dtype=torch.float32) * 0.1
    torch.testing.assert_close(Normalize()(z * size), Normalize()(z))


def test_nan_is_not_hidden():
    y = Normalize()(torch.tensor([[float("nan"), 1.0], [3.0, 4.0]]))
    assert y[0].isnan().all() and y[1].tolist() == [0.6, 0.8]


@pytest.mark.parametrize("dtype", [torch.bfloat16, torch.float16, torch.float32])
def test_is_float32_under_autocast(dtype):
    net, x = nn.Sequential(nn.Linear(4, 3), Normalize()).float(), torch.randn(5, 4, dtype=torch.float32)
    with torch.autocast("cpu", torch.bfloat16):
        y = net(x)
    assert y.dtype == torch.float32
    torch.testing.assert_close(y.norm(dim=1), torch.ones_like(y[:, 0]))
    assert Normalize()(x.to(dtype)).dtype == torch.float32
