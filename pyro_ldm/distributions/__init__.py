"""Distributions that Pyro lacks."""

from pyro_ldm.distributions.adaptive_ssm import AdaptiveSSM
from pyro_ldm.distributions.autoregressive import Autoregressive
from pyro_ldm.distributions.generalized_gaussian import GeneralizedGaussian
from pyro_ldm.distributions.linear_gaussian_ssm import LinearGaussianSSM
from pyro_ldm.distributions.von_mises_fisher import VonMisesFisher

__all__ = ["AdaptiveSSM", "Autoregressive", "GeneralizedGaussian", "LinearGaussianSSM", "VonMisesFisher"]
