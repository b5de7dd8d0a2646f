"""What to ask of latents after training: collapse, KL bounds, identifiability, calibration; and the export to ArviZ."""

from pyro_ldm.diagnostics import arviz
from pyro_ldm.diagnostics.affine import AffineMap, affine_r2
from pyro_ldm.diagnostics.agreement import Agreement, agreement
from pyro_ldm.diagnostics.bounds import KLBounds, kl_bounds
from pyro_ldm.diagnostics.calibration import PIT, Coverage, coverage, pit
from pyro_ldm.diagnostics.collapse import Collapse, collapse
from pyro_ldm.diagnostics.dci import DCI, dci
from pyro_ldm.diagnostics.events import Detection, detection_auc
from pyro_ldm.diagnostics.forecast import ForecastSkill, forecast_skill
from pyro_ldm.diagnostics.identifiability import MCC, amari_distance, mcc
from pyro_ldm.diagnostics.importance import Importance, importance_khat
from pyro_ldm.diagnostics.information import Information, mutual_information
from pyro_ldm.diagnostics.probe import Probe, knn_probe, linear_probe
from pyro_ldm.diagnostics.scores import gaussian_crps, log_score

__all__ = [
    "DCI",
    "MCC",
    "PIT",
    "AffineMap",
    "Agreement",
    "Collapse",
    "Coverage",
    "Detection",
    "ForecastSkill",
    "Importance",
    "Information",
    "KLBounds",
    "Probe",
    "affine_r2",
    "agreement",
    "amari_distance",
    "arviz",
    "collapse",
    "coverage",
    "dci",
    "detection_auc",
    "forecast_skill",
    "gaussian_crps",
    "importance_khat",
    "kl_bounds",
    "knn_probe",
    "linear_probe",
    "log_score",
    "mcc",
    "mutual_information",
    "pit",
]
