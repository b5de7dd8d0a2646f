"""Series on the plane, each step around a prediction from those before it."""

from collections.abc import Callable

import torch
from pyro import distributions as dist
from pyro.distributions import constraints
from torch import Tensor, nn

from pyro_ldm.distributions.autoregressive import Autoregressive as AutoregressiveDistribution
from pyro_ldm.priors.series import Series


class Autoregressive(Series):
    r"""Series with a nonlinear prediction of each step and Gaussian, or Student-t, noise about it: CPC, JEPA.

    .. math:: z_1 \sim \mathcal N(h_1, \sigma^2 I), \qquad z_t \mid z_{<t} \sim \mathcal N(h_t, s^2 I), \qquad
        h_{1:T} = \mathrm{predictor}\big((z_0, u_1), (z_1, u_2), \dots, (z_{T-1}, u_T)\big)

    The first step has no past, and so a scale of its own. With an entropy the objective is predictive LDM, which under
    Gaussian noise identifies latents up to an affine map, however nonlinear the predictor. With
    ``stop_gradient(prior, sites=["z"])`` and ``Zero`` it is JEPA's: the target detached, the context not.

    Args:
        latent_dim: D.
        predictor: From (M, T, D), or (M, T, D + U) with inputs, to (M, T, D), causal, such as
            :class:`~pyro_ldm.encoders.Recurrent`. Its parameters are learned, not Bayesian.
        noise: s, in units of z, () or (D,): a number (fixed), an ``nn.Parameter`` (learned) or a
            distribution (Bayesian).
        scale: sigma, of the first step, in units of z, likewise.
        df: Degrees of freedom of the noise, likewise, as of a Student-t; ``None`` is a Gaussian.
        start: z_0, in units of z, likewise.
        num_steps: T; by default that of the batch, ``x.shape[1]``. ``prior(range(n))`` needs it.

    Shape:
        Called with x (N, T, ...), and, in any order, inputs (N, T, U) and a boolean mask (N, T) or (N,) of what is
        there; z (N, T, D).

    Raises:
        ValueError: While running, if the number of steps is not known, or the predictor is not causal.

    References:
        van den Oord, Li and Vinyals (2018), CPC, https://arxiv.org/abs/1807.03748; LeCun (2022), A path towards
        autonomous machine intelligence, section 4.4, https://openreview.net/forum?id=BZ5a1r-kVsf; Mikulasch and Zenke
        (2026), https://arxiv.org/abs/2605.03517

    Example:
        >>> prior = Autoregressive(2, ldm.encoders.Recurrent(2, 2, hidden=8), noise=0.1, num_steps=20)
        >>> prior(range(5)).shape
        torch.Size([5, 20, 2])
        >>> z = torch.randn(5, 20, 2)
        >>> prior.distribution(z).rollout(z, 10, 100).shape
        torch.Size([100, 5, 10, 2])
    """

    def __init__(
        self,
        latent_dim: int,
        predictor: Callable[[Tensor], Tensor],
        *,
        noise: float | Tensor | nn.Parameter | dist.Distribution = 0.5,
        scale: float | Tensor | nn.Parameter | dist.Distribution = 1.0,
        df: float | Tensor | nn.Parameter | dist.Distribution | None = None,
        start: float | Tensor | nn.Parameter | dist.Distribution = 0.0,
        num_steps: int | None = None,
    ):
        super().__init__(latent_dim, num_steps)
        self.predictor = predictor
        self.hyperparameter("start", start, constraints.real)
        self.hyperparameter("noise", noise)
        self.hyperparameter("scale", scale)
        self.student = df is not None
        if df is not None:
            self.hyperparameter("df", df)

    def distribution(self, *batch) -> AutoregressiveDistribution:
        """The distribution of z for this batch: ``prior.distribution(x).rollout(z, steps, num_samples)`` forecasts."""
        _, steps, inputs, mask = self.parts(batch)
        start, noise = self.read("start"), self._noise()
        return AutoregressiveDistribution(
            self.predictor, noise, steps, self.latent_dim, start=start, inputs=inputs, mask=mask
        )

    def _noise(self) -> Callable[[Tensor], dist.TorchDistribution]:
        noise, scale = _before_steps(self.read("noise")), _before_steps(self.read("scale"))
        df = _before_steps(self.read("df")) if self.student else None

        def about(loc: Tensor) -> dist.TorchDistribution:
            first = torch.arange(loc.shape[-2], device=loc.device).unsqueeze(-1) == 0
            width = torch.where(first, scale, noise)
            return (dist.Normal(loc, width) if df is None else dist.StudentT(df, loc, width)).to_event(1)

        return about


def _before_steps(value: Tensor) -> Tensor:
    """A hyperparameter (..., D) to broadcast against (..., T, D)."""
    return value.unsqueeze(-2) if value.dim() else value
