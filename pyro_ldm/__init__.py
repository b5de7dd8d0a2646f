"""Latent Distribution Matching in Pyro: an assumed latent model, an encoder, and a stock ELBO."""

from pyro_ldm import entropy  # noqa: I001  (lowest layer first)
from pyro_ldm import (
    baselines,
    datasets,
    diagnostics,
    distributions,
    encoders,
    guides,
    posterior,
    priors,
    runs,
    training,
)
from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.encoders.encode import encode
from pyro_ldm.guides.sample_views import sample_views
from pyro_ldm.handlers import stop_gradient
from pyro_ldm.objective import Objective
from pyro_ldm.terms import Terms
from pyro_ldm.training.fit import Fit, fit

__version__ = "0.1.0"

__all__ = [
    "ICA",
    "Fit",
    "Objective",
    "Pushforward",
    "Terms",
    "baselines",
    "datasets",
    "diagnostics",
    "distributions",
    "encode",
    "encoders",
    "entropy",
    "fit",
    "guides",
    "posterior",
    "priors",
    "runs",
    "sample_views",
    "stop_gradient",
    "training",
]


def __getattr__(name: str):
    """Import scikit-learn, which ``ICA`` is an estimator of, only when it is asked for."""
    if name == "ICA":
        from pyro_ldm.ica import ICA

        return ICA
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
