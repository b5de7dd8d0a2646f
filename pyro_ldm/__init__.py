"""Latent Distribution Matching in Pyro: an assumed latent model, an encoder, and a stock ELBO."""

from pyro_ldm import entropy  # noqa: I001  (lowest layer first)
from pyro_ldm import datasets, diagnostics, distributions, encoders, guides, priors
from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.encoders.encode import encode
from pyro_ldm.guides.sample_views import sample_views
from pyro_ldm.handlers import stop_gradient
from pyro_ldm.objective import Objective, Terms

__version__ = "0.1.0"

__all__ = [
    "Objective",
    "Pushforward",
    "Terms",
    "datasets",
    "diagnostics",
    "distributions",
    "encode",
    "encoders",
    "entropy",
    "guides",
    "priors",
    "sample_views",
    "stop_gradient",
]
