"""Images of a limited number of levels."""

from typing import ClassVar

import torch
import torch.nn.functional as F
from pyro.distributions import TorchDistribution, constraints
from torch import Tensor, nn

from pyro_ldm.baselines.likelihood import Scaled, refuse_outside_unit_interval


class DiscretizedLogistic(Scaled):
    r"""Levels of grey with their probabilities: a logistic density, integrated over the width of each level.

    .. math:: p(x_j \mid z) = \sigma\Bigl(\frac{x_j + h - o_j}{s}\Bigr) - \sigma\Bigl(\frac{x_j - h - o_j}{s}\Bigr),
        \qquad h = \frac{1}{2 (L - 1)}

    The first and the last level take what is beyond them. As probabilities, not densities, its bounds in bits per dim
    are code lengths, and compare across models.

    Args:
        scale: s, in units of x, a number or any shape that broadcasts against a datum: a number or tensor (fixed) or an
            ``nn.Parameter`` (learned). Learned, one number, from 0.1, by default.
        levels: L; images of 8 bits, divided by 255, have 256.

    Shape:
        The decoder's output (..., *event), locations, to a distribution of that batch shape on k / (L - 1).

    Raises:
        ValueError: If the scale is not positive, levels < 2, or data are no such levels.

    References:
        Kingma et al. (2016), Inverse autoregressive flow, appendix C.4, https://arxiv.org/abs/1606.04934; Salimans et
        al. (2017), PixelCNN++, eq. 1 and 2, https://arxiv.org/abs/1701.05517

    Example:
        >>> pixel = DiscretizedLogistic(0.05)(torch.tensor(0.3))
        >>> round(float(pixel.log_prob(torch.arange(256) / 255).exp().sum()), 6)
        1.0
    """

    def __init__(self, scale: float | Tensor | nn.Parameter | None = None, *, levels: int = 256):
        super().__init__(nn.Parameter(torch.tensor(0.1)) if scale is None else scale)
        if levels < 2:
            raise ValueError(f"levels must be at least 2, got {levels}")
        self.levels = levels

    def forward(self, output: Tensor) -> TorchDistribution:
        """Levels about the output."""
        return LogisticLevels(output, self.scale_of(output), self.levels)

    def check(self, x: Tensor) -> None:
        """Refuse data that are no levels within [0, 1]."""
        super().check(x)
        refuse_outside_unit_interval(x, "DiscretizedLogistic", "use baselines.Gaussian")
        steps = x * (self.levels - 1)
        off = float((steps - steps.round()).abs().max())
        if off > 1e-2:
            raise ValueError(
                f"DiscretizedLogistic is a distribution on {self.levels} levels, k / {self.levels - 1}, and x lies up "
                f"to {off:.2g} of a step off them: round x, pass levels=, or use baselines.Gaussian"
            )


class LogisticLevels(TorchDistribution):
    """The distribution of :class:`DiscretizedLogistic`: levels k / (L - 1) about a location."""

    arg_constraints: ClassVar[dict] = {"loc": constraints.real, "scale": constraints.positive}
    support = constraints.unit_interval

    def __init__(self, loc: Tensor, scale: Tensor, levels: int = 256, *, validate_args: bool | None = None):
        self.loc, self.scale = torch.broadcast_tensors(loc, scale)
        self.levels = levels
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape, _instance=None) -> "LogisticLevels":
        """The same distribution with a larger batch shape."""
        return LogisticLevels(
            self.loc.expand(batch_shape), self.scale.expand(batch_shape), self.levels, validate_args=False
        )

    @property
    def mean(self) -> Tensor:
        """Of the logistic clipped to [0, 1], before it is rounded."""
        upper, lower = F.softplus(self.loc / self.scale), F.softplus((self.loc - 1.0) / self.scale)
        return self.scale * (upper - lower)

    @torch.no_grad()
    def sample(self, sample_shape=()) -> Tensor:
        """Levels in [0, 1]."""
        shape = self._extended_shape(torch.Size(sample_shape))
        uniform = torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device).clamp(1e-6, 1 - 1e-6)
        steps = self.levels - 1
        return ((self.loc + self.scale * torch.logit(uniform)).clamp(0.0, 1.0) * steps).round() / steps

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-probability of each level, nats."""
        half = 0.5 / (self.levels - 1)
        upper, lower = (value + half - self.loc) / self.scale, (value - half - self.loc) / self.scale
        # sigmoid(b) - sigmoid(a) = sigmoid(b) sigmoid(-a) (1 - exp(a - b)), each factor exact far out in the tails.
        inside = F.logsigmoid(upper) + F.logsigmoid(-lower) + torch.log(-torch.expm1(-2.0 * half / self.scale))
        below, above = value < half, value > 1.0 - half
        return torch.where(below, F.logsigmoid(upper), torch.where(above, F.logsigmoid(-lower), inside))
