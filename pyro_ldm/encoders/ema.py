"""A slowly moving copy of an encoder, to make targets."""

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import AveragedModel, get_ema_multi_avg_fn


class ExponentialMovingAverage(nn.Module):
    r"""A copy of an encoder whose weights follow it: BYOL's target network.

    .. math:: \xi \leftarrow \tau \xi + (1 - \tau) \theta

    It moves once for each call in training with gradients on, that is once a step, before it encodes. No gradient goes
    through it. Buffers (batch statistics) are averaged as the weights are.

    Args:
        encoder: The encoder to follow; it stays where it is, and is no part of this module's state.
        decay: tau, in [0, 1).

    Shape:
        As the encoder's.

    References:
        Grill et al. (2020), BYOL, https://arxiv.org/abs/2006.07733, eq. 1.

    Example:
        >>> encoder = torch.nn.Linear(8, 2)
        >>> target = ExponentialMovingAverage(encoder, decay=0.9)
        >>> target(torch.randn(5, 8)).requires_grad
        False
    """

    def __init__(self, encoder: nn.Module, *, decay: float = 0.99):
        super().__init__()
        if not 0 <= decay < 1:
            raise ValueError(f"decay is a weight of the past, from 0 to below 1, got {decay}")
        self.followed = (encoder,)  # within a tuple: not a submodule, whose weights would be saved twice
        self.average = AveragedModel(encoder, multi_avg_fn=get_ema_multi_avg_fn(decay), use_buffers=True)
        self.average.requires_grad_(False)

    def forward(self, x: Tensor) -> Tensor:
        """Move, if in training, and encode."""
        if self.training and torch.is_grad_enabled():
            self.average.update_parameters(self.followed[0])
        with torch.no_grad():
            return self.average(x)
