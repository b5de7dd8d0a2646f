"""Decoders: any shape out, and no row depends on another."""

import pytest
import torch

from pyro_ldm.baselines import ConvDecoder, MLPDecoder


@pytest.mark.parametrize(
    ("decoder", "shape"),
    [
        (MLPDecoder, (5,)),
        (MLPDecoder, (3, 4)),
        (ConvDecoder, (1, 8, 8)),
        (ConvDecoder, (3, 28, 28)),
        (ConvDecoder, (1, 7, 10)),
    ],
)
def test_gives_the_shape_and_rows_apart(decoder, shape):
    network, z = decoder(3, shape), torch.randn(6, 3)
    assert network(z).shape == (6, *shape)
    torch.testing.assert_close(network(z)[2:3], network(z[2:3]))


def test_every_pixel_depends_on_the_latents():
    z = torch.randn(1, 2, requires_grad=True)
    image = ConvDecoder(2, (1, 9, 9))(z)
    for pixel in ((0, 0), (8, 8), (4, 4)):
        (grad,) = torch.autograd.grad(image[0, 0][pixel], z, retain_graph=True)
        assert grad.abs().max() > 0


def test_conv_decoder_refuses_vectors():
    with pytest.raises(ValueError, match="use MLPDecoder for vectors"):
        ConvDecoder(2, (64,))
