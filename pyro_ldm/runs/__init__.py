"""Run folders: what a fit leaves on disk, whole or not at all, and its pictures."""

from pyro_ldm.runs.folder import interrupted, run_folder
from pyro_ldm.runs.pictures import curves, filters, latent_space
from pyro_ldm.runs.series import StateSpace, scores
from pyro_ldm.runs.series_pictures import filtering
from pyro_ldm.runs.verdict import verdict
from pyro_ldm.runs.write import load_latents, load_weights, write_run

__all__ = [
    "StateSpace",
    "curves",
    "filtering",
    "filters",
    "interrupted",
    "latent_space",
    "load_latents",
    "load_weights",
    "run_folder",
    "scores",
    "verdict",
    "write_run",
]
