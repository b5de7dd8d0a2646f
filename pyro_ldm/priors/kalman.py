"""Series of a linear-Gaussian state: the Kalman filter's model as a prior."""

import torch
from pyro import distributions as dist
from pyro.distributions import constraints
from torch import Tensor, nn

from pyro_ldm.distributions.adaptive_ssm import AdaptiveSSM
from pyro_ldm.distributions.linear_gaussian_ssm import LinearGaussianSSM
from pyro_ldm.priors.series import Series


class Kalman(Series):
    r"""Series of a hidden linear-Gaussian state, of which each z_t is a noisy observation.

    .. math:: h_0 \sim \mathcal N(0, \sigma_0^2 I), \qquad
        h_t \mid h_{t-1} \sim \mathcal N(h_{t-1} A + b + u_t B,\, q^2 I), \qquad
        z_t \mid h_t \sim \mathcal N(h_t C,\, r^2 I)

    With an encoder of frames this is a nonlinear, sampling-free Bayesian filter of video: ``prior.distribution(x)`` has
    its filter, smoother and forecasts, in closed form. All latents scaled, the objective is the same if the noises are
    scaled with them: there is a scale to choose, not to learn.

    Args:
        latent_dim: L, of z.
        state_dim: S, of h; L by default.
        transition_matrix: A, (S, S), real: a tensor (fixed), an ``nn.Parameter`` (learned) or a distribution
            (Bayesian). Learned, from the identity, by default.
        transition_noise: q, in units of h, () or (S,), likewise. Learned, from 0.1, by default. Or a module, called
            with x (N, T, ...), that gives q at each step of each series, (N, T, S) or (N, T, 1).
        observation_matrix: C, (S, L), real, likewise. By default the identity where S = L, else learned.
        observation_noise: r, in units of z, () or (L,), likewise; or a module, as above. Learned, from 0.5, by default.
        initial_scale: sigma_0, in units of h, () or (S,), likewise. Learned, from 1, by default.
        drift: b, in units of h, () or (S,), real, likewise. 0 by default.
        adapt: A module, from the filter's error at the step before and the state that it expects, (N, T, L + S), to a
            factor on q at each step, (N, T, 1 or S): noise that follows recent errors, as after a jump, or the state.
            Then ``distribution(x)`` is an :class:`~pyro_ldm.distributions.AdaptiveSSM`, whose filter is
            ``distribution(x).given(z).filter(z)``.
        inputs: B as a module, from inputs u (N, T, U), such as actions, to (N, T, S); u_t leads into step t.
        num_steps: T; by default that of the batch, ``x.shape[1]``. ``prior(range(n))`` needs it.

    Shape:
        Called with x (N, T, ...), and, in any order, inputs (N, T, U) and a boolean mask (N, T) or (N,) of what is
        there; z (N, T, L).

    References:
        Kalman (1960), https://doi.org/10.1115/1.3662552; Mikulasch and Zenke (2026), section on predictive LDM,
        https://arxiv.org/abs/2605.03517

    Example:
        >>> prior = Kalman(2, num_steps=50)
        >>> z = prior(range(8))
        >>> ssm = prior.distribution(z)
        >>> ssm.filter(z).mean.shape, ssm.forecast(z, 10).mean.shape
        (torch.Size([8, 50, 2]), torch.Size([8, 10, 2]))
    """

    def __init__(
        self,
        latent_dim: int,
        state_dim: int | None = None,
        *,
        transition_matrix: Tensor | nn.Parameter | dist.Distribution | None = None,
        transition_noise: float | Tensor | nn.Parameter | dist.Distribution | nn.Module | None = None,
        observation_matrix: Tensor | nn.Parameter | dist.Distribution | None = None,
        observation_noise: float | Tensor | nn.Parameter | dist.Distribution | nn.Module | None = None,
        initial_scale: float | Tensor | nn.Parameter | dist.Distribution | None = None,
        drift: float | Tensor | nn.Parameter | dist.Distribution = 0.0,
        adapt: nn.Module | None = None,
        inputs: nn.Module | None = None,
        num_steps: int | None = None,
    ):
        super().__init__(latent_dim, num_steps)
        states = latent_dim if state_dim is None else state_dim
        if states < 1:
            raise ValueError(f"state_dim must be at least 1, got {state_dim}")
        self.state_dim, self.adapt, self.inputs = states, adapt, inputs
        if observation_matrix is None:
            # Rows of a random rotation: every state is seen, none more than another.
            rotation = torch.linalg.qr(torch.randn(max(states, latent_dim), max(states, latent_dim))).Q
            square = states == latent_dim
            rows = rotation[:states, :latent_dim].contiguous()  # as what is saved to a file is to be
            observation_matrix = torch.eye(states) if square else nn.Parameter(rows)
        learned = nn.Parameter
        for name, value, shape, constraint in (
            (
                "transition_matrix",
                _or(transition_matrix, learned(torch.eye(states))),
                (states, states),
                constraints.real,
            ),
            ("observation_matrix", observation_matrix, (states, latent_dim), constraints.real),
            ("transition_noise", _or(transition_noise, learned(torch.full((states,), 0.1))), (states,), None),
            ("observation_noise", _or(observation_noise, learned(torch.full((latent_dim,), 0.5))), (latent_dim,), None),
            ("initial_scale", _or(initial_scale, learned(torch.ones(states))), (states,), None),
            ("drift", drift, (states,), constraints.real),
        ):
            if isinstance(value, nn.Module) and name.endswith("_noise"):
                setattr(self, name, value)
            else:
                self.hyperparameter(name, value, constraint or constraints.positive, shape=shape)

    def distribution(self, *batch) -> LinearGaussianSSM | AdaptiveSSM:
        """The state space that the prior, called with this batch, draws z from: score, filter, smooth, forecast.

        Args:
            *batch: As for the prior: x (N, T, ...), and, in any order, inputs (N, T, U) and a mask (N, T) or (N,).
        """
        x, steps, inputs, mask = self.parts(batch)
        drift = self._vector("drift", self.state_dim).unsqueeze(-2)
        if self.inputs is not None and inputs is None:
            raise ValueError("the prior takes inputs, and the batch has none: pass them beside x, zeros where none act")
        if inputs is not None:
            if self.inputs is None:
                raise ValueError("the batch has inputs, and the prior takes none: pass inputs=, a module, to it")
            push = self.inputs(inputs)
            if push.shape[-2:] != (steps, self.state_dim):
                raise ValueError(
                    f"the module of inputs gives shape {tuple(push.shape)} for inputs {tuple(inputs.shape)}, where "
                    f"(N, {steps}, {self.state_dim}) is wanted: a push of the state at each step of each series"
                )
            drift = drift + push
        initial = self._vector("initial_scale", self.state_dim)
        process = self._noise("transition_noise", self.state_dim, x)
        observation = self._noise("observation_noise", self.latent_dim, x)
        ssm = LinearGaussianSSM(
            dist.Normal(torch.zeros_like(initial), initial).to_event(1),
            self.read("transition_matrix").unsqueeze(-3),
            dist.Normal(drift, process).to_event(1),
            self.read("observation_matrix").unsqueeze(-3),
            dist.Normal(torch.zeros_like(observation), observation).to_event(1),
            duration=steps,
            mask=None if mask is None else mask.unsqueeze(-1),
        )
        return ssm if self.adapt is None else AdaptiveSSM(ssm, self.adapt)

    def _vector(self, name: str, size: int) -> Tensor:
        """A hyperparameter's value, (..., size)."""
        value = torch.atleast_1d(self.read(name))
        return value.expand(*value.shape[:-1], size)

    def _noise(self, name: str, size: int, x) -> Tensor:
        """A noise's scale, (..., T or 1, size)."""
        if name in self.shapes:
            return self._vector(name, size).unsqueeze(-2)
        if not isinstance(x, Tensor):
            raise ValueError(f"{name} is a module of x, which {x!r} has not: call the prior with x (N, T, ...)")
        value = getattr(self, name)(x)
        if value.shape[:-1] != x.shape[:2] or value.shape[-1] not in (1, size):
            raise ValueError(
                f"the module of {name} gives shape {tuple(value.shape)} for x of shape {tuple(x.shape)}, where "
                f"{(*x.shape[:2], size)} is wanted: a scale for each step of each series"
            )
        value = value.to(torch.promote_types(value.dtype, torch.float32))  # under autocast a module gives half of it
        return value.expand(*value.shape[:-1], size)


def _or(value, default):
    return default if value is None else value
