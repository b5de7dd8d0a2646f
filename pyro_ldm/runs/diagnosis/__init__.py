"""A run looked at as a Bayesian would: what `pyro-ldm diagnose` asks of it, and the report that it writes."""

from pyro_ldm.runs.diagnosis.diagnose import Diagnosis, diagnose

__all__ = ["Diagnosis", "diagnose"]
