"""What a run folder holds can be read again, and says what was fitted."""

import csv
import dataclasses
import json

import pytest
import torch

import pyro_ldm as ldm
from pyro_ldm.runs import load_latents, load_weights, write_run
from pyro_ldm.runs.write import load_summary


@pytest.fixture(autouse=True)
def in_float32():
    """As data sets are."""
    torch.set_default_dtype(torch.float32)


def objective(*, latent_dim=3, seed=0):
    torch.manual_seed(seed)
    guide = ldm.guides.Deterministic(ldm.encoders.MLP(5, latent_dim, hidden=(8,)), ldm.entropy.LogDet())
    return ldm.priors.Gaussian(latent_dim, scale=torch.nn.Parameter(torch.ones(latent_dim))), guide


@pytest.fixture
def data():
    return ldm.datasets.Data(torch.randn(120, 5), y=torch.arange(120) % 3, name="noise")


@pytest.fixture
def run(tmp_path, data):
    fit = ldm.fit(*objective(), data, epochs=2, batch_size=60, progress=False)
    return fit, write_run(tmp_path, fit, data, settings={"seed": 0}), tmp_path


def test_files(run):
    names = {path.name for path in run[2].iterdir()}
    assert names == {"weights.safetensors", "latents.npz", "history.csv", "summary.json", "curves.png", "latents.png"}


def test_weights_come_back(run):
    fit, _, folder = run
    other = ldm.Objective(*objective(seed=1))
    assert not torch.equal(other.guide.encoder[-1].weight, fit.objective.guide.encoder[-1].weight)
    load_weights(folder, other)
    for name, value in fit.objective.state_dict().items():
        assert torch.equal(value, other.state_dict()[name]), name


def test_weights_of_another_objective(run, tmp_path):
    with pytest.raises(ValueError, match=r"does not fit: .*config.yaml"):
        load_weights(run[2], ldm.Objective(*objective(latent_dim=4)))
    with pytest.raises(ValueError, match="finished run"):
        load_weights(tmp_path / "nowhere", ldm.Objective(*objective()))


@pytest.mark.parametrize("content", [b"", b"nonsense", bytes(64)], ids=["empty", "nonsense", "zeros"])
def test_broken_files(run, content):
    for name in ("weights.safetensors", "latents.npz"):
        (run[2] / name).write_bytes(content)
    with pytest.raises(ValueError, match="does not fit"):
        load_weights(run[2], ldm.Objective(*objective()))
    with pytest.raises(ValueError, match="cannot be read"):
        load_latents(run[2])


@pytest.mark.parametrize("name", ["latents.npz", "summary.json"])
def test_a_file_that_is_cut_or_gone_is_named_with_a_remedy(run, name):
    read = {"latents.npz": load_latents, "summary.json": load_summary}[name]
    path = run[2] / name
    whole = path.read_bytes()
    for broken in (whole[: len(whole) // 2], whole[:100] + bytes(40) + whole[140:], b"\xff\xfe"):
        path.write_bytes(broken)
        with pytest.raises(ValueError, match=r"cannot be read, .*restore it, or fit the run again") as caught:
            read(run[2])
        assert str(path) in str(caught.value) and "\n" not in str(caught.value)
    path.unlink()
    with pytest.raises(ValueError, match=rf"{name} is not there: is .* a finished run"):
        read(run[2])


def test_a_summary_is_one_of_names(run):
    assert load_summary(run[2]) == json.loads((run[2] / "summary.json").read_text())
    (run[2] / "summary.json").write_text("[1, 2]")
    with pytest.raises(ValueError, match="cannot be read"):
        load_summary(run[2])


def test_latents_are_the_encoder_s_in_the_order_of_the_data(run, data):
    fit, _, folder = run
    read = load_latents(folder)
    with torch.no_grad():
        expected = fit.objective.guide.encoder(data.x)
    assert set(read) == {"z", "y"} and torch.equal(read["y"], data.y)
    assert torch.allclose(read["z"], expected, atol=1e-5)


def test_history_and_summary(run):
    fit, summary, folder = run
    with (folder / "history.csv").open() as file:
        rows = list(csv.DictReader(file))
    assert [float(row["loss"]) for row in rows] == [row["loss"] for row in fit.history]
    read = json.loads((folder / "summary.json").read_text())
    assert read == json.loads(json.dumps(summary))
    assert read["terms"]["kl"] == fit.terms.kl and read["epochs"] == 2 and read["settings"] == {"seed": 0}
    assert "torch" in read["versions"] and read["collapse"] and read["verdict"]


def test_a_diverged_start_is_valid_json(run, data, tmp_path):
    fit = dataclasses.replace(run[0], starts=(1.5, float("inf")))
    write_run(tmp_path, fit, data, settings={})
    assert json.loads((tmp_path / "summary.json").read_text(), parse_constant=pytest.fail)["starts"] == [1.5, None]
