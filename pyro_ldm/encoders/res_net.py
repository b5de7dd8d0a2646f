r"""A residual network of 18 layers, for small images."""

from collections.abc import Sequence

from torch import Tensor, nn


class ResNet18(nn.Sequential):
    r"""ResNet-18 for small images: a 3 x 3 stem that keeps the resolution, and no max pooling.

    .. math:: h_{l+1} = relu(h_l + f_l(h_l)), \qquad l = 1 .. 8

    Each f is two 3 x 3 convolutions with batch normalisation. Four stages of two blocks, of ``width`` times 1, 2, 4 and
    8 channels; all but the first halve the resolution; a mean over places and a linear layer end it. The rows of a
    batch mix in training: batches of two rows or more, or ``eval()``.

    Args:
        in_shape: (C, H, W) of an image.
        out_features: Latent dims.
        width: Channels of the first stage.

    Shape:
        x (N, C, H, W) to z (N, out_features).

    Raises:
        ValueError: If ``in_shape`` or a batch is not that of images, or a size is below 1.

    References:
        He et al. (2016), Deep Residual Learning, table 1 and shortcuts of kind B, https://arxiv.org/abs/1512.03385;
        weights start as in He et al. (2015), https://arxiv.org/abs/1502.01852. The stem is that of Chen et al. (2020),
        SimCLR, appendix B.9, https://arxiv.org/abs/2002.05709

    Example:
        >>> ResNet18((3, 32, 32), 128, width=8)(torch.randn(5, 3, 32, 32)).shape
        torch.Size([5, 128])
    """

    def __init__(self, in_shape: Sequence[int], out_features: int, *, width: int = 64):
        if len(in_shape) != 3:
            raise ValueError(f"ResNet18 takes images of shape (C, H, W), got {tuple(in_shape)}: use MLP for vectors")
        if min(*in_shape, out_features, width) < 1:
            raise ValueError(
                f"ResNet18 takes sizes of at least 1, got in_shape {tuple(in_shape)}, out_features {out_features} "
                f"and width {width}"
            )
        layers: list[nn.Module] = [*_convolution(in_shape[0], width, stride=1), nn.ReLU(inplace=True)]
        channels = width
        for stage in range(4):
            for block in range(2):
                stride = 2 if stage and not block else 1
                layers.append(_Block(channels, width * 2**stage, stride=stride))
                channels = width * 2**stage
        super().__init__(*layers, nn.AdaptiveAvgPool2d(1), nn.Flatten(), nn.Linear(channels, out_features))
        self.channels = in_shape[0]

    def forward(self, x: Tensor) -> Tensor:
        """Encode a batch; of any height and width, since the last convolution is averaged over places."""
        if x.dim() != 4 or x.shape[1] != self.channels:
            raise ValueError(f"this ResNet18 takes images (N, {self.channels}, H, W), got {tuple(x.shape)}")
        return super().forward(x)


class _Block(nn.Module):
    """relu(x + f(x)); a 1 x 1 convolution takes x along where its shape changes."""

    def __init__(self, width: int, out_width: int, *, stride: int):
        super().__init__()
        first, second = _convolution(width, out_width, stride=stride), _convolution(out_width, out_width, stride=1)
        self.residual = nn.Sequential(*first, nn.ReLU(inplace=True), *second)
        same = stride == 1 and width == out_width
        self.shortcut = nn.Identity() if same else nn.Sequential(*_convolution(width, out_width, stride=stride, size=1))

    def forward(self, x: Tensor) -> Tensor:
        return (self.shortcut(x) + self.residual(x)).relu_()


def _convolution(width: int, out_width: int, *, stride: int, size: int = 3) -> tuple[nn.Module, nn.Module]:
    """A convolution and its batch normalisation, which has the bias."""
    convolution = nn.Conv2d(width, out_width, size, stride, padding=size // 2, bias=False)
    nn.init.kaiming_normal_(convolution.weight, mode="fan_out", nonlinearity="relu")
    return convolution, nn.BatchNorm2d(out_width)
