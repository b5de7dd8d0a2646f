r"""Series of a linear-Gaussian state space: likelihood, filter, smoother, forecasts, missing data."""

import math
import warnings
from typing import Any, ClassVar

import torch
from pyro.distributions import MultivariateNormal, TorchDistribution, constraints
from torch import Tensor

from pyro_ldm.distributions.state_space import (
    Gains,
    Model,
    Smoothed,
    covariances,
    draw_noise,
    filter_means,
    linear_recurrence,
    log_likelihood,
    quadratic_recurrence,
    simulate,
    smooth,
)
from pyro_ldm.distributions.state_space.filter import precise
from pyro_ldm.distributions.state_space.layout import (
    check_gaussian,
    coordinates,
    gaussian,
    moments,
    pad,
    time_major,
    unexpanded,
    without_autocast,
)
from pyro_ldm.distributions.state_space.small import rows, transpose

STEPWISE = ("transition_matrix", "transition_dist", "observation_matrix", "observation_dist")


class LinearGaussianSSM(TorchDistribution):
    r"""Series z of a linear-Gaussian state h: the Kalman filter's model, as a distribution.

    .. math:: h_0 \sim \text{initial}, \qquad h_t = h_{t-1} A_t + w_t, \qquad z_t = h_t C_t + v_t, \qquad t = 1 \dots T

    The arguments are those of Pyro's :class:`~pyro.distributions.GaussianHMM`, whose initial distribution, too, is of
    the state before the first step. The rightmost batch dim of each but the first is time: (S, S) is one matrix for
    all, (T, S, S) one per step, (N, 1, S, S) one per series, (N, T, S, S) one for each. Inputs and actions u_t are
    means of the noise: ``transition_dist=Normal(u @ B, scale).to_event(1)``.

    All of it is parallel over steps, about 2 log2(T) operations one after the other, and differentiable.
    Covariances are computed in float64, and once for all series where none of what they depend on is a series' own.
    ``log_prob`` solves for all states at once where their precision matrix is well conditioned, and filters where it is
    not, or where that is faster; its derivative (Fisher's identity) needs no graph of either.

    Args:
        initial_dist: Gaussian of h_0, event shape (S,): ``Normal(...).to_event(1)`` or ``MultivariateNormal``.
        transition_matrix: A, (S, S) or with batch dims to the left, the last of them time.
        transition_dist: Gaussian of the process noise w, event shape (S,).
        observation_matrix: C, (S, L).
        observation_dist: Gaussian of the observation noise v, event shape (L,).
        duration: T, where no argument says it.
        mask: What of z is there, boolean: steps (..., T), or coordinates (..., T, L); where it is False, z is not read
            and may be NaN. ``~z.isnan()`` takes NaN for missing. It may have a batch dim of 1, which tells
            coordinates (1, T, L) from the steps of T series.

    Shape:
        Batch shape that of the series, event shape (T, L). ``log_prob`` (..., T, L) to (...), nats.

    Raises:
        TypeError: If an argument's distribution is not Gaussian.
        ValueError: If shapes do not agree, T is not known, the transition matrix is not finite, or z is not finite
            where it is there: which series and step, both counted from 0.

    References:
        Särkkä and García-Fernández (2021), Temporal parallelization of Bayesian smoothers,
        https://arxiv.org/abs/1905.13002 (the scan); Heller (1976), Some aspects of the cyclic reduction algorithm for
        block tridiagonal linear systems, https://doi.org/10.1137/0713042 (all states at once); Durbin and Koopman
        (2002), A simple and efficient simulation smoother (posterior samples).

    Example:
        >>> noise = dist.Normal(torch.zeros(2), 0.1).to_event(1)
        >>> turn = 0.9 * torch.tensor([[0.0, 1.0], [-1.0, 0.0]])
        >>> ssm = LinearGaussianSSM(noise, turn, noise, torch.eye(2), noise, duration=50)
        >>> z = ssm.sample((8,))
        >>> ssm.log_prob(z).shape, ssm.filter(z).mean.shape, ssm.forecast(z, 10).variance.shape
        (torch.Size([8]), torch.Size([8, 50, 2]), torch.Size([8, 10, 2]))
    """

    arg_constraints: ClassVar[dict] = {}
    support = constraints.independent(constraints.real, 2)
    has_rsample = True
    gaussian = True

    def __init__(
        self,
        initial_dist: TorchDistribution,
        transition_matrix: Tensor,
        transition_dist: TorchDistribution,
        observation_matrix: Tensor,
        observation_dist: TorchDistribution,
        *,
        duration: int | None = None,
        mask: Tensor | None = None,
        validate_args: bool | None = None,
    ):
        states, observed = observation_matrix.shape[-2:]
        for name, thing, shape in (
            ("initial_dist", initial_dist, (states,)),
            ("transition_matrix", transition_matrix, (states, states)),
            ("transition_dist", transition_dist, (states,)),
            ("observation_dist", observation_dist, (observed,)),
        ):
            got = tuple(thing.size()[-2:] if isinstance(thing, Tensor) else thing.event_shape)
            if got != shape:
                raise ValueError(
                    f"{name} has (event) shape {got} where {shape} is wanted, for states of {states} and observations "
                    f"of {observed} dims, as observation_matrix (states, observations) says"
                    + ("; declare univariate noise by .to_event(1)" if got == () else "")
                )
            if not isinstance(thing, Tensor):
                check_gaussian(name, thing)
        self.initial_dist = initial_dist
        self.transition_matrix, self.transition_dist = transition_matrix, transition_dist
        self.observation_matrix, self.observation_dist = observation_matrix, observation_dist
        shapes = {name: self._steps_shape(name) for name in STEPWISE}
        lengths = {n: shape[-1] for n, shape in shapes.items() if shape[-1:] not in ((), (1,))}
        lengths |= {} if duration is None else {"duration": duration}
        if mask is not None:
            mask, per_step = coordinates(mask, observed, set(lengths.values()))
            lengths |= {"mask": per_step}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"the number of steps must be the same everywhere, got {lengths}")
        num_steps = next(iter(lengths.values()), 1 if any(shapes.values()) else None)
        if num_steps is None:
            raise ValueError("nothing says how many steps there are: pass duration=T")
        if num_steps < 1:
            raise ValueError(f"a series has at least one step, got {num_steps}")
        self.observed = mask
        batch = [initial_dist.batch_shape, *(shape[:-1] for shape in shapes.values())]
        batch += [] if mask is None else [mask.shape[:-2]]
        super().__init__(torch.broadcast_shapes(*batch), torch.Size((num_steps, observed)), validate_args=validate_args)
        if self._validate_args:
            self._check_transition()

    def _steps_shape(self, name: str) -> torch.Size:
        """Batch shape of an argument, the last dim time."""
        thing = getattr(self, name)
        return thing.shape[:-2] if isinstance(thing, Tensor) else thing.batch_shape

    def _check_transition(self) -> None:
        """Refuse what is not finite, of which some LAPACKs end the process; warn of what is unstable."""
        if not torch.isfinite(self.transition_matrix.detach()).all():
            raise ValueError(
                "transition_matrix is NaN or infinite: if it is learned, training has diverged; lower the learning "
                "rate, or clip gradients"
            )
        if self.transition_matrix.shape[-3:-2] not in ((), (1,)):
            return  # another matrix at each step: their radii say nothing of the product
        radius = float(torch.linalg.eigvals(self.transition_matrix.detach().cpu()).abs().max())  # GPUs are slow at it
        if radius > 1 + 1e-6:
            warnings.warn(
                f"the transition matrix has spectral radius {radius:.4g}, over 1: states grow without bound over time. "
                "What is computed is right; if it is not meant, scale the matrix down",
                stacklevel=3,
            )

    def expand(self, batch_shape, _instance=None) -> "LinearGaussianSSM":
        """The same, for more series; covariances are not computed anew for each."""
        new = self._get_checked_instance(LinearGaussianSSM, _instance)
        for name in ("initial_dist", *STEPWISE, "observed"):
            setattr(new, name, getattr(self, name))
        super(LinearGaussianSSM, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    # What follows is time-major within: (T, *batch, ...).

    def _model(self, rank: int, *, masked: bool = True) -> tuple[Model, Tensor]:
        """The parameters for series of ``rank`` batch dims, and the observations' mean; of coordinates that are missing
        the observation is noise of variance 1."""
        loc, covariance = moments(self.initial_dist)
        drift, process = (time_major(t, rank, e) for t, e in zip(moments(self.transition_dist), (1, 2), strict=True))
        offset, noise = (time_major(t, rank, e) for t, e in zip(moments(self.observation_dist), (1, 2), strict=True))
        transition = time_major(self.transition_matrix, rank, 2)
        observation = time_major(self.observation_matrix, rank, 2)
        if masked and self.observed is not None:
            there = time_major(self.observed, rank, 1).to(observation.dtype)
            there = there.expand(*there.shape[:-1], self.event_shape[-1])
            observation, offset = observation * there.unsqueeze(-2), offset * there
            noise = noise * there.unsqueeze(-1) * there.unsqueeze(-2) + torch.diag_embed(1 - there)
        initial, initial_noise = pad(loc, rank, 1), pad(covariance, rank, 2)
        return Model(transition, drift, process, observation, noise, initial, initial_noise), offset

    def _read(self, value: Tensor) -> tuple[Model, Tensor]:
        """The model, and a value less the observations' mean, zero where it is missing."""
        if value.shape[-2:] != self.event_shape:
            raise ValueError(
                f"z has shape {tuple(value.shape)} where (..., {', '.join(map(str, self.event_shape))}) is wanted"
            )
        value = value.to(torch.promote_types(value.dtype, torch.float32))  # half precision, as autocast leaves it
        lead = torch.broadcast_shapes(value.shape[:-2], self.batch_shape)
        model, offset = self._model(len(lead))
        y = value.expand(*lead, *self.event_shape).movedim(-2, 0)
        if self.observed is not None:
            y = torch.where(time_major(self.observed, len(lead), 1), y, 0.0)
        if not torch.isfinite(y.detach().sum()):
            self._refuse(y)
        return model, y - offset.to(y.dtype)

    def _refuse(self, y: Tensor) -> None:
        bad = (~torch.isfinite(y)).any(-1)
        if bad.any():
            step, *series = bad.nonzero()[0].tolist()
            which = f" of series {', '.join(map(str, series))}" if series else ""
            raise ValueError(
                f"z is NaN or infinite at step {step}{which}, and in {int(bad.sum())} steps in all: "
                "pass mask=~z.isnan() if that means missing, else look at the encoder"
            )

    def _filtered(self, value: Tensor) -> tuple[Model, Gains, Tensor, Tensor]:
        model, y = self._read(value)
        gains = covariances(model, len(y))
        return model, gains, *filter_means(model, gains, y)

    def _smoothed(self, value: Tensor) -> Smoothed:
        return smooth(*self._filtered(value))

    @without_autocast
    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of each series, of what is there of it; (..., T, L) to (...), nats."""
        model, y = self._read(value)
        score = log_likelihood(model, y)
        if self.observed is None:
            return score
        missing = (~self.observed).expand(*self.observed.shape[:-2], *self.event_shape).sum((-1, -2))
        return score + 0.5 * math.log(2 * math.pi) * missing.to(score.dtype)

    @without_autocast
    def filter(self, value: Tensor) -> MultivariateNormal:
        """The state given the observations up to its step: (..., T, L) to a Gaussian of shape (..., T), (S,)."""
        _, gains, loc, _ = self._filtered(value)
        return gaussian(loc, gains.filtered)

    @without_autocast
    def smooth(self, value: Tensor) -> MultivariateNormal:
        """The state given all observations: (..., T, L) to a Gaussian of shape (..., T), (S,)."""
        smoothed = self._smoothed(value)
        return gaussian(smoothed.loc[1:], smoothed.covariance[1:])

    @without_autocast
    def predictive(self, context: Tensor) -> TorchDistribution:
        """Each observation given those before it: (..., T, L) to a Gaussian of shape (..., T), (L,).

        Steps of which something is missing are masked: they score zero.
        """
        _, gains, _, loc = self._filtered(context)
        predictive = self._observed(loc, gains.predicted)
        if self.observed is None:
            return predictive
        return predictive.mask(self.observed.all(-1).expand(predictive.batch_shape))

    @without_autocast
    def _expected(self, context: Tensor) -> tuple[Tensor, Tensor]:
        """Means of each state (..., T, S), and of each observation (..., T, L), given what was before."""
        _, _, _, loc = self._filtered(context)
        model, offset = self._model(loc.dim() - 2, masked=False)
        z = rows(loc, model.observation.to(loc.dtype)) + offset.to(loc.dtype)
        return loc.movedim(0, -2), z.movedim(0, -2)

    @without_autocast
    def observe(self, states: MultivariateNormal) -> MultivariateNormal:
        """What is observed of Gaussian states (..., T), (S,): of smoothed ones, what is missing is imputed."""
        return self._observed(states.loc.movedim(-2, 0), states.covariance_matrix.movedim(-3, 0))

    def _observed(self, loc: Tensor, covariance: Tensor) -> MultivariateNormal:
        model, offset = self._model(loc.dim() - 2, masked=False)
        c = precise(model.observation)
        spread = transpose(c) @ precise(covariance) @ c + precise(model.observation_noise)
        return gaussian(rows(loc, c.to(loc.dtype)) + offset.to(loc.dtype), spread)

    @without_autocast
    def forecast(self, value: Tensor, steps: int, **arguments: Any) -> "LinearGaussianSSM":
        """The series to come, given one: again a state space, from the last filtered state on.

        It has moments, samples, and the log score of what came.

        Args:
            value: The series so far (..., T, L).
            steps: How many steps.
            **arguments: Those of the constructor that are others in the steps to come, such as a ``transition_dist``
                with the actions; of what differs from step to step they must be given.
        """
        stepwise = [name for name in STEPWISE if self._steps_shape(name)[-1:] not in ((), (1,))]
        if missing := [name for name in stepwise if name not in arguments]:
            raise ValueError(
                f"{', '.join(missing)} differ(s) from step to step: pass those of the {steps} steps to come"
            )
        states = self.filter(value)
        last = MultivariateNormal(states.loc[..., -1, :], scale_tril=unexpanded(states.scale_tril, 3)[..., -1, :, :])
        same = {name: getattr(self, name) for name in STEPWISE} | arguments
        return LinearGaussianSSM(last, **same, duration=steps, validate_args=False)

    @without_autocast
    def posterior_sample(self, value: Tensor, sample_shape=()) -> Tensor:
        """Draws of the states given all observations: (..., T, L) to (*sample_shape, ..., T, S)."""
        lead = torch.broadcast_shapes(value.shape[:-2], self.batch_shape)
        shape = torch.Size((*sample_shape, *lead))
        model, offset = self._model(len(shape))
        states, y = simulate(model, draw_noise(model, shape, self.event_shape[0]))
        simulated = (y + offset).movedim(0, -2)
        # The mean is affine in z: what is simulated, moved by the difference of the two means.
        mean, error = self._smoothed(value).loc, states - self._smoothed(simulated).loc
        return mean[1:].movedim(0, -2) + error[1:].movedim(0, -2)

    @without_autocast
    def rsample(self, sample_shape=()) -> Tensor:
        """Series (*sample_shape, *batch, T, L), reparameterised."""
        shape = torch.Size(sample_shape) + self.batch_shape
        model, offset = self._model(len(shape), masked=False)
        return (simulate(model, draw_noise(model, shape, self.event_shape[0]))[1] + offset).movedim(0, -2)

    @property
    @without_autocast
    def mean(self) -> Tensor:
        """Of each step, before anything is observed: (..., T, L)."""
        model, offset = self._model(len(self.batch_shape), masked=False)
        drift = model.drift.expand(self.event_shape[0], *self.batch_shape, -1)
        matrix = model.transition.expand(len(drift), *model.transition.shape[1:])
        states = linear_recurrence(matrix, drift, model.initial.expand_as(drift[0]))
        return (rows(states, model.observation) + offset).movedim(0, -2)

    @property
    @without_autocast
    def covariance_matrix(self) -> Tensor:
        """Of each step's observation, before anything is observed: (..., T, L, L)."""
        model, _ = self._model(len(self.batch_shape), masked=False)
        matrix, noise = (
            t.expand(self.event_shape[0], *t.shape[1:]) for t in (model.transition, model.transition_noise)
        )
        c = model.observation
        spread = transpose(c) @ quadratic_recurrence(matrix, noise, model.initial_noise) @ c + model.observation_noise
        size = self.event_shape[-1]
        return spread.movedim(0, -3).expand(*self.batch_shape, *self.event_shape, size)

    @property
    def variance(self) -> Tensor:
        """Of each step and coordinate, before anything is observed: (..., T, L)."""
        return self.covariance_matrix.diagonal(dim1=-2, dim2=-1)
