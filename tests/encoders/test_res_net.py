"""ResNet18: its size, its formula, and what it refuses."""

import pytest
import torch
import torch.nn.functional as F
from torch import nn

from pyro_ldm.encoders import ResNet18


def test_number_of_parameters():
    """11173962 is what the widely used CIFAR ResNet-18 of 10 classes has; the sum is table 1 of the paper by hand."""
    stem, blocks = 3 * 64 * 9 + 2 * 64, 0
    for width, out in [(64, 64), (64, 64), (64, 128), (128, 128), (128, 256), (256, 256), (256, 512), (512, 512)]:
        blocks += 9 * width * out + 9 * out * out + 4 * out + (width * out + 2 * out if width != out else 0)
    count = sum(parameter.numel() for parameter in ResNet18((3, 32, 32), 10).parameters())
    assert count == stem + blocks + 512 * 10 + 10 == 11_173_962


@pytest.mark.parametrize("shape", [(1, 28, 28), (3, 32, 32), (2, 9, 5), (1, 1, 1)])
def test_takes_images_of_any_size(shape):
    net = ResNet18(shape, 4, width=4)
    assert net(torch.randn(3, *shape)).shape == (3, 4)
    assert net.eval()(torch.randn(1, *shape)).shape == (1, 4)


def test_the_stem_keeps_the_resolution_and_three_stages_halve_it():
    net, sizes = ResNet18((3, 32, 32), 4, width=4), []
    for layer in net:
        layer.register_forward_hook(lambda layer, _, out: sizes.append(tuple(out.shape[1:])))
    net(torch.randn(2, 3, 32, 32))
    stages = [(4, 32, 32), (4, 32, 32), (8, 16, 16), (8, 16, 16), (16, 8, 8), (16, 8, 8), (32, 4, 4), (32, 4, 4)]
    assert sizes == [(4, 32, 32)] * 3 + stages + [(32, 1, 1), (32,), (4,)]


def test_is_its_formula():
    """Written out with torch's functions, in the order of the layers, from the weights in their order."""
    net, x = ResNet18((3, 16, 16), 5, width=4), torch.randn(6, 3, 16, 16)
    weights = iter([m for m in net.modules() if isinstance(m, nn.Conv2d)])

    def convolve(h, stride):
        weight = next(weights).weight
        h = F.conv2d(h, weight, stride=stride, padding=weight.shape[-1] // 2)
        return (h - h.mean((0, 2, 3), keepdim=True)) / (h.var((0, 2, 3), correction=0, keepdim=True) + 1e-5).sqrt()

    h = convolve(x, 1).relu()
    for stride, changes in [(1, 0), (1, 0), (2, 1), (1, 0), (2, 1), (1, 0), (2, 1), (1, 0)]:
        residual = convolve(convolve(h, stride).relu(), 1)
        h = ((convolve(h, stride) if changes else h) + residual).relu()
    expected = h.mean((2, 3)) @ net[-1].weight.T + net[-1].bias
    torch.testing.assert_close(net(x), expected)


def test_gradients_reach_every_parameter_and_the_input():
    net, x = ResNet18((1, 12, 12), 3, width=4), torch.randn(8, 1, 12, 12, requires_grad=True)
    net(x).square().sum().backward()
    for name, parameter in [("x", x), *net.named_parameters()]:
        assert parameter.grad.isfinite().all() and parameter.grad.abs().max() > 0, name


def test_rows_stay_apart_in_eval():
    net, x = ResNet18((1, 12, 12), 3, width=4), torch.randn(8, 1, 12, 12)
    net(x)  # moves the running moments
    net.eval()
    assert torch.equal(net(x), net(x))
    torch.testing.assert_close(net(x)[2:3], net(x[2:3]))


def test_starts_at_a_sane_scale():
    h = ResNet18((3, 32, 32), 16, width=16)(torch.randn(32, 3, 32, 32))
    assert 0.1 < float(h.detach().std()) < 10


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (((64,), 4), r"takes images of shape \(C, H, W\), got \(64,\): use MLP for vectors"),
        (((0, 8, 8), 4), "sizes of at least 1, got in_shape"),
        (((1, 8, 8), 0), "sizes of at least 1.*out_features 0"),
    ],
)
def test_refuses_other_shapes(arguments, message):
    with pytest.raises(ValueError, match=message):
        ResNet18(*arguments)


@pytest.mark.parametrize("shape", [(5, 64), (3, 8, 8), (5, 1, 8, 8)])
def test_refuses_other_batches(shape):
    with pytest.raises(ValueError, match=r"this ResNet18 takes images \(N, 3, H, W\), got"):
        ResNet18((3, 8, 8), 4, width=4)(torch.randn(shape))
