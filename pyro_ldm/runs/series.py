"""What a run of series says beyond its latents: the filter of its prior, what that recovers and foretells."""

from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor, nn

from pyro_ldm.baselines import Generative
from pyro_ldm.diagnostics import affine_r2, forecast_skill
from pyro_ldm.distributions import AdaptiveSSM, LinearGaussianSSM
from pyro_ldm.training import Fit

CHUNK = 512  # series filtered at once


class Band(NamedTuple):
    """Where the observed part of the state is: Gaussian at each step, in units of z.

    Attributes:
        loc: Mean, (N, T, D).
        state: Covariance of h C, (N, T, D, D).
        observed: Covariance of z, with the observation's noise, (N, T, D, D).
    """

    loc: Tensor
    state: Tensor
    observed: Tensor


class StateSpace:
    """The state space of a trained linear-Gaussian prior, wherever that is; tensors go in and come out on the CPU.

    Steps that are masked are predicted or interpolated. So it goes for forecasts too, and noises that differ from step
    to step need no further care.

    Args:
        prior: A prior of series whose ``distribution`` is a :class:`~pyro_ldm.distributions.LinearGaussianSSM`, or is
            one given a series.

    Shape:
        x (N, T, ...), z (N, T, D) and a boolean mask (N, T).
    """

    def __init__(self, prior: nn.Module):
        self.prior: Any = prior
        self.device = next((t.device for t in (*prior.parameters(), *prior.buffers())), torch.device("cpu"))

    @classmethod
    def of(cls, fit: Fit, data: Any) -> "StateSpace | None":
        """That of a fit; ``None`` where its prior has none, or has one for each draw of its hyperparameters."""
        return None if fit.terms.global_kl else cls.of_prior(fit.objective.prior, data)

    @classmethod
    def of_prior(cls, prior: Any, data: Any) -> "StateSpace | None":
        """That of a prior without Bayesian hyperparameters; ``None`` where it has none."""
        prior = prior.prior if isinstance(prior, Generative) else prior
        if not isinstance(prior, nn.Module) or not hasattr(prior, "distribution"):
            return None
        found = cls(prior)
        with torch.no_grad():
            fn = found.prior.distribution(data.x[:2].to(found.device))
        return found if isinstance(fn, LinearGaussianSSM | AdaptiveSSM) else None

    def _parts(self, x: Tensor, z: Tensor, mask: Tensor | None) -> Iterator[tuple[LinearGaussianSSM, Tensor]]:
        for start in range(0, len(z), CHUNK):
            batch = [t[start : start + CHUNK].to(self.device) for t in (x, z, mask) if t is not None]
            fn = self.prior.distribution(batch[0], *batch[2:])
            yield fn.given(batch[1]) if isinstance(fn, AdaptiveSSM) else fn, batch[1]

    @torch.no_grad()
    def filter(self, x: Tensor, z: Tensor, mask: Tensor | None = None) -> tuple[Tensor, Tensor]:
        """Mean and standard deviation of the state h at each step given those up to it, (N, T, S) both."""
        states = [ssm.filter(part) for ssm, part in self._parts(x, z, mask)]
        return torch.cat([s.loc.cpu() for s in states]), torch.cat([s.stddev.cpu() for s in states])

    @torch.no_grad()
    def band(self, x: Tensor, z: Tensor, mask: Tensor | None = None, *, smooth: bool = False) -> Band:
        """The filter, or the smoother, as seen in the space of z."""
        parts = []
        for ssm, part in self._parts(x, z, mask):
            states = ssm.smooth(part) if smooth else ssm.filter(part)
            observed, c = ssm.observe(states), ssm.observation_matrix
            band = (observed.loc, c.mT @ states.covariance_matrix @ c, observed.covariance_matrix)
            parts.append([moment.cpu() for moment in band])
        return Band(*map(torch.cat, zip(*parts, strict=True)))


def scores(z: Tensor, data: Any, space: StateSpace | None) -> dict[str, Any]:
    """Of a run of series, in JSON's types, on the very data that were fitted.

    * ``affine_r2``: what an affine map, fitted on half of the series, finds of the true latents of the others, from the
      encoder's outputs and from the filter's means;
    * ``forecast_skill``, over the last tenth of the steps: per step ahead, the share of the squared error that the
      forecast of z removes from that of the last output repeated (``over_persistence``), and of the mean
      (``over_mean``); every latent dim in units of its standard deviation.

    What is not defined, as for latents that are constant, is ``None``.
    """
    found: dict[str, Any] = {}
    if data.truth is not None and data.truth.dim() == 3:
        latents = {"encoder": z} | ({} if space is None else {"filter": space.filter(data.x, z, data.mask)[0]})
        found["affine_r2"] = {
            name: _defined(lambda a=array: affine_r2(a, data.truth, mask=data.mask)) for name, array in latents.items()
        }
    steps = max(1, z.shape[1] // 10)
    if space is not None and z.shape[1] > steps:
        mask = torch.ones(z.shape[:2], dtype=torch.bool) if data.mask is None else data.mask
        known = mask.clone()
        known[:, -steps:] = False
        forecast = space.band(data.x, z, known).loc[:, -steps:]
        mean, scale = z[mask].mean(0), z[mask].std(0)
        forecast, came, last = ((t - mean) / scale for t in (forecast, z[:, -steps:], z[:, -steps - 1]))
        there = mask[:, -steps:] & mask[:, -steps - 1, None]
        found["forecast_skill"] = {
            name: _defined(lambda r=reference: forecast_skill(forecast, came, r, mask=there).skill)
            for name, reference in (("over_persistence", last), ("over_mean", torch.zeros_like(last)))
        }
    return found


def _defined(score: Callable) -> Any:
    try:
        value = score()
    except ValueError:
        return None
    return value.tolist() if isinstance(value, np.ndarray) else float(value)
