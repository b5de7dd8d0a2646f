"""Fitting a prior and a guide to data."""

from pyro_ldm.training.fit import Fit, fit
from pyro_ldm.training.latents import latents

__all__ = ["Fit", "fit", "latents"]
