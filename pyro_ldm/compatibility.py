"""Whether a prior and a guide fit together, and what the objective of the two is."""

import warnings
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.distributions import (
    Delta,
    ExpandedDistribution,
    ImproperUniform,
    LowRankMultivariateNormal,
    MaskedDistribution,
    MultivariateNormal,
    Normal,
    Unit,
    constraints,
)
from pyro.poutine.util import site_is_subsample
from torch.distributions import Independent

from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.entropy import Entropy, Sphere

GAUSSIAN = (Normal, MultivariateNormal, LowRankMultivariateNormal, ImproperUniform, Delta)


class Pair(NamedTuple):
    """What a prior and a guide are together.

    Attributes:
        divergence: What their objective is, as :class:`~pyro_ldm.objective.Terms` names it.
        global_sites: Whether the prior has sites outside the plate.
        enumerated: Whether the guide has sites that are to be enumerated.
        steps: Steps of a series, 1 where the sites are vectors.
        likelihood: Whether the prior observes data in the plate.
    """

    divergence: str
    global_sites: bool
    enumerated: bool
    steps: int = 1
    likelihood: bool = False


def fit_together(prior: Callable, guide: Callable, *batch) -> Pair:
    """Run the pair once, and say what it is.

    Raises:
        ValueError: If the prior's sites do not match the guide's, differ in shape, or are outside the plate, not
            finite, or off the prior's sphere.
    """
    rows = len(batch[0])
    guide_trace = poutine.trace(guide).get_trace(*batch)
    guide_sites = {n: s for n, s in _sample_sites(guide_trace).items() if not s["infer"].get("is_auxiliary")}
    pushforwards = {n: s for n, s in guide_sites.items() if isinstance(s["fn"], Pushforward)}
    for name, site in pushforwards.items():
        _check_plate(name, site, rows, "guide")
        _check_finite(name, site["value"])
    prior_sites = _prior_sites(prior, guide_trace, guide_sites, batch)
    for name, site in pushforwards.items():
        expected = prior_sites[name]
        _check_plate(name, expected, rows, "prior")
        shape, prior_shape = tuple(site["fn"].event_shape), tuple(expected["fn"].event_shape)
        if shape != prior_shape:
            raise ValueError(
                f"site {name!r} has event shape {prior_shape} in the prior and {shape} in the guide: "
                "give the encoder as many outputs as the prior has latent dims"
            )
        if on_sphere(expected["fn"]):
            Sphere().check(site["value"])
    kinds = {"KL"} | {_kind(site) for name, site in guide_sites.items() if name not in pushforwards}
    for names, entropy in estimates(guide_trace):
        kinds.add(entropy.divergence)
        if not entropy.reads_conditional and any(on_sphere(prior_sites[n]["fn"]) != entropy.on_sphere for n in names):
            kinds.add("score")  # densities with respect to two measures
        elif entropy.gaussian:
            for name in names:
                _warn_unless_gaussian(name, prior_sites[name]["fn"])
    if any(isinstance(_base(prior_sites[name]["fn"]), ImproperUniform) for name in pushforwards):
        kinds.add("score")
    return Pair(
        divergence=next(kind for kind in ("score", "cross-entropy", "KL + I", "KL - I", "KL") if kind in kinds),
        global_sites=any(all(f.name != "batch" for f in s["cond_indep_stack"]) for s in prior_sites.values()),
        enumerated=any(site["infer"].get("enumerate") for site in guide_sites.values()),
        steps=max([1, *(site["fn"].event_shape[:-1].numel() for site in pushforwards.values())]),
        likelihood=any(is_likelihood(site) for site in prior_sites.values()),
    )


def estimates(guide_trace: Any) -> Iterator[tuple[tuple[str, ...], Entropy]]:
    """Each estimator of a guide's trace, with the names of the sites that it scores."""
    for name, site in guide_trace.nodes.items():
        infer = site.get("infer") or {}
        if isinstance(site.get("fn"), Pushforward) and "views" not in infer:
            yield (name,), site["fn"].estimator
        if "entropy" in infer:  # the factor that scores several views
            yield infer["sites"], infer["entropy"]


