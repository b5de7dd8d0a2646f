"""The recipe runs, and its three ways agree."""

import runpy
from pathlib import Path

import pytest

RECIPE = Path(__file__).parents[2] / "models" / "ica.py"


def test_recipe(capsys):
    result = runpy.run_path(str(RECIPE))["main"](num_sources=3, num=3000, max_iter=60)
    table = capsys.readouterr().out
    for name in ("stock ELBO, torch L-BFGS", "ldm.ICA", "FastICA"):
        assert result[name] < 0.05 and name in table  # unmixed: at random it is about 0.5
    assert result["loss: stock ELBO"] == pytest.approx(result["loss: ldm.ICA"], abs=1e-3)
