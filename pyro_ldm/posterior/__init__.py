"""The prior's parameters, given latents: their posterior, predictive checks, comparison of priors, calibration."""

from pyro_ldm.posterior.checks import PredictiveCheck, predictive_check
from pyro_ldm.posterior.comparison import Comparison, compare, compare_priors
from pyro_ldm.posterior.default_priors import default_priors
from pyro_ldm.posterior.discrepancies import Discrepancy, default_discrepancies
from pyro_ldm.posterior.joint import joint
from pyro_ldm.posterior.loo import Loo, loo
from pyro_ldm.posterior.nuts import nuts
from pyro_ldm.posterior.program import global_sites, log_likelihood, sample_globals, simulate
from pyro_ldm.posterior.sbc import SBC, run_sbc
from pyro_ldm.posterior.sbc_pictures import ecdf_difference, rank_histograms
from pyro_ldm.posterior.svi import svi

__all__ = [
    "SBC",
    "Comparison",
    "Discrepancy",
    "Loo",
    "PredictiveCheck",
    "compare",
    "compare_priors",
    "default_discrepancies",
    "default_priors",
    "ecdf_difference",
    "global_sites",
    "joint",
    "log_likelihood",
    "loo",
    "nuts",
    "predictive_check",
    "rank_histograms",
    "run_sbc",
    "sample_globals",
    "simulate",
    "svi",
]
