"""Run folders: what a fit leaves on disk, whole or not at all; runs diagnosed, and compared."""

from typing import TYPE_CHECKING, Any

from pyro_ldm.runs.comparison import Candidate, Comparison, compare
from pyro_ldm.runs.diagnosis import Diagnosis, diagnose
from pyro_ldm.runs.folder import interrupted, run_folder
from pyro_ldm.runs.held_out import hold_out
from pyro_ldm.runs.pictures import curves, filters, latent_space
from pyro_ldm.runs.series import StateSpace, scores
from pyro_ldm.runs.series_pictures import filtering
from pyro_ldm.runs.verdict import verdict
from pyro_ldm.runs.write import load_latents, load_weights, write_run

if TYPE_CHECKING:
    from pyro_ldm.runs.cost import Cost

__all__ = [
    "Candidate",
    "Comparison",
    "Cost",
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


def __getattr__(name: str) -> Any:
    if name == "Cost":  # a callback of Lightning, which takes seconds to import
        from pyro_ldm.runs.cost import Cost

        return Cost
    raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
