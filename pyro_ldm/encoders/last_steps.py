"""A perceptron on the last few steps of a series."""

from collections.abc import Sequence

from torch import Tensor, nn
from torch.nn.functional import pad

from pyro_ldm.encoders.mlp import MLP


class LastSteps(nn.Module):
    r"""Multilayer perceptron on the last k steps: a causal predictor of finite memory, Markov of order k.

    .. math:: h_t = \mathrm{MLP}(x_{t-k+1}, \dots, x_t), \qquad x_t = 0 \text{ for } t < 1

    Without hidden layers it is a linear vector autoregression of order k.

    Args:
        in_features: F, numbers per step: latent dims, and those of the inputs where there are any.
        out_features: P, numbers out per step.
        order: k, at least 1.
        hidden: Width of each hidden layer.
        activation: Class of the nonlinearity.

    Shape:
        x (..., T, F) to h (..., T, P); h_t depends on x from t - k + 1 up to t.

    Raises:
        ValueError: If ``order`` is below 1.

    Example:
        >>> LastSteps(2, 3, order=2, hidden=[8])(torch.randn(5, 7, 2)).shape
        torch.Size([5, 7, 3])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        order: int = 1,
        hidden: Sequence[int] = (64, 64),
        activation: type[nn.Module] = nn.ReLU,
    ):
        super().__init__()
        if order < 1:
            raise ValueError(f"order is the number of steps that are read, at least 1, got {order}")
        self.order = order
        self.mlp = MLP(order * in_features, out_features, hidden=hidden, activation=activation, batch_norm=False)

    def forward(self, x: Tensor) -> Tensor:
        """Read the last steps, oldest first, at every step."""
        windows = pad(x, (0, 0, self.order - 1, 0)).unfold(-2, self.order, 1).mT  # (..., T, k, F)
        return self.mlp(windows.reshape(-1, self.order, x.shape[-1])).reshape(*x.shape[:-1], -1)
