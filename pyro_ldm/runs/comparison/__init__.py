"""Runs side by side: what `pyro-ldm compare` measures of each, and who wins beyond the spread over seeds."""

from pyro_ldm.runs.comparison.candidate import Candidate
from pyro_ldm.runs.comparison.compare import Comparison, compare

__all__ = ["Candidate", "Comparison", "compare"]
