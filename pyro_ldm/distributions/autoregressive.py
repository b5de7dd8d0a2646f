r"""A distribution over series: each step given those before it, by a causal predictor."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import ClassVar

import torch
from pyro.distributions import MaskedDistribution, MultivariateNormal, Normal, TorchDistribution, constraints
from torch import Tensor, nn

from pyro_ldm.distributions.causality import check_causal, run_aside


class Autoregressive(TorchDistribution):
    r"""Series of vectors, each step drawn given those before it, and inputs (actions) if there are any.

    .. math:: P(z_{1:T}) = \prod_{t=1}^{T} p(z_t \mid z_{<t}, u_{\le t}), \qquad
        p(z_t \mid z_{<t}, u_{\le t}) = \mathrm{noise}(h_t), \qquad
        h_{1:T} = \mathrm{predictor}\big((z_0, u_1), (z_1, u_2), \dots, (z_{T-1}, u_T)\big)

    The shift by one step is done here: the predictor is an ordinary causal sequence module, whose output at step t may
    depend on its inputs up to t, such as :class:`~pyro_ldm.encoders.Recurrent`. That it is causal is checked once. All
    densities take one pass; sampling takes T passes over what is there so far.

    Args:
        predictor: From (M, T, D), or (M, T, D + U) with inputs, to (M, T, P), causal; M is all series at once.
            It runs when series are scored, so that nothing in it may be a sample site.
        noise: From (..., T, P), always from the first step on, to a distribution of batch shape (..., T) and event
            shape (D,): ``lambda loc: dist.Normal(loc, 0.5).to_event(1)``; with a predicted scale
            ``lambda h: dist.Normal(h[..., :D], h[..., D:].exp()).to_event(1)``; on the sphere
            ``lambda h: VonMisesFisher(normalize(h, dim=-1), 10.0)``, on the simplex
            ``lambda h: dist.Dirichlet(h.exp())``.
        num_steps: T.
        latent_dim: D.
        start: z_0, (..., D), in units of z; zeros by default.
        inputs: u, (..., T, U); u_t leads into step t.
        mask: Boolean (..., T): steps that are there. The others, which may be NaN, score 0, and are zeros to the
            predictor.
        batch_shape: Broadcast with the leading dims of the tensors above.

    Shape:
        Batch shape (...), event shape (T, D). ``log_prob`` of z (..., T, D) is (...), nats.

    Raises:
        ValueError: If a size does not fit. While running, if the predictor is not causal, or the noise's shape is
            another; when validating, if a step that is there is NaN or infinite: which, counted from 0.

    Example:
        >>> walk = Autoregressive(lambda past: past, lambda loc: dist.Normal(loc, 0.1).to_event(1), 50, 2)
        >>> z = walk.sample((1000,))
        >>> z.shape, walk.log_prob(z).shape, walk.rollout(z[:4], 10, 100).shape
        (torch.Size([1000, 50, 2]), torch.Size([1000]), torch.Size([100, 4, 10, 2]))
    """

    arg_constraints: ClassVar[dict] = {}

    def __init__(
        self,
        predictor: Callable[[Tensor], Tensor],
        noise: Callable[[Tensor], TorchDistribution],
        num_steps: int,
        latent_dim: int,
        *,
        start: Tensor | None = None,
        inputs: Tensor | None = None,
        mask: Tensor | None = None,
        batch_shape: Sequence[int] = (),
        validate_args: bool | None = None,
    ):
        if num_steps < 1 or latent_dim < 1:
            raise ValueError(f"num_steps and latent_dim must be at least 1, got {num_steps} and {latent_dim}")
        modules = predictor.modules() if isinstance(predictor, nn.Module) else ()
        if any(getattr(module, "_pyro_samples", None) for module in modules):
            raise ValueError(
                "the predictor has Bayesian weights (PyroSample), and it runs when series are scored, after the prior "
                "has run: make them parameters; what the noise is made of can be Bayesian"
            )
        if start is None:
            start = _zeros(latent_dim, predictor, inputs)
        elif start.dim() and start.shape[-1] not in (1, latent_dim):
            raise ValueError(f"start must have shape (..., {latent_dim}), got {tuple(start.shape)}")
        if inputs is not None and (inputs.dim() < 2 or inputs.shape[-2] != num_steps):
            raise ValueError(f"inputs must have shape (..., T = {num_steps}, U), got {tuple(inputs.shape)}")
        if mask is not None and (mask.dtype != torch.bool or mask.shape[-1:] != (num_steps,)):
            raise ValueError(
                f"mask must be boolean of shape (..., T = {num_steps}), got {mask.dtype} {tuple(mask.shape)}"
            )
        self.predictor, self.noise, self.inputs, self.observed = predictor, noise, inputs, mask
        self.start = start.expand(*start.shape[:-1], latent_dim)
        self._kind: list[TorchDistribution] = []  # shared with what is expanded from this
        leads = [self.start.shape[:-1], *([] if inputs is None else [inputs.shape[:-2]])]
        leads += [] if mask is None else [mask.shape[:-1]]
        shape = torch.broadcast_shapes(tuple(batch_shape), *leads)
        super().__init__(shape, torch.Size((num_steps, latent_dim)), validate_args=validate_args)

    def expand(self, batch_shape, _instance=None) -> "Autoregressive":
        """The same distribution with a larger batch shape; nothing is copied."""
        new = self._get_checked_instance(Autoregressive, _instance)
        for name in ("predictor", "noise", "inputs", "observed", "start", "_kind"):
            setattr(new, name, getattr(self, name))
        super(Autoregressive, new).__init__(torch.Size(batch_shape), self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    @property
    def has_rsample(self) -> bool:  # type: ignore[override]
        """Whether the noise is reparameterised."""
        return self._first_step().has_rsample

    @property
    def gaussian(self) -> bool:
        """Whether the noise is Gaussian: with which predictive LDM identifies latents under any estimator."""
        noise = self._first_step()
        while hasattr(noise, "base_dist"):
            noise = noise.base_dist
        return isinstance(noise, Normal | MultivariateNormal)

    @constraints.dependent_property(event_dim=2)
    def support(self):
        """Support of the noise, at every step."""
        return constraints.independent(self._first_step().support, 1)

    def predictive(self, context: Tensor) -> TorchDistribution:
        """Each step given those before it in ``context`` (..., T, D): batch shape (..., T), event shape (D,)."""
        if context.shape[-2:] != self.event_shape:
            steps, dim = self.event_shape
            raise ValueError(f"series must have shape (..., T = {steps}, D = {dim}), got {tuple(context.shape)}")
        if self._validate_args:
            self._check_finite(context)
        fn = self._conditionals(context[..., :-1, :], self.inputs)
        return fn if self.observed is None else fn.mask(self.observed)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density of series (..., T, D), nats, in one pass."""
        step = self.predictive(value)
        log_prob = step.log_prob(filled(step, _float32(value))).sum(-1)
        return log_prob.expand(torch.broadcast_shapes(log_prob.shape, self.batch_shape))

    def rsample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008
        """Reparameterised draws, step by step."""
        if not self.has_rsample:
            raise NotImplementedError(f"{type(self._first_step()).__name__} noise is not reparameterised: use sample")
        return self._extend(self._empty(sample_shape), self.event_shape[0], self.inputs)

    @torch.no_grad()
    def sample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008
        """Draws, step by step."""
        return self._extend(self._empty(sample_shape), self.event_shape[0], self.inputs)

    def rollout(self, context: Tensor, steps: int, num_samples: int = 1, *, inputs: Tensor | None = None) -> Tensor:
        """Forecasts with their uncertainty: draws of what follows, reparameterised where the noise is.

        Args:
            context: The steps so far, (..., T0, D), T0 of any length; the mask holds for those it covers.
            steps: Number of steps to draw.
            num_samples: Number of draws.
            inputs: (..., T0 + steps, U), for the context and what follows; by default those of the distribution, where
                they are long enough.

        Shape:
            (num_samples, ..., steps, D).
        """
        if context.shape[-1] != self.event_shape[1]:
            raise ValueError(
                f"context must have shape (..., T0, D = {self.event_shape[1]}), got {tuple(context.shape)}"
            )
        length = context.shape[-2] + steps
        inputs = self.inputs if inputs is None else inputs
        if inputs is not None and inputs.shape[-2] < length:
            raise ValueError(
                f"a forecast to step {length} takes the inputs up to there, got {inputs.shape[-2]}: "
                f"pass inputs= of shape (..., {length}, U)"
            )
        if self._validate_args:
            self._check_finite(context)
        lead = torch.broadcast_shapes(context.shape[:-2], self.batch_shape)
        past = context.expand(num_samples, *lead, *context.shape[-2:])
        return self._extend(past, steps, inputs)[..., context.shape[-2] :, :]

    def _conditionals(self, past: Tensor, inputs: Tensor | None, run: Callable | None = None) -> TorchDistribution:
        """Of steps 1 .. t + 1, given t steps (..., t, D)."""
        length = past.shape[-2] + 1
        past = _float32(self._present(past))
        start = self.start.to(past.dtype).unsqueeze(-2)
        leads = [part.shape[:-2] for part in (start, past, inputs) if part is not None]
        lead = torch.Size(torch.broadcast_shapes(*leads))
        x = torch.cat([part.expand(*lead, *part.shape[-2:]) for part in (start, past)], -2)
        if inputs is not None:
            x = torch.cat([x, inputs[..., :length, :].expand(*lead, -1, -1)], -1)
        if run is None:
            check_causal(self.predictor, x)
            run = self.predictor
        h = run(x.reshape(lead.numel(), *x.shape[-2:]))
        fn = self.noise(_float32(h).reshape(*lead, *h.shape[1:]))
        if fn.event_shape != self.event_shape[1:] or fn.batch_shape[-1:] != (length,):
            raise ValueError(
                f"the noise has batch shape {tuple(fn.batch_shape)} and event shape {tuple(fn.event_shape)}, and is to "
                f"have (..., T = {length}) and (D = {self.event_shape[1]},): declare univariate noise by .to_event(1), "
                "and give the predictor as many outputs as the noise has parameters"
            )
        return fn

    def _extend(self, past: Tensor, steps: int, inputs: Tensor | None) -> Tensor:
        for _ in range(steps):
            # The noise sees all steps, as it may differ between them; the last of its draws is the next step.
            past = torch.cat([past, self._conditionals(past, inputs)()[..., -1:, :]], -2)
        return past

    def _empty(self, sample_shape) -> Tensor:
        return self.start.new_empty(*sample_shape, *self.batch_shape, 0, self.event_shape[1])

    def _first_step(self) -> TorchDistribution:
        """The first step's distribution, to read the noise's kind from; kept, as Pyro reads it on every call."""
        if not self._kind:
            width = self.event_shape[1] + (0 if self.inputs is None else self.inputs.shape[-1])
            check_causal(self.predictor, self.start.new_empty(self.event_shape[0], width))
            run = partial(run_aside, self.predictor)
            self._kind.append(self._conditionals(self._empty(()), self.inputs, run))
        return self._kind[0]

    def _missing(self, length: int) -> Tensor | None:
        """Which of the first steps are masked; steps after the mask's are there."""
        if self.observed is None:
            return None
        missing = ~self.observed[..., :length]
        return torch.nn.functional.pad(missing, (0, length - missing.shape[-1]), value=False)

    def _present(self, series: Tensor) -> Tensor:
        """The series, zeros in place of masked steps."""
        missing = self._missing(series.shape[-2])
        return series if missing is None else torch.where(missing.unsqueeze(-1), 0.0, series)

    def _check_finite(self, series: Tensor) -> None:
        finite = torch.isfinite(self._present(series)).all(-1)
        if not finite.all():
            *lead, step = (~finite).nonzero()[0].tolist()
            which = f" of series {', '.join(map(str, lead))}" if lead else ""
            raise ValueError(
                f"z is NaN or infinite at step {step}{which}, and in {int((~finite).sum())} steps in all: give steps "
                "that are missing in mask=, else look at the data and the encoder"
            )


def filled(fn: TorchDistribution, value: Tensor) -> Tensor:
    """A value to score steps at, of which those that ``fn`` masks may be NaN: drawn anew, as they score 0 anywhere.

    Args:
        fn: Of steps, batch shape (..., T) and event shape (D,).
        value: Steps (..., T, D).
    """
    missing = ~torch.isfinite(value)
    if not isinstance(fn, MaskedDistribution) or not missing.any():
        return value
    with torch.random.fork_rng(devices=[value.device] if value.is_cuda else []), torch.no_grad():
        return torch.where(missing & ~torch.as_tensor(fn._mask).unsqueeze(-1), fn.sample(), value)


def _float32(tensor: Tensor) -> Tensor:
    """In float32 or better: half precision, as autocast leaves it, is too little for a density."""
    return tensor.to(torch.promote_types(tensor.dtype, torch.float32))


def _zeros(latent_dim: int, predictor: Callable, inputs: Tensor | None) -> Tensor:
    like = inputs
    if like is None and isinstance(predictor, nn.Module):
        like = next(predictor.parameters(), None)
    return torch.zeros(latent_dim) if like is None else like.new_zeros(latent_dim)
