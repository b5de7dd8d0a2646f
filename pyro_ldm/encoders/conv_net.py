"""A small convolutional network."""

from collections.abc import Sequence

from torch import nn


class ConvNet(nn.Sequential):
    """Small convolutional network for small images, with batch normalisation.

    The first layer keeps the resolution, each further one halves it; a hidden layer of 256 follows. Batch rather than
    group normalisation, as in the encoders of SimCLR and VICReg: the rows of a batch mix in training, which only
    ``encode`` could not bear, and no ConvNet is square. Batches of two rows or more, or ``eval()``.

    Args:
        in_shape: (C, H, W) of an image.
        out_features: Latent dims.
        channels: Channels of each convolution.

    Shape:
        x (N, C, H, W) to z (N, out_features).

    Raises:
        ValueError: If ``in_shape`` is not that of an image.

    Example:
        >>> ConvNet((1, 8, 8), 2)(torch.randn(5, 1, 8, 8)).shape
        torch.Size([5, 2])
    """

    def __init__(self, in_shape: Sequence[int], out_features: int, *, channels: Sequence[int] = (32, 64, 64)):
        if len(in_shape) != 3:
            raise ValueError(f"ConvNet takes images of shape (C, H, W), got {tuple(in_shape)}: use MLP for vectors")
        width, height, breadth = in_shape
        layers: list[nn.Module] = []
        for i, size in enumerate(channels):
            stride = 1 if i == 0 else 2
            height, breadth = -(-height // stride), -(-breadth // stride)
            layers += [nn.Conv2d(width, size, 3, stride, padding=1, bias=False), nn.BatchNorm2d(size), nn.ReLU()]
            width = size
        features = width * height * breadth
        layers += [nn.Flatten(), nn.Linear(features, 256, bias=False), nn.BatchNorm1d(256), nn.ReLU()]
        super().__init__(*layers, nn.Linear(256, out_features))
