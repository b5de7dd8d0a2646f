"""Prior, guide and views from the options of the command line."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions import ImproperUniform
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn

from pyro_ldm import datasets, entropy, guides
from pyro_ldm.cli.choices import ARRANGEMENTS, AUGMENTATIONS, ENCODERS, known
from pyro_ldm.cli.program import Program
from pyro_ldm.compatibility import on_sphere
from pyro_ldm.encoders import PCA, Normalize, TwoViews


class Sites(NamedTuple):
    """A prior's sites: names of those within the plate and outside it; latent dims of the former, where they lie."""

    local: tuple[str, ...]
    outside: tuple[str, ...]
    latent_dim: int
    on_sphere: bool


def build(config, data: datasets.Data) -> tuple[Callable, nn.Module, Callable | None]:
    """Prior, guide and, for a prior of two views, what makes them of a datum.

    Raises:
        ValueError: If the prior or the encoder does not run, or one does not go with the other.
    """
    from pyro.infer.autoguide import AutoNormal

    width, event = data.x[0].numel(), tuple(data.shape)
    prior = _instance(config.prior, latent_dim=config.latent_dim or min(8, width))
    sites = sites_of(prior, data.x)
    latent_dim = sites.latent_dim
    if config.latent_dim not in (None, latent_dim):
        raise ValueError(
            f"the prior has {latent_dim} latent dims, and --latent_dim says {config.latent_dim}: leave it out"
        )
    estimator = _instance(config.entropy)
    if len(sites.local) > 2:
        raise ValueError(f"the prior has sites {list(sites.local)} per datum, and two views are all that is drawn here")
    if isinstance(estimator, entropy.Jacobian):
        if len(sites.local) > 1:
            raise ValueError("Jacobian scores one site: use LogDet, KDE or KNN for a prior of two views")
        reduce = PCA(width, latent_dim).fit(data.x)
        encoder = _encoder(config.encoder or "Linear", (latent_dim,), latent_dim)
        guide: nn.Module = guides.Invertible(encoder, estimator, site=sites.local[0], reduce=reduce)
    else:
        gaussian = isinstance(estimator, entropy.Mixture) and len(sites.local) == 1
        outputs = 2 * latent_dim if gaussian else latent_dim
        encoder = _encoder(config.encoder or ("ConvNet" if len(event) == 3 else "MLP"), event, outputs)
        _check_runs(encoder, data.x)
        encoder = nn.Sequential(encoder, Normalize()) if sites.on_sphere else encoder
        if len(sites.local) > 1:
            arrangement = known(config.arrangement, "arrangement", ARRANGEMENTS)
            guide = guides.Views(encoder, arrangement(estimator), sites=sites.local)
        else:
            guide = (guides.Gaussian if gaussian else guides.Deterministic)(encoder, estimator, site=sites.local[0])
    if sites.outside:
        guide = guides.Compose(AutoNormal(poutine.block(prior, hide=list(sites.local))), guide)
    return prior, guide, _views(config.augment, data) if len(sites.local) > 1 else None


def sites_of(prior: Callable, x: Tensor) -> Sites:
    """A prior's sites, found by running it on a few rows.

    Raises:
        ValueError: If it does not run, samples nothing within the plate, or other than vectors of one width.
    """
    rows = x[:4]
    batch: tuple[Tensor, ...] = (rows,)
    signature = inspect.signature(prior.forward if isinstance(prior, nn.Module) else prior)
    try:
        signature.bind(rows)
    except TypeError:  # a prior of two views may name both
        batch = (rows, rows)
    try:
        with torch.no_grad(), pyro.get_param_store().scope(), _FlatSites():
            trace = poutine.trace(prior).get_trace(*batch)
    except Exception as error:
        reason = f"{type(error).__name__}: {error}".split("Trace Shapes:")[0].strip()
        raise ValueError(f"the prior does not run on a batch of {len(rows)} rows: {reason}") from error
    found: dict[str, Any] = {n: trace.nodes[n] for n in trace.stochastic_nodes}
    found = {n: s for n, s in found.items() if not site_is_subsample(s)}
    local = tuple(n for n, s in found.items() if any(f.name == "batch" for f in s["cond_indep_stack"]))
    if not local:
        raise ValueError('the prior samples nothing within pyro.plate("batch", len(x)): put the latent sites there')
    if len(batch) > len(local):
        raise ValueError(f"the prior takes two views and has one site {local[0]!r}: give it one argument, or two sites")
    shapes = {tuple(found[n]["fn"].event_shape) for n in local}
    if len(shapes) != 1 or len(next(iter(shapes))) != 1:
        raise ValueError(
            f"the prior's sites {list(local)} must be vectors of one width, got event shapes {sorted(shapes)}: "
            "use .to_event(1) on a distribution of one number per latent dim"
        )
    outside = tuple(n for n in found if n not in local)
    return Sites(local, outside, next(iter(shapes))[0], all(on_sphere(found[n]["fn"]) for n in local))


class _FlatSites(Messenger):
    """Flat priors cannot be sampled: their sites get rows of unit norm, which the plane and the sphere both have."""

    def _pyro_sample(self, msg) -> None:
        fn = msg["fn"]
        while hasattr(fn, "base_dist"):
            fn = fn.base_dist
        if isinstance(fn, ImproperUniform) and msg["value"] is None:
            shape = msg["fn"].shape()
            msg["value"] = torch.full(shape, 1.0 / (shape[-1] if shape else 1) ** 0.5)


def _check_runs(encoder: nn.Module, x: Tensor) -> None:
    training = encoder.training
    try:
        with torch.no_grad():
            encoder.eval()(x[:4])
    except Exception as error:
        raise ValueError(
            f"the encoder does not run on data of shape {tuple(x.shape[1:])}: {type(error).__name__}: {error}"
        ) from error
    finally:
        encoder.train(training)


def _views(names: list[str], data: datasets.Data) -> Callable:
    names = names or (["Affine", "Noise"] if len(data.shape) == 3 else ["Noise"])
    return TwoViews(nn.Sequential(*(known(name, "augmentation", AUGMENTATIONS)() for name in names)))


def _encoder(choice: Any, in_shape: tuple[int, ...], outputs: int) -> nn.Module:
    if isinstance(choice, str):
        choice = {"class_path": f"pyro_ldm.encoders.{known(choice, 'encoder', ENCODERS).__name__}"}
    encoder = _instance(choice, in_shape=in_shape, in_features=torch.Size(in_shape).numel(), out_features=outputs)
    if not isinstance(encoder, nn.Module):
        raise ValueError(f"an encoder is a torch.nn.Module or a class of such, got a {type(encoder).__name__}")
    return encoder


def _instance(choice: Any, **shape: Any) -> Any:
    """An object from its class path and options; shapes are passed where the constructor takes them."""
    choice = choice.as_dict() if hasattr(choice, "as_dict") else choice
    module, _, name = choice["class_path"].rpartition(".")
    cls = getattr(importlib.import_module(module), name)
    takes = inspect.signature(cls).parameters
    options = {k: _instance(v) if _is_choice(v) else v for k, v in (choice.get("init_args") or {}).items()}
    made = cls(**{k: v for k, v in shape.items() if k in takes}, **options)
    return made.load(**shape) if isinstance(made, Program) else made


def _is_choice(value: Any) -> bool:
    return isinstance(value, dict) and "class_path" in value
