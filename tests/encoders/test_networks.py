"""Networks: shapes, and what they refuse."""

import pytest
import torch
from torch import nn

from pyro_ldm.encoders import MLP, ConvNet, Linear


@pytest.mark.parametrize("shape", [(1, 8, 8), (3, 8, 8), (1, 28, 28), (3, 28, 28), (1, 5, 7)])
def test_conv_net_takes_small_images(shape):
    assert ConvNet(shape, 4)(torch.randn(6, *shape)).shape == (6, 4)


def test_conv_net_refuses_vectors():
    with pytest.raises(ValueError, match="use MLP for vectors"):
        ConvNet((64,), 4)


def test_mlp_without_batch_norm_treats_rows_apart():
    mlp, x = MLP(5, 2, hidden=[8], batch_norm=False), torch.randn(6, 5)
    torch.testing.assert_close(mlp(x)[:1], mlp(x[:1]))


def test_mlp_is_its_formula():
    mlp, x = MLP(4, 2, hidden=[8], activation=nn.Tanh, batch_norm=False), torch.randn(6, 1, 2, 2)
    (first, last), rows = (m for m in mlp if isinstance(m, nn.Linear)), x.reshape(6, 4)
    expected = torch.tanh(rows @ first.weight.T + first.bias) @ last.weight.T + last.bias
    torch.testing.assert_close(mlp(x), expected)


def test_linear_starts_orthogonal():
    weight = Linear(5, 5).weight.detach()
    torch.testing.assert_close(weight @ weight.T, torch.eye(5))
