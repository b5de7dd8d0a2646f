"""Prior, guide and views from the options of the command line."""

import importlib
import inspect
from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_ldm import datasets, entropy, guides
from pyro_ldm.cli.choices import ARRANGEMENTS, AUGMENTATIONS, ENCODERS, known
from pyro_ldm.cli.program import Program
from pyro_ldm.cli.series import check_series, has_steps, shape_of_a_step
from pyro_ldm.cli.sites import Sites, sites_of
from pyro_ldm.encoders import PCA, Normalize, PerStep, TwoViews
from pyro_ldm.training.loader import tensors_of


def build(config, data: datasets.Data) -> tuple[Callable, nn.Module, Callable | None]:
    """Prior, guide and, for a prior of two views, what makes them of a datum.

    What the options leave open is written into them: the entropy, its arrangement and the batch size, which for series
    are others than for vectors.

    Raises:
        ValueError: If the prior or the encoder does not run, or one does not go with the other.
    """
    from jsonargparse import Namespace

    width = torch.Size(shape_of_a_step(data) if has_steps(data) else data.shape).numel()
    prior = _instance(config.prior, latent_dim=config.latent_dim or min(8, width))
    sites = sites_of(prior, tensors_of(data))
    latent_dim = sites.latent_dim
    if config.latent_dim not in (None, latent_dim):
        raise ValueError(
            f"the prior has {latent_dim} latent dims, and --latent_dim says {config.latent_dim}: leave it out"
        )
    if len(sites.local) > 2:
        raise ValueError(f"the prior has sites {list(sites.local)} per datum, and two views are all that is drawn here")
    check_series(config, data, sites)
    series = sites.num_steps is not None
    config.entropy = config.entropy or Namespace(class_path=f"pyro_ldm.entropy.{'LogDet' if series else 'KNN'}")
    estimator = _instance(config.entropy)
    if series:
        guide: nn.Module = _of_series(config, data, sites, estimator)
    elif isinstance(estimator, entropy.Jacobian):
        guide = _invertible(config, data, sites, estimator)
    else:
        guide = _of_vectors(config, data, sites, estimator)
    # A series is many rows, unless each of its steps has an estimate of its own.
    config.batch_size = config.batch_size or (256 if not series else 32 if config.arrangement == "Pooled" else 64)
    if sites.outside:
        from pyro.infer.autoguide import AutoNormal

        guide = guides.Compose(AutoNormal(poutine.block(prior, hide=list(sites.local))), guide)
    return prior, guide, _views(config.augment, data) if len(sites.local) > 1 else None


def _of_series(config, data: datasets.Data, sites: Sites, estimator: entropy.Entropy) -> nn.Module:
    """An encoder of every step, under an estimate pooled over the steps, or one for each."""
    if estimator.reads_conditional:
        raise ValueError(
            f"{type(estimator).__name__} is for vectors, and the prior is one of series: use LogDet, KDE or KNN"
        )
    step = shape_of_a_step(data)
    encoder = _encoder(config.encoder or "MLP", step, sites.latent_dim)  # of videos too: they have many frames
    _check_runs(encoder, data.x.flatten(0, 1), of="steps")
    encoder = nn.Sequential(encoder, Normalize()) if sites.on_sphere else encoder
    # Neighbours of a step in its own series are near by dynamics: kernels and neighbours want other series' rows. Of
    # padded series the last steps are too few for an estimate of their own.
    pooled = isinstance(estimator, entropy.LogDet) or data.mask is not None
    config.arrangement = config.arrangement or ("Pooled" if pooled else "Separate")
    arrangement = known(config.arrangement, "arrangement", ARRANGEMENTS)
    config.arrangement = arrangement.__name__
    return guides.Deterministic(PerStep(encoder), arrangement(estimator), site=sites.local[0])


def _invertible(config, data: datasets.Data, sites: Sites, estimator: entropy.Jacobian) -> nn.Module:
    """A square encoder, after PCA."""
    if len(sites.local) > 1:
        raise ValueError("Jacobian scores one site: use LogDet, KDE or KNN for a prior of two views")
    reduce = PCA(data.x[0].numel(), sites.latent_dim).fit(data.x)
    encoder = _encoder(config.encoder or "Linear", (sites.latent_dim,), sites.latent_dim)
    return guides.Invertible(encoder, estimator, site=sites.local[0], reduce=reduce)


def _of_vectors(config, data: datasets.Data, sites: Sites, estimator: entropy.Entropy) -> nn.Module:
    """An encoder of one view or of two."""
    gaussian = isinstance(estimator, entropy.Mixture) and len(sites.local) == 1
    default = "ConvNet" if len(data.shape) == 3 else "MLP"
    encoder = _encoder(config.encoder or default, tuple(data.shape), (1 + gaussian) * sites.latent_dim)
    _check_runs(encoder, data.x, of="data")
    encoder = nn.Sequential(encoder, Normalize()) if sites.on_sphere else encoder
    if len(sites.local) == 1:
        return (guides.Gaussian if gaussian else guides.Deterministic)(encoder, estimator, site=sites.local[0])
    config.arrangement = config.arrangement or "Joint"
    arrangement = known(config.arrangement, "arrangement", ARRANGEMENTS)
    return guides.Views(encoder, arrangement(estimator), sites=sites.local)


def _check_runs(encoder: nn.Module, x: Tensor, *, of: str) -> None:
    training = encoder.training
    try:
        with torch.no_grad():
            encoder.eval()(x[:4])
    except Exception as error:
        raise ValueError(
            f"the encoder does not run on {of} of shape {tuple(x.shape[1:])}: {type(error).__name__}: {error}"
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
