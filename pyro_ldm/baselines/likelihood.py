"""What the built-in likelihoods share: from a decoder's output to a distribution of each number of a datum."""

from abc import ABC, abstractmethod

import torch
from pyro.distributions import TorchDistribution
from torch import Tensor, nn


class Likelihood(nn.Module, ABC):
    r"""The distribution of data given a decoder's output, independent over the numbers of a datum.

    .. math:: \log p(x \mid z) = \sum_j \log p(x_j \mid \mathrm{decoder}(z)_j)

    To write one of one's own no class is needed: any function from an output to a distribution with a batch dim for
    each number will do, such as ``lambda output: dist.Laplace(output, 0.1)``. This class adds the check of the data.
    """

    @abstractmethod
    def forward(self, output: Tensor) -> TorchDistribution:
        """Distribution of each number, its batch shape that of the output."""

    def check(self, x: Tensor) -> None:
        """Refuse data outside the support; called once, with the first batch.

        Raises:
            ValueError: If x is not finite, no floating-point numbers, or outside: what to do.
        """
        if not x.is_floating_point():
            raise ValueError(f"x is of type {x.dtype}: pass it as floating-point numbers, x.float()")
        finite = torch.isfinite(x)
        if not finite.all():
            bad = int((~finite).reshape(len(x), -1).any(-1).sum())
            raise ValueError(
                f"x has NaN or Inf in {bad} of {len(x)} rows: drop them, or pass a mask of what is there beside x"
            )


class Scaled(Likelihood):
    """A likelihood with a scale: fixed, or learned where it is an ``nn.Parameter``.

    Args:
        scale: In units of x, a number or any shape that broadcasts against a datum.
    """

    def __init__(self, scale: float | Tensor | nn.Parameter):
        super().__init__()
        value = torch.as_tensor(scale)
        value = value if value.is_floating_point() else value.to(torch.get_default_dtype())
        if not bool((value > 0).all()) or not bool(torch.isfinite(value).all()):
            raise ValueError(f"scale must be positive, in units of x, got {value.tolist()}")
        log_scale = value.detach().log()
        if isinstance(scale, nn.Parameter):
            self.log_scale = nn.Parameter(log_scale)
        else:
            self.register_buffer("log_scale", log_scale)

    def scale_of(self, output: Tensor) -> Tensor:
        """The scale, to broadcast against a decoder's output."""
        try:
            torch.broadcast_shapes(self.log_scale.shape, output.shape)
        except RuntimeError as error:
            raise ValueError(
                f"scale of shape {tuple(self.log_scale.shape)} does not fit the decoder's output "
                f"{tuple(output.shape)}: pass one number, or one per number of a datum"
            ) from error
        return self.log_scale.exp()


def refuse_outside_unit_interval(x: Tensor, name: str, instead: str) -> None:
    """Refuse data that are not within 0 and 1."""
    low, high = float(x.min()), float(x.max())
    if low < 0.0 or high > 1.0:
        raise ValueError(
            f"{name} is a distribution on [0, 1], and x goes from {low:.3g} to {high:.3g}: rescale x to [0, 1], "
            f"or {instead}"
        )
