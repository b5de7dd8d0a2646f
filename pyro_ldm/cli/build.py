"""Prior, guide and views from the options of the command line."""

from collections.abc import Callable
from typing import Any

import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_ldm import datasets, entropy, guides
from pyro_ldm.baselines import DeepMarkov, StructuredGuide
from pyro_ldm.cli.choices import ARRANGEMENTS, AUGMENTATIONS, ENCODERS, known
from pyro_ldm.cli.instance import instance
from pyro_ldm.cli.likelihood import check_options, with_likelihood
from pyro_ldm.cli.series import check_series, has_steps, shape_of_a_step
from pyro_ldm.cli.sites import Sites, sites_of
from pyro_ldm.encoders import PCA, Normalize, PerStep, TwoViews
from pyro_ldm.training.loader import tensors_of

FEATURES = 64  # of each step, that the guide of a deep Markov model reads


def build(config, data: datasets.Data) -> tuple[Callable, nn.Module, Callable | None]:
    """Prior, guide and, for a prior of two views, what makes them of a datum.

    With a decoder the prior has a likelihood: it is a :class:`~pyro_ldm.baselines.Generative`. What the options leave
    open is written into them: the entropy, its arrangement, the likelihood and the batch size, which for series are
    others than for vectors.

    Raises:
        ValueError: If the prior, the encoder or the decoder does not run, or one does not go with the other.
    """
    from jsonargparse import Namespace

    check_options(config)
    width = torch.Size(shape_of_a_step(data) if has_steps(data) else data.shape).numel()
    prior = instance(config.prior, latent_dim=config.latent_dim or min(8, width))
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
    estimator = instance(config.entropy)
    if series:
        guide: nn.Module = _of_series(config, data, prior, sites, estimator)
    elif isinstance(estimator, entropy.Jacobian):
        guide = _invertible(config, data, sites, estimator)
    else:
        guide = _of_vectors(config, data, sites, estimator)
    # A series is many rows, unless each of its steps has an estimate of its own.
    config.batch_size = config.batch_size or (256 if not series else 32 if config.arrangement == "Pooled" else 64)
    encoded = guide
    if sites.outside:
        from pyro.infer.autoguide import AutoNormal

        guide = guides.Compose(AutoNormal(poutine.block(prior, hide=list(sites.local))), guide)
    if config.decoder is not None:
        prior = with_likelihood(config, data, prior, encoded, sites)
    return prior, guide, _views(config.augment, data) if len(sites.local) > 1 else None


def _of_series(config, data: datasets.Data, prior: Any, sites: Sites, estimator: entropy.Entropy) -> nn.Module:
    """An encoder of every step: under an estimate pooled over the steps, or one for each, or scored by q(z | x)."""
    by_itself = isinstance(estimator, entropy.Conditional)
    if estimator.reads_conditional and not by_itself:
        raise ValueError(
            f"{type(estimator).__name__} is for vectors, and the prior is one of series: use LogDet, KDE or KNN"
        )
    step = shape_of_a_step(data)
    structured = by_itself and isinstance(prior, DeepMarkov)
    outputs = FEATURES if structured else (1 + by_itself) * sites.latent_dim
    encoder = _encoder(config.encoder or "MLP", step, outputs)  # of videos too: they have many frames
    _check_runs(encoder, data.x.flatten(0, 1), of="steps")
    if by_itself:
        _refuse_sphere(sites, estimator)
        if structured:
            return StructuredGuide(encoder, sites.latent_dim, features=FEATURES, entropy=estimator, site=sites.local[0])
        return guides.Gaussian(PerStep(encoder), estimator, site=sites.local[0])
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
    """An encoder of one view or of two, Gaussian where the estimator reads q(z | x)."""
    gaussian = estimator.reads_conditional
    if gaussian:
        _refuse_sphere(sites, estimator)
    default = "ConvNet" if len(data.shape) == 3 else "MLP"
    encoder = _encoder(config.encoder or default, tuple(data.shape), (1 + gaussian) * sites.latent_dim)
    _check_runs(encoder, data.x, of="data")
    encoder = nn.Sequential(encoder, Normalize()) if sites.on_sphere else encoder
    if len(sites.local) == 1:
        return (guides.Gaussian if gaussian else guides.Deterministic)(encoder, estimator, site=sites.local[0])
    config.arrangement = config.arrangement or "Joint"
    arrangement = known(config.arrangement, "arrangement", ARRANGEMENTS)
    return (guides.GaussianViews if gaussian else guides.Views)(encoder, arrangement(estimator), sites=sites.local)


def _refuse_sphere(sites: Sites, estimator: entropy.Entropy) -> None:
    if sites.on_sphere:
        raise ValueError(
            f"{type(estimator).__name__} reads a Gaussian q(z | x), and the prior's latents are unit vectors: use a "
            "prior on the plane, or KDE, KNN or LogDet"
        )


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
    encoder = instance(choice, in_shape=in_shape, in_features=torch.Size(in_shape).numel(), out_features=outputs)
    if not isinstance(encoder, nn.Module):
        raise ValueError(f"an encoder is a torch.nn.Module or a class of such, got a {type(encoder).__name__}")
    return encoder
