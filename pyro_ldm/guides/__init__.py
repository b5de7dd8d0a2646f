"""Encoders as amortized guides: each samples its sites within plate "batch", scored by their pushforward."""

from pyro_ldm.guides.categorical import Categorical
from pyro_ldm.guides.compose import Compose
from pyro_ldm.guides.deterministic import Deterministic
from pyro_ldm.guides.gaussian import Gaussian
from pyro_ldm.guides.gaussian_views import GaussianViews
from pyro_ldm.guides.invertible import Invertible
from pyro_ldm.guides.sample_views import sample_views
from pyro_ldm.guides.views import Views

__all__ = [
    "Categorical",
    "Compose",
    "Deterministic",
    "Gaussian",
    "GaussianViews",
    "Invertible",
    "Views",
    "sample_views",
]
