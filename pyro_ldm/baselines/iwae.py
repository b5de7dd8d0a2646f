"""Importance-weighted bounds on the evidence: to train by, and to measure by."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import torch
from pyro.distributions.util import scale_and_mask
from pyro.infer import ELBO, Trace_ELBO
from pyro.infer.enum import get_importance_trace
from torch import Tensor, nn

from pyro_ldm.compatibility import estimates, is_likelihood
from pyro_ldm.diagnostics.arviz.programs import running, sample_sites
from pyro_ldm.objective import Objective
from pyro_ldm.training.loader import tensors_of

AT_ONCE = 2**21  # numbers of x that particles are decoded to at once


class IWAE(ELBO):
    r"""The importance-weighted bound, for each datum of a batch on its own: K = 1 is the ELBO, K to infinity log p(x).

    .. math:: \mathcal L_K = -\mathbb{E} \log \tfrac1K \sum_{k=1}^{K}
        \frac{P(z_k) \, p(x \mid z_k)}{q(z_k \mid x)}, \qquad z_k \sim q(z \mid x)

    Pyro's ``RenyiELBO(alpha=0)`` has the same value, but no loss to differentiate; and where :func:`pyro_ldm.fit`
    weighs a batch against all data, the weight would stand inside its logarithm. ``Objective.terms`` are the ELBO's.

    Args:
        num_particles: K.

    Raises:
        ValueError: If K < 1; at a call, if the guide is not scored by its conditionals, is not reparameterised, or
            there are sites outside plate "batch".

    References:
        Burda, Grosse and Salakhutdinov (2016), Importance weighted autoencoders, eq. 8, https://arxiv.org/abs/1509.00519

    Example:
        >>> decoder = ldm.baselines.MLPDecoder(2, (8,), hidden=[32])
        >>> model = ldm.baselines.Generative(ldm.priors.Gaussian(2), decoder, ldm.baselines.Gaussian())
        >>> guide = ldm.guides.Gaussian(torch.nn.Linear(8, 4), ldm.entropy.Conditional())
        >>> x = torch.randn(200, 8)
        >>> bool(ldm.Objective(model, guide, IWAE(50))(x) < ldm.Objective(model, guide)(x))
        True
    """

    def __init__(self, num_particles: int):
        if num_particles < 1:
            raise ValueError(f"num_particles must be at least 1, got {num_particles}")
        super().__init__(num_particles=num_particles)
        self.terms_of = Trace_ELBO(num_particles=num_particles, vectorize_particles=True, max_plate_nesting=1)

    def _get_trace(self, model, guide, args, kwargs):
        return _particles(model, guide, args, self.num_particles)

    def differentiable_loss(self, model, guide, *args, **kwargs) -> Tensor:
        """Minus the bound of the whole batch, nats."""
        weights, scale = _log_weights(model, guide, args, self.num_particles)
        return -scale * (weights.logsumexp(0) - math.log(self.num_particles)).sum()

    @torch.no_grad()
    def loss(self, model, guide, *args, **kwargs) -> float:
        """The same, as a number."""
        return float(self.differentiable_loss(model, guide, *args))

    def loss_and_grads(self, model, guide, *args, **kwargs) -> float:
        """The same, with its gradients: for ``SVI``."""
        loss = self.differentiable_loss(model, guide, *args)
        loss.backward()
        return float(loss.detach())


class Bound(NamedTuple):
    """A lower bound on the evidence.

    Attributes:
        nats: Mean over the data of the bound on log p(x).
        bits_per_dim: Minus that, in bits per number of a datum that is observed. Of a density (``Gaussian``), in units
            of x: it may be negative.
        standard_error: Of the mean over the data, nats.
        num_particles: K; 1 is the ELBO.
    """

    nats: float
    bits_per_dim: float
    standard_error: float
    num_particles: int


def iwae_bound(
    model: Callable,
    guide: nn.Module,
    data: Any,
    *,
    num_particles: int = 100,
    batch_size: int = 256,
    seed: int = 0,
) -> Bound:
    r"""The importance-weighted bound on the evidence, of trained model and guide on data: how good the model is.

    With one particle it is the ELBO; it grows with their number, to log p(x).

    Args:
        model: What generates: :class:`Generative`, or any Pyro program that observes the data.
        guide: Its guide, scored by its conditionals.
        data: A tensor, a tuple of tensors, or a :class:`pyro_ldm.datasets.Data`.
        num_particles: K.
        batch_size: Rows at once; particles are split so that memory does not grow with K.
        seed: Of the particles.

    Raises:
        ValueError: As :class:`IWAE`; or if the model observes nothing, or data are not finite.

    Example:
        >>> decoder = ldm.baselines.MLPDecoder(2, (8,), hidden=[32])
        >>> model = ldm.baselines.Generative(ldm.priors.Gaussian(2), decoder, ldm.baselines.Gaussian())
        >>> guide = ldm.guides.Gaussian(torch.nn.Linear(8, 4), ldm.entropy.Conditional())
        >>> x = torch.randn(200, 8)
        >>> elbo, bound = (iwae_bound(model, guide, x, num_particles=k).nats for k in (1, 100))
        >>> elbo < bound
        True
    """
    if num_particles < 1:
        raise ValueError(f"num_particles must be at least 1, got {num_particles}")
    tensors = tensors_of(data)
    objective = Objective(model, guide)
    device = next((p.device for p in objective.parameters()), tensors[0].device)
    batches = zip(*(tensor.split(batch_size) for tensor in tensors), strict=True)
    pair, bounds = None, []
    with running(model, guide, seed=seed):
        for batch in ([tensor.to(device) for tensor in part] for part in batches):
            pair = pair or objective.check(*batch)
            if not pair.likelihood:
                raise ValueError(
                    "the model observes no data, so there is no evidence to bound: add a likelihood (Generative)"
                )
            at_once = max(1, min(num_particles, AT_ONCE // max(1, batch[0].numel())))
            total = torch.full((len(batch[0]),), -torch.inf, device=device)
            for done in range(0, num_particles, at_once):
                weights, _ = _log_weights(model, guide, batch, min(at_once, num_particles - done))
                total = torch.logaddexp(total.to(weights.dtype), weights.logsumexp(0))
            bounds.append((total - math.log(num_particles)).double().cpu())
        numbers = _numbers(model, guide, [tensor[:1].to(device) for tensor in tensors], tensors)
    each = torch.cat(bounds)
    mean, error = float(each.mean()), float(each.std() / len(each) ** 0.5) if len(each) > 1 else math.inf
    return Bound(mean, -mean / (math.log(2.0) * numbers), error, num_particles)


def _numbers(model: Callable, guide: Callable, datum: Any, tensors: tuple[Tensor, ...]) -> float:
    """How many numbers of a datum are observed, on average: actions, say, are not, nor are masked steps."""
    trace, _ = _particles(model, guide, datum, 1)
    masks = [tensor for tensor in tensors if tensor.dtype == torch.bool]
    there = float(masks[0].double().mean()) if masks else 1.0
    return there * sum(site["value"].numel() for site in sample_sites(trace).values() if is_likelihood(site))


def _particles(model: Callable, guide: Callable, batch: Any, num_particles: int) -> tuple[Any, Any]:
    """Traces of model and guide, their sites (K, N)."""
    particles = pyro.plate("particles", num_particles, dim=-2)
    return get_importance_trace("flat", 2, particles(model), particles(guide), batch, {})


def _log_weights(model: Callable, guide: Callable, batch: Any, num_particles: int) -> tuple[Tensor, float]:
    """Log importance weights (K, N), nats, and the scale that the batch is weighed by against all data."""
    traces = _particles(model, guide, batch, num_particles)
    for names, entropy in estimates(traces[1]):
        if entropy.divergence != "KL + I":
            raise ValueError(
                f"an importance weight divides by q(z | x), and {type(entropy).__name__} scores {list(names)} by an "
                "estimate of the marginal: give the guide entropy.Conditional()"
            )
    total, scales = torch.zeros(()), set()
    for trace, sign in zip(traces, (1.0, -1.0), strict=True):
        for name, site in trace.nodes.items():
            if site["type"] != "sample":
                continue
            if all(frame.name != "batch" for frame in site["cond_indep_stack"]):
                raise ValueError(
                    f'site {name!r} is outside plate "batch", and each datum has a weight of its own: condition the '
                    "model on a value of it (pyro.condition), or use Trace_ELBO"
                )
            if sign < 0 and torch.is_grad_enabled() and not site["is_observed"] and not site["fn"].has_rsample:
                raise ValueError(
                    f"site {name!r} is not reparameterised, and its gradient would be wrong: use another ELBO"
                )
            scales.add(float(site["scale"]))
            total = total + sign * scale_and_mask(site["unscaled_log_prob"], mask=site["mask"])
    if len(scales) > 1:
        raise ValueError(f"sites are weighed by {sorted(scales)} (poutine.scale), and a weighed bound is none: unscale")
    return total.expand(num_particles, len(batch[0])), scales.pop()
