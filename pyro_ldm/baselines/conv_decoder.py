"""A small convolutional network that decodes."""

from collections.abc import Sequence

from torch import nn


class ConvDecoder(nn.Sequential):
    """Small convolutional network from latents to small images: the mirror image of :class:`pyro_ldm.encoders.ConvNet`.

    A hidden layer of 256, then each convolution but the first doubles the resolution, by repeating pixels (which leaves
    no checkerboard). Without batch normalisation: what a latent is decoded to depends on no other.

    Args:
        latent_dim: Latent dims.
        out_shape: (C, H, W) of an image.
        channels: Channels before each convolution.

    Shape:
        z (N, latent_dim) to (N, C, H, W).

    Raises:
        ValueError: If ``out_shape`` is not that of an image.

    Example:
        >>> ConvDecoder(2, (1, 9, 8))(torch.randn(5, 2)).shape
        torch.Size([5, 1, 9, 8])
    """

    def __init__(self, latent_dim: int, out_shape: Sequence[int], *, channels: Sequence[int] = (64, 64, 32)):
        if len(out_shape) != 3:
            raise ValueError(
                f"ConvDecoder makes images of shape (C, H, W), got {tuple(out_shape)}: use MLPDecoder for vectors"
            )
        colors, height, breadth = out_shape
        sizes = [(height, breadth)]
        for _ in channels[1:]:
            sizes.insert(0, (-(-sizes[0][0] // 2), -(-sizes[0][1] // 2)))
        features = channels[0] * sizes[0][0] * sizes[0][1]
        layers: list[nn.Module] = [nn.Linear(latent_dim, 256), nn.ReLU(), nn.Linear(256, features), nn.ReLU()]
        layers += [nn.Unflatten(1, (channels[0], *sizes[0]))]
        for before, after, size in zip(channels[:-1], channels[1:], sizes[1:], strict=True):
            layers += [nn.Upsample(size), nn.Conv2d(before, after, 3, padding=1), nn.ReLU()]
        super().__init__(*layers, nn.Conv2d(channels[-1], colors, 3, padding=1))
