"""Dilated causal convolutions over series."""

from torch import Tensor, nn
from torch.nn.functional import pad


class CausalConv(nn.Module):
    r"""Residual causal convolutions of doubling dilation: a causal predictor that reads a long past in few layers.

    .. math:: h^{l+1}_t = h^l_t + \sum_{k=0}^{K-1} W^l_k \, \sigma(h^l_{t - 2^l k}) + b^l

    The last layer's outputs read :math:`1 + (K - 1)(2^L - 1)` steps, zeros before the first one.

    Args:
        in_features: F, numbers per step: latent dims, and those of the inputs where there are any.
        out_features: P, numbers out per step.
        hidden: Channels.
        num_layers: L.
        kernel_size: K.
        activation: Class of the nonlinearity.

    Shape:
        x (..., T, F) to h (..., T, P); h_t depends on x up to t.

    References:
        van den Oord et al. (2016), WaveNet, section 2.1, https://arxiv.org/abs/1609.03499; Bai, Kolter and Koltun
        (2018), https://arxiv.org/abs/1803.01271. Without gates or dropout.

    Example:
        >>> CausalConv(2, 3, hidden=8)(torch.randn(5, 7, 2)).shape
        torch.Size([5, 7, 3])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        hidden: int = 64,
        num_layers: int = 4,
        kernel_size: int = 3,
        activation: type[nn.Module] = nn.ReLU,
    ):
        super().__init__()
        self.kernel_size, self.activation = kernel_size, activation()
        self.lift = nn.Linear(in_features, hidden)
        self.convolutions = nn.ModuleList(
            nn.Conv1d(hidden, hidden, kernel_size, dilation=2**layer) for layer in range(num_layers)
        )
        self.head = nn.Linear(hidden, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Convolve over the steps."""
        h = self.lift(x.reshape(-1, *x.shape[-2:])).mT
        for layer, convolution in enumerate(self.convolutions):
            h = h + convolution(pad(self.activation(h), (2**layer * (self.kernel_size - 1), 0)))
        return self.head(self.activation(h).mT).reshape(*x.shape[:-1], -1)
