"""Real-valued data with Gaussian noise."""

import torch
from pyro import distributions as dist
from torch import Tensor, nn

from pyro_ldm.baselines.likelihood import Scaled


class Gaussian(Scaled):
    r"""The decoder's output plus Gaussian noise of one scale for all data.

    .. math:: p(x_j \mid z) = \mathcal N(x_j; o_j, s_j^2)

    A learned scale sets the weight of reconstruction against KL by itself; fixed, it is a choice, as beta of a beta-VAE
    is. Learned, on data with numbers that do not vary, it goes to zero and the bound to infinity.

    Args:
        scale: s, in units of x, a number or any shape that broadcasts against a datum (one scale per coordinate):
            a number or tensor (fixed) or an ``nn.Parameter`` (learned). Learned, one number, from 1, by default.

    Shape:
        The decoder's output (..., *event), means, to a distribution of that batch shape.

    Raises:
        ValueError: If the scale is not positive, or data are not finite.

    References:
        Rybkin, Daniilidis and Levine (2021), sigma-VAE, https://arxiv.org/abs/2006.13202

    Example:
        >>> Gaussian(0.5)(torch.zeros(5, 1, 8, 8)).stddev.mean()
        tensor(0.5000)
    """

    def __init__(self, scale: float | Tensor | nn.Parameter | None = None):
        super().__init__(nn.Parameter(torch.tensor(1.0)) if scale is None else scale)

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        """Gaussian about the output."""
        return dist.Normal(output, self.scale_of(output))
