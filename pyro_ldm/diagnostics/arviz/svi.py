"""Draws of a variational posterior in ArviZ, with the importance weights that say how good it is."""

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from pyro.infer import config_enumerate
from pyro.infer.autoguide import AutoGuide
from pyro.infer.mcmc.util import TraceEinsumEvaluator
from pyro.poutine import Trace
from torch import Tensor

from pyro_ldm.devices import on_device_of
from pyro_ldm.diagnostics.arviz.adapter import Tree
from pyro_ldm.diagnostics.arviz.export import merged, to_arviz
from pyro_ldm.diagnostics.arviz.programs import in_batch, plate_dims, running, sample_sites
from pyro_ldm.diagnostics.arviz.psis import MIN_WEIGHTS, psis
from pyro_ldm.guides import Compose


def from_svi(
    guide: Callable,
    *,
    model: Callable | None = None,
    model_args: tuple = (),
    model_kwargs: dict[str, Any] | None = None,
    num_samples: int = 1000,
    seed: int = 0,
    **groups: Any,
) -> Tree:
    r"""Draws of the prior's parameters from a trained guide as a tree: one chain of independent draws.

    Given the model, conditioned on its latents, each draw gets its importance weight

    .. math:: \log w_s = \log p(\theta_s, z) - \log q(\theta_s)

    and the k-hat of all goes to the attributes: below 0.7 the guide is close enough for weights to correct
    it, above it is not. Sample statistics are then ``lp``, log p, and ``log_weight``, in nats. There is no R-hat:
    independent draws of one distribution agree with each other however wrong it is.

    Args:
        guide: Trained: an AutoGuide, or a :class:`pyro_ldm.guides.Compose` that holds one. Sites in plate "batch" are
            left out, and so are parts that have no other.
        model: What the weights are for, such as ``pyro.condition(prior, {"z": z})``. Its discrete sites are summed out.
        model_args: What model and guide are called with: all data, no minibatch.
        model_kwargs: The same by name.
        num_samples: How many draws. Fewer than 30 get weights, but no k-hat.
        seed: Of the draws.
        **groups: Further groups, coords, dims and attrs, as for :func:`to_arviz`; they add to what the guide gives.

    Shape:
        Draws (1, num_samples, ...), ``lp`` and ``log_weight`` (1, num_samples).

    Raises:
        ValueError: If the guide has no parameters of the prior to draw, is not trained or a point, or does
            not fit the model.

    References:
        Yao, Vehtari, Simpson and Gelman (2018), Yes, but did it work?: evaluating variational inference,
        https://proceedings.mlr.press/v80/yao18a.html (k-hat of a variational posterior).

    Example:
        >>> from pyro.infer.autoguide import AutoNormal
        >>> from pyro_ldm.diagnostics.arviz import group
        >>> prior = ldm.priors.Laplace(2, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
        >>> z = torch.randn(50, 2)
        >>> guide = AutoNormal(poutine.block(prior, hide=["z"]))
        >>> model = pyro.condition(prior, {"z": z})
        >>> loss = ldm.Objective(model, guide)(z)  # and train it
        >>> tree = from_svi(guide, model=model, model_args=(z,), num_samples=100)
        >>> group(tree, "posterior")["scale"].shape
        (1, 100, 2)
    """
    if num_samples < 1:
        raise ValueError(f"num_samples is a number of draws, got {num_samples}: pass at least 1, better 1000")
    untrained = [part for part in _parts(guide) if isinstance(part, AutoGuide) and part.prototype_trace is None]
    if untrained:
        raise ValueError(
            f"{_name(untrained[0])} has not been trained, and has no parameters yet: train the guide first"
        )
    kwargs = dict(model_kwargs or {})
    draws: list[dict[str, Tensor]] = []
    log_q, log_p = [], []
    with running(guide, *([] if model is None else [model]), seed=seed):
        parts = [part for part in _parts(guide) if _parameters(poutine.trace(part).get_trace(*model_args, **kwargs))]
        if not parts:
            raise ValueError(
                'the guide has no parameters of the prior to draw, its sites are all in plate "batch": compose it with '
                "an AutoGuide of the prior by pyro_ldm.guides.Compose"
            )
        log_joint = None if model is None else _LogJoint(model, model_args, kwargs)
        for _ in range(num_samples):
            traces = [poutine.trace(part).get_trace(*model_args, **kwargs) for part in parts]
            sites = {name: site for trace in traces for name, site in _parameters(trace).items()}
            draws.append({name: site["value"] for name, site in sites.items()})
            if log_joint is not None:
                log_p.append(log_joint(draws[-1]))
                log_q.append(sum(_log_prob(trace) for trace in traces))
    posterior = {name: torch.stack([draw[name] for draw in draws])[None] for name in draws[0]}
    if num_samples > 1 and all(bool((values == values[:, :1]).all()) for values in posterior.values()):
        raise ValueError("all draws of the guide are the same, a point rather than a posterior: train an AutoNormal")
    found: dict[str, Any] = {
        "posterior": posterior,
        "sample_stats": {},
        "dims": plate_dims(sites),
        "attrs": {"inference": f"SVI: {' + '.join(map(_name, parts))}", "seed": seed},
    }
    if log_joint is not None:
        lp, lq = torch.tensor([log_p], dtype=torch.float64), torch.tensor([log_q], dtype=torch.float64)
        found["sample_stats"] = {"lp": lp, "log_weight": lp - lq}
        if num_samples >= MIN_WEIGHTS:
            found["attrs"]["k_hat"] = float(psis(lp - lq)[1][0])
    return to_arviz(**merged(found, groups))


