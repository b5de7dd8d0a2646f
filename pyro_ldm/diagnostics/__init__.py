"""What to ask of latents after training: collapse, identifiability, calibration. Arrays or tensors in, numbers out."""

from pyro_ldm.diagnostics.affine import AffineMap, affine_r2
from pyro_ldm.diagnostics.calibration import PIT, Coverage, coverage, pit
from pyro_ldm.diagnostics.collapse import Collapse, collapse
from pyro_ldm.diagnostics.events import Detection, detection_auc
from pyro_ldm.diagnostics.forecast import ForecastSkill, forecast_skill
from pyro_ldm.diagnostics.identifiability import MCC, amari_distance, mcc
from pyro_ldm.diagnostics.probe import Probe, knn_probe, linear_probe
from pyro_ldm.diagnostics.scores import gaussian_crps, log_score

__all__ = [
    "MCC",
    "PIT",
    "AffineMap",
    "Collapse",
    "Coverage",
    "Detection",
    "ForecastSkill",
    "Probe",
    "affine_r2",
    "amari_distance",
    "collapse",
    "coverage",
    "detection_auc",
    "forecast_skill",
    "gaussian_crps",
    "knn_probe",
    "linear_probe",
    "log_score",
    "mcc",
    "pit",
]
