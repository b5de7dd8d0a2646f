r"""Posterior collapse: latents that the encoder says nothing with, and the decoder does not read."""

from dataclasses import dataclass

import torch
from torch import Tensor

ACTIVE = 0.01  # Burda et al. (2016), section 5.4


@dataclass(frozen=True, eq=False)
class PosteriorCollapse:
    """What :func:`posterior_collapse` measured; ``str()`` of it is the verdict.

    Attributes:
        active_units: Latent dims whose conditional mean varies over the data.
        latent_dim: D.
        variance: Of the conditional mean over the data, per dim, (D,), in squared units of z; of series that at each
            step, averaged over the steps.
        verdict: The finding and its remedy, in one sentence.
    """

    active_units: int
    latent_dim: int
    variance: Tensor
    verdict: str

    def __str__(self) -> str:
        return self.verdict


def posterior_collapse(means: Tensor, *, scale: float = 1.0) -> PosteriorCollapse:
    r"""How many latent dims a VAE uses: active units, whose posterior mean varies from datum to datum.

    .. math:: A_d = \mathrm{Var}_x \, \mathbb{E}[z_d \mid x] > 0.01 \, \mathrm{scale}^2

    A dim that is not active has its prior as its posterior whatever x is: it costs no KL, and tells nothing. Of series
    the mean may well move from step to step, as the prior's own does: it is compared at the same step. It is what
    :func:`pyro_ldm.diagnostics.collapse` is to deterministic encoders; a VAE's samples of z look healthy all the while.

    Args:
        means: E[z | x], as :func:`pyro_ldm.training.latents` gives them.
        scale: Standard deviation of the prior, in units of z. Positive.

    Shape:
        means (N, D), or (N, T, D), NaN where masked, N >= 2, to a :class:`PosteriorCollapse`.

    Raises:
        ValueError: If means are no matrix, of one row, or not finite, or no step is there in two series.

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders, section 5.4,
        https://arxiv.org/abs/1509.00519

    Example:
        >>> print(posterior_collapse(torch.randn(500, 4) * torch.tensor([1.0, 1.0, 0.01, 0.0])))
        partial posterior collapse: 2 of 4 units are active; ...
    """
    if means.dim() not in (2, 3) or len(means) < 2:
        raise ValueError(f"means have shape (N, D) or (N, T, D), N >= 2, got {tuple(means.shape)}")
    by_step = means.double().reshape(len(means), -1, means.shape[-1])
    there = ~by_step.isnan().all(-1, keepdim=True) if means.dim() == 3 else torch.ones_like(by_step[..., :1]).bool()
    if not torch.isfinite(by_step[there.squeeze(-1)]).all():
        raise ValueError("means have NaN or Inf: look at the data and the encoder")
    number = there.sum(0)
    if not (number > 1).any():
        raise ValueError("no step is there in two series, so nothing is known of how means vary: pass more series")
    if not 0 < scale < float("inf"):
        raise ValueError(f"scale must be positive, got {scale}: pass the prior's standard deviation in units of z")
    centre = by_step.where(there, 0.0).sum(0) / number.clamp_min(1)
    squares = (by_step - centre).where(there, 0.0).square().sum((0, 1))
    variance = squares / (number - 1).clamp_min(0).sum()
    latent_dim, active = len(variance), int((variance > ACTIVE * scale**2).sum())
    remedy = (
        "weigh the KL less, or less at first (baselines.Tempered), weaken the decoder, or score the guide by its "
        "marginal (an InfoVAE)"
    )
    if active == 0:
        verdict = (
            f"posterior collapse: none of {latent_dim} units is active, and the latents tell nothing of x; {remedy}"
        )
    elif active < latent_dim:
        verdict = (
            f"partial posterior collapse: {active} of {latent_dim} units are active; the others repeat the prior: "
            f"fewer latent dims would do, or {remedy}"
        )
    else:
        verdict = f"no posterior collapse: all {latent_dim} units are active"
    return PosteriorCollapse(active, latent_dim, variance, verdict)