class _LogJoint:
    """Log-density of a model and its data at draws of its parameters."""

    def __init__(self, model: Callable, args: tuple, kwargs: dict[str, Any]):
        self.model = on_device_of(model, args) if args else model
        self.args, self.kwargs = args, kwargs
        self.evaluator: TraceEinsumEvaluator | None = None

    def __call__(self, draw: dict[str, Tensor]) -> float:
        if self.evaluator is None:
            self._look(draw)
        return float(self.evaluator.log_prob(self._trace(draw)))  # type: ignore[union-attr]

    def _trace(self, draw: dict[str, Tensor]) -> Trace:
        return poutine.trace(poutine.condition(self.model, data=draw)).get_trace(*self.args, **self.kwargs)

    def _look(self, draw: dict[str, Tensor]) -> None:
        """Check the model against a draw, and have what is discrete in it summed out."""
        sites = sample_sites(self._trace(draw))
        extra = sorted(set(draw) - set(sites))
        open_sites = {name: site for name, site in sites.items() if not site["is_observed"]}
        missing = [name for name, site in open_sites.items() if not site["fn"].has_enumerate_support]
        if extra or missing:
            raise ValueError(
                f"the guide draws {extra} that the model lacks, and leaves {missing} of the model open: pass the model "
                'that the guide is of, its latents given, such as pyro.condition(prior, {"z": z})'
            )
        nesting = max((-frame.dim for site in sites.values() for frame in site["cond_indep_stack"]), default=0)
        if open_sites:
            self.model = poutine.enum(config_enumerate(self.model), first_available_dim=-1 - nesting)
        self.evaluator = TraceEinsumEvaluator(self._trace(draw), bool(open_sites), nesting)


def _parts(guide: Callable) -> list[Callable]:
    """What a guide is composed of."""
    return [each for part in guide.guides for each in _parts(part)] if isinstance(guide, Compose) else [guide]


def _parameters(trace: Trace) -> dict[str, Any]:
    """A guide's sites that are parameters of the prior: in no plate "batch", and no help of an AutoGuide's own."""
    sites = sample_sites(trace)
    return {name: s for name, s in sites.items() if not in_batch(s) and not s["infer"].get("is_auxiliary")}


def _log_prob(trace: Trace) -> float:
    """Of a guide's parameters, those that help an AutoGuide included."""
    return float(trace.log_prob_sum(lambda name, site: not in_batch(site)))


def _name(part: Callable) -> str:
    return getattr(part, "__name__", type(part).__name__)
