"""What to ask of latents after training: collapse, identifiability, probes. Arrays or tensors in, plain numbers out."""

from pyro_ldm.diagnostics.collapse import Collapse, collapse
from pyro_ldm.diagnostics.identifiability import MCC, affine_r2, amari_distance, mcc
from pyro_ldm.diagnostics.probe import Probe, knn_probe, linear_probe

__all__ = [
    "MCC",
    "Collapse",
    "Probe",
    "affine_r2",
    "amari_distance",
    "collapse",
    "knn_probe",
    "linear_probe",
    "mcc",
]
