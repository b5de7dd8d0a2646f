"""Run folders: what a fit leaves on disk, whole or not at all, and its pictures."""

from pyro_ldm.runs.folder import interrupted, run_folder
from pyro_ldm.runs.pictures import curves, filters, latent_space
from pyro_ldm.runs.verdict import verdict
from pyro_ldm.runs.write import load_latents, load_weights, write_run

__all__ = [
    "curves",
    "filters",
    "interrupted",
    "latent_space",
    "load_latents",
    "load_weights",
    "run_folder",
    "verdict",
    "write_run",
]
