"""Series on the unit sphere, each step around a direction predicted from those before it."""

from collections.abc import Callable

import torch
from pyro import distributions as dist
from pyro.distributions import constraints
from torch import Tensor, nn

from pyro_ldm.distributions.autoregressive import Autoregressive as AutoregressiveDistribution
from pyro_ldm.distributions.von_mises_fisher import VonMisesFisher
from pyro_ldm.encoders.normalize import Normalize
from pyro_ldm.priors.series import Series


class VonMisesFisherAutoregressive(Series):
    r"""Series on the unit sphere with a nonlinear prediction of each step's direction: CPC and JEPA with cosines.

    .. math:: z_1 \sim \mathrm{Uniform}(S^{D-1}), \qquad
        z_t \mid z_{<t} \sim \mathrm{vMF}(h_t / \|h_t\|, \kappa), \qquad
        h_{1:T} = \mathrm{predictor}\big((z_0, u_1), (z_1, u_2), \dots, (z_{T-1}, u_T)\big)

    Args:
        latent_dim: D, at least 2.
        predictor: From (M, T, D), or (M, T, D + U) with inputs, to (M, T, D), causal, such as
            :class:`~pyro_ldm.encoders.Recurrent`. Its parameters are learned, not Bayesian.
        concentration: kappa: a number (fixed), an ``nn.Parameter`` (learned) or a distribution (Bayesian).
        start: z_0, () or (D,), likewise; off the sphere as it may be.
        num_steps: T; by default that of the batch, ``x.shape[1]``. ``prior(range(n))`` needs it.

    Shape:
        Called with x (N, T, ...), and, in any order, inputs (N, T, U) and a boolean mask (N, T) or (N,) of what is
        there; z (N, T, D), of unit norm.

    Raises:
        ValueError: If D < 2. While running, if the number of steps is not known, or the predictor is not causal; under
            validation, if a step is not of unit norm: end the encoder with :class:`pyro_ldm.encoders.Normalize`.

    References:
        van den Oord, Li and Vinyals (2018), CPC, https://arxiv.org/abs/1807.03748

    Example:
        >>> prior = VonMisesFisherAutoregressive(3, ldm.encoders.LastSteps(3, 3), concentration=100.0, num_steps=20)
        >>> z = prior(range(5))
        >>> z.shape, torch.allclose(z.norm(dim=-1), torch.ones(5, 20))
        (torch.Size([5, 20, 3]), True)
    """

    def __init__(
        self,
        latent_dim: int,
        predictor: Callable[[Tensor], Tensor],
        *,
        concentration: float | Tensor | nn.Parameter | dist.Distribution = 10.0,
        start: float | Tensor | nn.Parameter | dist.Distribution = 0.0,
        num_steps: int | None = None,
    ):
        super().__init__(latent_dim, num_steps)
        if latent_dim < 2:
            raise ValueError(f"a sphere has latent_dim >= 2, got {latent_dim}")
        self.predictor = predictor
        self.hyperparameter("start", start, constraints.real)
        self.hyperparameter("concentration", concentration, shape=())

    def distribution(self, *batch) -> AutoregressiveDistribution:
        """The distribution of z for this batch: ``prior.distribution(x).rollout(z, steps, num_samples)`` forecasts."""
        _, steps, inputs, mask = self.parts(batch)
        start, noise = self.read("start"), self._noise()
        return AutoregressiveDistribution(
            self.predictor, noise, steps, self.latent_dim, start=start, inputs=inputs, mask=mask
        )

    def _noise(self) -> Callable[[Tensor], dist.TorchDistribution]:
        concentration, normalize = self.read("concentration").unsqueeze(-1), Normalize()

        def about(h: Tensor) -> dist.TorchDistribution:
            first = torch.arange(h.shape[-2], device=h.device) == 0
            return VonMisesFisher(normalize(h), torch.where(first, 0.0, concentration))

        return about