def is_likelihood(site: Any) -> bool:
    """Whether a site of a prior is observed data: in the plate, and no factor."""
    in_plate = any(frame.name == "batch" for frame in site["cond_indep_stack"])
    return site["type"] == "sample" and site["is_observed"] and in_plate and not isinstance(site["fn"], Unit)


def _kind(site: Any) -> str:
    """What scoring a guide's site by its own distribution makes of the objective; global sites change nothing."""
    if all(frame.name != "batch" for frame in site["cond_indep_stack"]):
        return "KL"
    return "score" if isinstance(_base(site["fn"]), Delta) else "KL + I"


def _prior_sites(prior: Callable, guide_trace, guide_sites: dict, batch: tuple) -> dict[str, Any]:
    """The prior's sample sites, given the guide's values; refuses sites that one has and the other lacks."""
    try:
        trace = poutine.trace(poutine.replay(prior, trace=guide_trace)).get_trace(*batch)
    except NotImplementedError as error:
        raise ValueError(
            f"the prior has a flat site that the guide does not sample (it samples {sorted(guide_sites)}): {error}"
        ) from error
    sites = _sample_sites(trace)
    latent = {n for n, s in sites.items() if not s["is_observed"] and not s["infer"].get("enumerate")}
    missing, extra = sorted(latent - set(guide_sites)), sorted(set(guide_sites) - set(sites))
    if missing or extra:
        what = [f"the guide lacks {missing} (add an AutoGuide for global ones)"] if missing else []
        what += [f"the prior lacks {extra}"] if extra else []
        raise ValueError(
            f"the prior's sites {sorted(latent)} do not match the guide's {sorted(guide_sites)}: {'; '.join(what)}"
        )
    return sites


def _sample_sites(trace) -> dict[str, Any]:
    return {n: s for n, s in trace.nodes.items() if s["type"] == "sample" and not site_is_subsample(s)}


def _check_plate(name: str, site, rows: int, program: str) -> None:
    frames = {frame.dim: frame for frame in site["cond_indep_stack"]}
    if -1 not in frames or frames[-1].name != "batch":
        where = f"in plates {[f.name for f in frames.values()]}" if frames else "outside the plate"
        raise ValueError(
            f"site {name!r} of the {program} is {where}, and a pushforward is estimated from the batch: "
            'sample it within pyro.plate("batch", len(x)), the rightmost plate'
        )
    if frames[-1].size != rows:
        raise ValueError(
            f'plate "batch" of the {program} has {frames[-1].size} rows, the batch {rows}: '
            'write pyro.plate("batch", len(x))'
        )


def _check_finite(name: str, value) -> None:
    finite = torch.isfinite(value).reshape(len(value), -1).all(-1)
    if not finite.all():
        raise ValueError(
            f"site {name!r} has NaN or Inf in {int((~finite).sum())} of {len(value)} rows: "
            "look at the data and the encoder"
        )


def _base(fn):
    while isinstance(fn, MaskedDistribution | ExpandedDistribution | Independent):
        fn = fn.base_dist
    return fn


def on_sphere(fn: Any) -> bool:
    """Whether a site's values are unit vectors, and its density one with respect to the sphere's surface."""
    return fn.support is constraints.sphere or getattr(fn.support, "base_constraint", None) is constraints.sphere


def _warn_unless_gaussian(name: str, fn) -> None:
    base = _base(fn)
    if not isinstance(base, GAUSSIAN) and not getattr(base, "gaussian", False):
        warnings.warn(
            f"site {name!r} pairs LogDet with a {type(base).__name__} prior: the log-determinant overestimates the "
            "entropy of non-Gaussian latents, and a flexible encoder will exploit that (a loss below zero). "
            "Use KNN, KDE or, for an invertible encoder, Jacobian",
            stacklevel=2,
        )
