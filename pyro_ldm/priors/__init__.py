"""Assumed latent models, each a small Pyro program."""

from pyro_ldm.priors.autoregressive import Autoregressive
from pyro_ldm.priors.base import Prior, Sources
from pyro_ldm.priors.categorical_views import CategoricalViews
from pyro_ldm.priors.flow import Flow
from pyro_ldm.priors.gaussian import Gaussian
from pyro_ldm.priors.gaussian_mixture import GaussianMixture
from pyro_ldm.priors.gaussian_views import GaussianViews
from pyro_ldm.priors.generalized_gaussian import GeneralizedGaussian
from pyro_ldm.priors.generalized_gaussian_views import GeneralizedGaussianViews
from pyro_ldm.priors.kalman import Kalman
from pyro_ldm.priors.laplace import Laplace
from pyro_ldm.priors.logistic import Logistic
from pyro_ldm.priors.plane_views import PlaneViews
from pyro_ldm.priors.power_law import PowerLaw
from pyro_ldm.priors.series import Series
from pyro_ldm.priors.student_t import StudentT
from pyro_ldm.priors.student_t_views import StudentTViews
from pyro_ldm.priors.von_mises_fisher_autoregressive import VonMisesFisherAutoregressive
from pyro_ldm.priors.von_mises_fisher_views import VonMisesFisherViews

__all__ = [
    "Autoregressive",
    "CategoricalViews",
    "Flow",
    "Gaussian",
    "GaussianMixture",
    "GaussianViews",
    "GeneralizedGaussian",
    "GeneralizedGaussianViews",
    "Kalman",
    "Laplace",
    "Logistic",
    "PlaneViews",
    "PowerLaw",
    "Prior",
    "Series",
    "Sources",
    "StudentT",
    "StudentTViews",
    "VonMisesFisherAutoregressive",
    "VonMisesFisherViews",
]
