"""A multilayer perceptron."""

from collections.abc import Sequence

from torch import nn


class MLP(nn.Sequential):
    """Multilayer perceptron with batch normalisation; images are flattened.

    Args:
        in_features: Numbers in a datum.
        out_features: Latent dims.
        hidden: Width of each hidden layer.
        activation: Class of the nonlinearity; a smooth one, such as ``nn.ELU``, where ``encode`` differentiates it.
        batch_norm: Whether to normalise each hidden layer over the batch. Off for encoders whose rows must not mix, as
            for ``encode``.

    Shape:
        x (N, ...) to z (N, out_features).

    Example:
        >>> MLP(64, 2, hidden=[32])(torch.randn(5, 1, 8, 8)).shape
        torch.Size([5, 2])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        hidden: Sequence[int] = (512, 512),
        activation: type[nn.Module] = nn.ReLU,
        batch_norm: bool = True,
    ):
        layers: list[nn.Module] = [nn.Flatten()]
        width = in_features
        for size in hidden:
            layers += [nn.Linear(width, size), *([nn.BatchNorm1d(size)] if batch_norm else []), activation()]
            width = size
        super().__init__(*layers, nn.Linear(width, out_features))
