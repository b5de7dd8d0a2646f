r"""A state space whose process noise follows the recent errors of its own predictions, or the state."""

from collections.abc import Callable
from typing import ClassVar

import torch
from pyro.distributions import Independent, MultivariateNormal, Normal, TorchDistribution, constraints
from torch import Tensor

from pyro_ldm.distributions.causality import check_causal
from pyro_ldm.distributions.linear_gaussian_ssm import LinearGaussianSSM
from pyro_ldm.distributions.state_space import covariances, draw_noise
from pyro_ldm.distributions.state_space.small import rows


class AdaptiveSSM(TorchDistribution):
    r"""Series of a linear-Gaussian state whose process noise depends on what was before: surprised, it is unsure.

    .. math:: m_t = \mathbb{E}[h_t \mid z_{<t}], \quad e_t = z_t - \mathbb{E}[z_t \mid z_{<t}]
        \text{ of the state space without this}, \\
        w_t \sim \mathcal N(b_t,\, c_t^2 Q_t), \qquad
        c_{1:T} = \mathrm{adapt}\big((0, m_1), (e_1, m_2), \dots, (e_{T-1}, m_T)\big)

    The noise at a step depends on what came before it alone, so that this is a density of series (a conditionally
    Gaussian state space) and, given a series, all of its inference is that of a linear-Gaussian one: ``given(z)``, with
    its filter and smoother.

    Args:
        ssm: The state space.
        adapt: From (M, T, L + S), beside each other the error at the step before, in units of z, and the state that is
            expected, in units of h, to positive factors (M, T, 1 or S) on the scale of the process noise; causal,
            which is checked once. Bounded, best: where it grows with the errors
            without end, they grow with it, and series drawn explode.

    Shape:
        Batch and event shape of ``ssm``. ``log_prob`` (..., T, L) to (...), nats.

    Raises:
        ValueError: While running, if ``adapt`` is not causal, gives another shape, or a factor that is not positive.

    References:
        Liptser and Shiryaev (1978), Statistics of random processes II, chapter 13 (conditionally Gaussian series).

    Example:
        >>> noise = dist.Normal(torch.zeros(2), 0.1).to_event(1)
        >>> walk = ldm.distributions.LinearGaussianSSM(noise, torch.eye(2), noise, torch.eye(2), noise, duration=20)
        >>> alert = AdaptiveSSM(walk, lambda past: 1 + past[..., :2].norm(dim=-1, keepdim=True))
        >>> z = alert.sample((5,))
        >>> alert.log_prob(z).shape, alert.given(z).filter(z).mean.shape
        (torch.Size([5]), torch.Size([5, 20, 2]))
    """

    arg_constraints: ClassVar[dict] = {}
    support = constraints.independent(constraints.real, 2)
    has_rsample = True
    gaussian = True

    def __init__(self, ssm: LinearGaussianSSM, adapt: Callable[[Tensor], Tensor], *, validate_args: bool | None = None):
        self.ssm, self.adapt = ssm, adapt
        super().__init__(ssm.batch_shape, ssm.event_shape, validate_args=validate_args)

    def expand(self, batch_shape, _instance=None) -> "AdaptiveSSM":
        """The same, for more series."""
        new = self._get_checked_instance(AdaptiveSSM, _instance)
        new.ssm, new.adapt = self.ssm.expand(batch_shape), self.adapt
        super(AdaptiveSSM, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def given(self, context: Tensor) -> LinearGaussianSSM:
        """The linear-Gaussian state space that this is, given a series (..., T, L): to filter and to smooth it.

        Its process noise at a step depends on the series before that step.
        """
        expected, mean = self.ssm._expected(context)
        errors = context - mean
        if self.ssm.observed is not None:  # what is missing is no surprise
            errors = torch.where(self.ssm.observed, errors, 0.0)
        before = torch.cat([torch.zeros_like(errors[..., :1, :]), errors[..., :-1, :]], -2)
        past = torch.cat([before, expected], -1)
        check_causal(self.adapt, past)
        states = expected.shape[-1]
        flat = self.adapt(past.reshape(-1, *past.shape[-2:]))
        if flat.dim() != 3 or flat.shape[-1] not in (1, states):
            raise ValueError(
                f"adapt maps (M, T, L + S) to factors (M, T, 1) or (M, T, {states}), got shape {tuple(flat.shape)}"
            )
        if self._validate_args and not (flat > 0).all():
            raise ValueError(
                f"adapt gives a factor of {float(flat.min()):.4g}, and factors on a scale are positive: end it with "
                "exp or softplus"
            )
        factor = flat.reshape(*past.shape[:-1], flat.shape[-1])
        return LinearGaussianSSM(
            self.ssm.initial_dist,
            self.ssm.transition_matrix,
            _scaled(self.ssm.transition_dist, factor),
            self.ssm.observation_matrix,
            self.ssm.observation_dist,
            duration=self.event_shape[0],
            mask=self.ssm.observed,
            validate_args=False,
        )

    def predictive(self, context: Tensor) -> TorchDistribution:
        """Each observation given those before it: (..., T, L) to a Gaussian of shape (..., T), (L,)."""
        return self.given(context).predictive(context)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of each series, of what is there of it; (..., T, L) to (...), nats."""
        return self.given(value).log_prob(value)

    def rsample(self, sample_shape=()) -> Tensor:
        """Series (*sample_shape, *batch, T, L), reparameterised, step by step."""
        shape = torch.Size(sample_shape) + self.batch_shape
        steps, rank = self.event_shape[0], len(shape)
        (model, offset), (seen, _) = self.ssm._model(rank, masked=False), self.ssm._model(rank)
        start, process, observation = draw_noise(model, shape, steps)
        gains = covariances(seen, steps).gain.to(process.dtype)
        state, mean, z = start, model.initial.expand_as(start), []
        error, past = process.new_zeros(*shape, self.event_shape[1]), []
        for t in range(steps):
            a, c, drift, shift = (_step(m, t) for m in (model.transition, model.observation, model.drift, offset))
            # The filter without this, whose errors and states the factor reads.
            expected = rows(mean.unsqueeze(0), a) + drift
            past.append(torch.cat([error, expected[0]], -1))
            flat = torch.stack(past, -2).reshape(-1, t + 1, past[0].shape[-1])
            factor = self.adapt(flat)[:, -1].reshape(*shape, -1)
            state = rows(state.unsqueeze(0), a)[0] + drift[0] + factor * process[t]
            z.append((rows(state.unsqueeze(0), c) + shift)[0] + observation[t])
            error = z[-1] - (rows(expected, c) + shift)[0]
            there = 1.0 if self.ssm.observed is None else self.ssm.observed.expand(*shape, *self.event_shape)[..., t, :]
            error = error * there
            mean = expected[0] + rows(error.unsqueeze(0), _step(gains, t))[0]
        return torch.stack(z, -2)


def _step(tensor: Tensor, t: int) -> Tensor:
    """Of a time-major tensor, one step, its dim kept."""
    return tensor[t : t + 1] if len(tensor) > 1 else tensor


def _scaled(fn: TorchDistribution, factor: Tensor) -> TorchDistribution:
    """A Gaussian with its scale multiplied."""
    if isinstance(fn, Independent):
        loc, scale = fn.base_dist.loc, fn.base_dist.scale
        return Normal(loc.expand_as(scale * factor), scale * factor, validate_args=False).to_event(1)
    tril = fn.scale_tril * factor.unsqueeze(-1)
    return MultivariateNormal(fn.loc.expand(tril.shape[:-1]), scale_tril=tril, validate_args=False)
