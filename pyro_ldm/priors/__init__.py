"""Assumed latent models, each a small Pyro program."""

from pyro_ldm.priors.base import Prior, Sources
from pyro_ldm.priors.gaussian import Gaussian
from pyro_ldm.priors.gaussian_views import GaussianViews
from pyro_ldm.priors.generalized_gaussian import GeneralizedGaussian
from pyro_ldm.priors.laplace import Laplace
from pyro_ldm.priors.logistic import Logistic
from pyro_ldm.priors.student_t import StudentT

__all__ = [
    "Gaussian",
    "GaussianViews",
    "GeneralizedGaussian",
    "Laplace",
    "Logistic",
    "Prior",
    "Sources",
    "StudentT",
]
