"""Run folders: what a fit leaves on disk, whole or not at all; runs diagnosed, and compared."""

from pyro_ldm.runs.comparison import Candidate, Comparison, compare
from pyro_ldm.runs.diagnosis import Diagnosis, diagnose
from pyro_ldm.runs.folder import interrupted, run_folder
from pyro_ldm.runs.held_out import hold_out
from pyro_ldm.runs.pictures import curves, filters, latent_space
from pyro_ldm.runs.series import StateSpace, scores
from pyro_ldm.runs.series_pictures import filtering
from pyro_ldm.runs.verdict import verdict
from pyro_ldm.runs.write import load_latents, load_weights, write_run

__all__ = [
    "Candidate",
    "Comparison",
    "Diagnosis",
    "StateSpace",
    "compare",
    "curves",
    "diagnose",
    "filtering",
    "filters",
    "hold_out",
    "interrupted",
    "latent_space",
    "load_latents",
    "load_weights",
    "run_folder",
    "scores",
    "verdict",
    "write_run",
]
