"""Recipes run, in a short mode, and stay on one screen."""

import ast
import importlib
import sys
from pathlib import Path

import pytest

MODELS = Path(__file__).parents[2] / "models"
SHORT = {
    "ica": {},
    "byol": {"epochs": 1},
    "cpc": {"epochs": 1, "num": 200},
    "hierarchical_prior": {"epochs": 1, "draws": 20},
    "infovae": {"epochs": 2},
    "jepa": {"epochs": 1, "num": 200},
    "kalman_vae": {"num": 200, "epochs": 1},
    "kalman_dots": {"epochs": 1, "num": 200},
    "knn_plane": {"epochs": 1},
    "simclr": {"epochs": 1},
    "simsiam": {"epochs": 1},
    "sphere_logdet": {"epochs": 1},
    "vae": {"epochs": 2},
    "vicreg": {"epochs": 1},
    "two_views": {"epochs": 2},
    "identifiability": {"num": 1000, "epochs": 1},
    "categorical": {"epochs": 2, "attempts": 1},
    "demo": {"num": 3000, "num_components": 16, "epochs": 2},
}


@pytest.fixture(autouse=True)
def as_a_script(monkeypatch, tmp_path):
    import torch

    torch.set_default_dtype(torch.float32)
    monkeypatch.syspath_prepend(str(MODELS))
    monkeypatch.chdir(tmp_path)
    yield
    for name in SHORT:
        sys.modules.pop(name, None)


def test_every_recipe_is_run():
    assert {path.stem for path in MODELS.glob("*.py")} == set(SHORT)


@pytest.mark.parametrize("name", SHORT)
@pytest.mark.filterwarnings("ignore:.*(chains disagree|effective sample size|diverged):UserWarning")  # they are short
def test_recipe(name, capsys):
    result = importlib.import_module(name).main(**SHORT[name])
    assert result and all(isinstance(value, float) for value in result.values())
    assert capsys.readouterr().out


@pytest.mark.parametrize("name", [name for name in SHORT if name != "demo"])
def test_recipe_fits_on_a_screen(name):
    source = (MODELS / f"{name}.py").read_text()
    docstring = ast.get_docstring(ast.parse(source), clean=False)
    assert len(source.splitlines()) - len(docstring.splitlines()) <= 62
