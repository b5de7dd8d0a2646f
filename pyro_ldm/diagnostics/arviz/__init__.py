"""Results in ArviZ: one exporter for ``InferenceData`` of arviz 0.x and for ``xarray.DataTree`` of arviz 1.x."""

from pyro_ldm.diagnostics.arviz.adapter import Tree, group, has_group, import_arviz
from pyro_ldm.diagnostics.arviz.export import add_groups, draws, to_arviz
from pyro_ldm.diagnostics.arviz.mcmc import from_mcmc
from pyro_ldm.diagnostics.arviz.netcdf import load, save
from pyro_ldm.diagnostics.arviz.psis import psis
from pyro_ldm.diagnostics.arviz.summary import rhat, summary
from pyro_ldm.diagnostics.arviz.svi import from_svi

__all__ = [
    "Tree",
    "add_groups",
    "draws",
    "from_mcmc",
    "from_svi",
    "group",
    "has_group",
    "import_arviz",
    "load",
    "psis",
    "rhat",
    "save",
    "summary",
    "to_arviz",
]
