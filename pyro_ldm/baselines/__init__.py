"""Variational autoencoders, to compare with: the same priors and encoders, with a decoder and a likelihood."""

from pyro_ldm.baselines.bernoulli import Bernoulli
from pyro_ldm.baselines.conv_decoder import ConvDecoder
from pyro_ldm.baselines.deep_markov import DeepMarkov
from pyro_ldm.baselines.discretized_logistic import DiscretizedLogistic
from pyro_ldm.baselines.gaussian import Gaussian
from pyro_ldm.baselines.generate import generate, reconstruct
from pyro_ldm.baselines.generative import Generative
from pyro_ldm.baselines.iwae import IWAE, Bound, iwae_bound
from pyro_ldm.baselines.likelihood import Likelihood
from pyro_ldm.baselines.mlp_decoder import MLPDecoder
from pyro_ldm.baselines.posterior_collapse import PosteriorCollapse, posterior_collapse
from pyro_ldm.baselines.structured_guide import StructuredGuide
from pyro_ldm.baselines.tempered import Tempered
from pyro_ldm.baselines.vamp_prior import VampPrior

__all__ = [
    "IWAE",
    "Bernoulli",
    "Bound",
    "ConvDecoder",
    "DeepMarkov",
    "DiscretizedLogistic",
    "Gaussian",
    "Generative",
    "Likelihood",
    "MLPDecoder",
    "PosteriorCollapse",
    "StructuredGuide",
    "Tempered",
    "VampPrior",
    "generate",
    "iwae_bound",
    "posterior_collapse",
    "reconstruct",
]
