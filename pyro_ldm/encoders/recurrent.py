"""A recurrent network over series."""

from torch import Tensor, nn


class Recurrent(nn.Module):
    r"""Recurrent network and a linear head: a causal predictor with a memory of any length.

    .. math:: (c_t, m_t) = \mathrm{cell}(x_t, c_{t-1}, m_{t-1}), \qquad h_t = W c_t + b

    Args:
        in_features: F, numbers per step: latent dims, and those of the inputs where there are any.
        out_features: P, numbers out per step.
        hidden: Width of the cell; no less than the latent dims, or it is a bottleneck.
        num_layers: Cells on top of each other.
        cell: Class of the cell, ``nn.LSTM``, ``nn.GRU`` or ``nn.RNN``.

    Shape:
        x (..., T, F) to h (..., T, P); h_t depends on x up to t.

    References:
        van den Oord, Li and Vinyals (2018), CPC, section 2.2, https://arxiv.org/abs/1807.03748

    Example:
        >>> Recurrent(2, 3, hidden=8, cell=torch.nn.GRU)(torch.randn(5, 7, 2)).shape
        torch.Size([5, 7, 3])
    """

    def __init__(
        self,
        in_features: int,
        out_features: int,
        *,
        hidden: int = 64,
        num_layers: int = 1,
        cell: type[nn.LSTM] | type[nn.GRU] | type[nn.RNN] = nn.LSTM,
    ):
        super().__init__()
        self.cell = cell(in_features, hidden, num_layers=num_layers, batch_first=True)
        self.head = nn.Linear(hidden, out_features)

    def forward(self, x: Tensor) -> Tensor:
        """Run over the steps, all series at once."""
        out, _ = self.cell(x.reshape(-1, *x.shape[-2:]))
        return self.head(out).reshape(*x.shape[:-1], -1)
