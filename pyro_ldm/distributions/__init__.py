"""Distributions that Pyro lacks."""

from pyro_ldm.distributions.generalized_gaussian import GeneralizedGaussian
from pyro_ldm.distributions.von_mises_fisher import VonMisesFisher

__all__ = ["GeneralizedGaussian", "VonMisesFisher"]
