"""The package as a whole: every built-in data set by one contract, `load`, and what importing it costs."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
import torch

from pyro_ldm import datasets
from pyro_ldm.datasets import DataError, MissingDataError, builtin, load

PACKAGE = Path(datasets.__file__).parent


@pytest.mark.parametrize("name", builtin())
def test_contract_of_a_built_in_data_set(name):
    state = torch.get_rng_state()
    try:
        data = builtin()[name]()
    except MissingDataError as error:
        pytest.skip(str(error))
    assert torch.equal(torch.get_rng_state(), state)
    assert isinstance(data, datasets.Data)
    assert data.name.partition(":")[0] == name  # and the variant after it, as `load` takes it
    assert data.x.dtype == torch.float32
    again = load(name)
    assert torch.equal(data.x, again.x)


@pytest.mark.parametrize("name", builtin())
def test_a_built_in_data_set_is_described_and_exported(name):
    assert builtin()[name].__doc__.splitlines()[0].endswith(".")
    assert name in datasets.__all__ and getattr(datasets, name) is builtin()[name]


def test_builtin_names():
    assert {"digits", "ornstein_uhlenbeck", "patches", "photographs", "sources"} <= set(builtin())
    assert {"cifar10", "cifar100", "fashion_mnist"} <= set(builtin())
    assert {"dots", "kvae_physics", "lorenz", "pendulum", "signal_and_nuisance"} <= set(builtin())
    assert not {"data", "files", "arrays", "tables", "images", "local", "idx", "records"} & set(builtin())
    assert not {"frames", "motions", "runge_kutta", "series"} & set(builtin())


def test_a_new_data_set_is_one_file(tmp_path, monkeypatch):
    (tmp_path / "ramp.py").write_text(
        "import torch\nfrom pyro_ldm.datasets.data import Data\n"
        "def ramp():\n    'A ramp.'\n    return Data(torch.arange(4.0).reshape(4, 1), name='ramp')\n"
    )
    monkeypatch.setattr(datasets, "__path__", [*datasets.__path__, str(tmp_path)])
    monkeypatch.setattr(datasets, "ramp", None, raising=False)  # so that what the import sets is undone
    try:
        assert load("ramp").x.flatten().tolist() == [0, 1, 2, 3]
    finally:
        sys.modules.pop("pyro_ldm.datasets.ramp", None)


def test_a_variant_follows_a_colon():
    data = load("dots:figure_eight")
    assert data.name == "dots:figure_eight" and torch.equal(data.x, datasets.dots("figure_eight").x)


@pytest.mark.parametrize(
    "name, message",
    [
        (
            "dots:sqare",
            r"no variant 'sqare' of dots \(did you mean dots:square\?\): give one of circle, figure_eight, ",
        ),
        ("dots:", "no variant '' of dots: give one of circle"),
        ("kvae_physics:ball", "give one of box, box_gravity, polygon, pong"),
        ("digits:3", "no variant '3' of digits: digits has none, so write digits alone"),
        ("ornstein_uhlenbeck:100", "ornstein_uhlenbeck has none"),
        ("cifar10:folder", "cifar10 has none"),
        ("dotz:circle", "'dotz:circle' is neither built-in data nor a file"),
    ],
)
def test_a_variant_that_is_not_there(name, message):
    with pytest.raises(DataError, match=message):
        load(name)


def test_load_reads_paths(tmp_path, monkeypatch):
    np.savez(tmp_path / "a.npz", x=np.zeros((3, 2)), y=np.zeros(3))
    assert load(tmp_path / "a.npz", key="x").shape == (2,)
    assert load(str(tmp_path / "a.npz"), key="x").shape == (2,)
    monkeypatch.chdir(tmp_path)
    assert load("a.npz", key="x").shape == (2,)


@pytest.mark.parametrize("name", ["missing.npy", "folder/missing", Path("digits")])
def test_what_looks_like_a_path_is_one(tmp_path, monkeypatch, name):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match="no such file or folder"):
        load(name)


def test_an_unknown_name_lists_what_there_is(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    with pytest.raises(DataError, match=r"'digist' is neither .* \(did you mean 'digits'\?\)") as caught:
        load("digist")
    for word in (*builtin(), ".csv", ".npy", ".npz", ".parquet", "folder of images"):
        assert word in str(caught.value)
    with pytest.raises(DataError) as caught:
        load("zzz")
    assert "did you mean" not in str(caught.value)


def test_key_and_size_do_not_apply_to_built_in_data():
    with pytest.raises(DataError, match="leave them out"):
        load("digits", key="x")
    with pytest.raises(DataError, match="leave them out"):
        load("digits", size=8)
    with pytest.raises(DataError, match="dots:circle: key and size"):
        load("dots:circle", size=8)


def test_importing_is_light_and_stands_alone():
    # The parent package is replaced by an empty one, so that only what `datasets` itself imports is seen.
    program = f"""
import sys, types
parent = types.ModuleType("pyro_ldm")
parent.__path__ = [{str(PACKAGE.parent)!r}]
sys.modules["pyro_ldm"] = parent
import torch
before = set(sys.modules)
import pyro_ldm.datasets
new = set(sys.modules) - before
heavy = {{"sklearn", "scipy", "pandas", "PIL", "pyarrow", "pyro", "matplotlib"}}
print(sorted(heavy & new), sorted(m for m in new if m.startswith("pyro_ldm.") and "datasets" not in m))
"""
    result = subprocess.run([sys.executable, "-c", program], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == "[] []"
