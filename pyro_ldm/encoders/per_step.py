"""An encoder of single data, for series of them."""

from torch import Tensor, nn


class PerStep(nn.Module):
    r"""An encoder applied to every step of a series on its own, such as :class:`~pyro_ldm.encoders.ConvNet` to videos.

    .. math:: z_t = f(x_t)

    All steps of all series go through it as one batch, over which batch normalisation then is.

    Args:
        encoder: f, a module from (N, ...) to (N, D).

    Shape:
        x (N, T, ...) to z (N, T, D).

    Raises:
        ValueError: If x has no steps.

    Example:
        >>> PerStep(ldm.encoders.ConvNet((1, 8, 8), 2))(torch.randn(5, 7, 1, 8, 8)).shape
        torch.Size([5, 7, 2])
    """

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    def forward(self, x: Tensor) -> Tensor:
        """Encode each step."""
        if x.dim() < 3:
            raise ValueError(f"PerStep takes series (N, T, ...), got {tuple(x.shape)}: use the encoder itself for data")
        return self.encoder(x.flatten(0, 1)).unflatten(0, x.shape[:2])
