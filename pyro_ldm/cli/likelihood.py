"""What a decoder on the command line makes of a fit: a VAE, or one of its relatives."""

from collections.abc import Callable
from typing import Any

import torch
from pyro.infer import ELBO
from torch import nn

from pyro_ldm import datasets
from pyro_ldm.baselines import IWAE, Generative, Tempered, VampPrior
from pyro_ldm.cli.instance import instance
from pyro_ldm.cli.series import shape_of_a_step
from pyro_ldm.cli.sites import Sites
from pyro_ldm.encoders import PerStep

OF_A_DECODER = ("likelihood", "beta", "particles", "pseudo_inputs")


def check_options(config: Any) -> None:
    """Refuse options of a VAE that go without what they need, and fill in the likelihood.

    Raises:
        ValueError: Which, and what to add or leave out.
    """
    from jsonargparse import Namespace

    name = "" if config.entropy is None else config.entropy["class_path"].rpartition(".")[2]
    given = [option for option in OF_A_DECODER if config[option] is not None]
    if config.decoder is None:
        if given:
            raise ValueError(f"--{given[0]} belongs to a VAE: add a decoder, such as --decoder MLPDecoder")
        if name == "Conditional":
            raise ValueError(
                "--entropy Conditional without a likelihood rewards latents that tell nothing of x: add a decoder, "
                "such as --decoder MLPDecoder, or use Mixture"
            )
        return
    config.likelihood = config.likelihood or Namespace(class_path="pyro_ldm.baselines.Gaussian")
    config.entropy = config.entropy or Namespace(class_path="pyro_ldm.entropy.Conditional")
    if config.beta is not None and config.particles is not None:
        raise ValueError("--beta weighs an ELBO and --particles trains by the IWAE bound: give one of them")
    if name not in ("", "Conditional"):
        for option in ("particles", "pseudo_inputs"):
            if config[option] is not None:
                raise ValueError(f"--{option} is for a guide scored by q(z | x): leave out --entropy {name}")


def elbo_of(config: Any) -> ELBO | None:
    """What the options train by: a beta-VAE's weighed ELBO, the IWAE bound, or the ELBO that is the default."""
    if config.beta is not None:
        return Tempered(config.beta)
    return None if config.particles is None else IWAE(config.particles)


def with_likelihood(config: Any, data: datasets.Data, prior: Callable, guide: nn.Module, sites: Sites) -> Generative:
    """The prior with a decoder and a likelihood.

    Raises:
        ValueError: If the decoder does not make data of it, or data are outside the likelihood's support.
    """
    series = sites.num_steps is not None
    shape = shape_of_a_step(data) if series else tuple(data.shape)
    size = torch.Size(shape).numel()
    decoder = instance(
        config.decoder, latent_dim=sites.latent_dim, in_features=sites.latent_dim, out_shape=shape, out_features=size
    )
    if not isinstance(decoder, nn.Module):
        raise ValueError(f"a decoder is a torch.nn.Module or a class of such, got a {type(decoder).__name__}")
    _check_decodes(decoder, sites.latent_dim, shape)
    likelihood = instance(config.likelihood)
    if hasattr(likelihood, "check"):
        likelihood.check(data.x if data.mask is None else data.x[data.mask])
    if config.pseudo_inputs is not None:
        prior = _vamp_prior(config.pseudo_inputs, data, guide, sites)
    names = dict(zip(sites.local, ("x", "x_prime"), strict=False))
    return Generative(prior, PerStep(decoder) if series else decoder, likelihood, sites=names)


def _check_decodes(decoder: nn.Module, latent_dim: int, shape: tuple[int, ...]) -> None:
    training = decoder.training
    try:
        with torch.no_grad():
            got = tuple(decoder.eval()(torch.zeros(2, latent_dim)).shape[1:])
    except Exception as error:
        raise ValueError(
            f"the decoder does not run on latents of shape (N, {latent_dim}): {type(error).__name__}: {error}"
        ) from error
    finally:
        decoder.train(training)
    if got != shape:
        raise ValueError(f"the decoder makes data of shape {got}, and the data have {shape}: give it that output")


def _vamp_prior(number: int, data: datasets.Data, guide: nn.Module, sites: Sites) -> VampPrior:
    """From data drawn at random."""
    if len(sites.local) > 1 or sites.num_steps is not None or sites.outside or sites.local[0] != "z":
        raise ValueError(
            "--pseudo_inputs puts a VampPrior in place of a prior of vectors z without parameters to sample, such as "
            f"Gaussian, and this one has sites {[*sites.local, *sites.outside]}"
        )
    if number > len(data):
        raise ValueError(f"--pseudo_inputs start from the data, and there are {len(data)} of them: ask for fewer")
    return VampPrior(guide, data.x[torch.randperm(len(data))[:number]])
