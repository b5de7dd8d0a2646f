"""Fitting a prior and a guide to data."""

from pyro_ldm.training.fit import Fit, fit, latents

__all__ = ["Fit", "fit", "latents"]
