"""``pyro-ldm diagnose``: a run is rebuilt from its folder and checked, and every mistake is one clear sentence."""

import json
import shutil
import warnings
from functools import partial

import numpy
import pytest
import torch
import yaml

import pyro_ldm as ldm
from pyro_ldm.cli import main
from pyro_ldm.cli.rebuild import rebuild
from pyro_ldm.posterior.nuts import nuts
from pyro_ldm.runs.diagnosis import findings

PROGRAM = """
import pyro, torch, pyro.distributions as dist

def prior(x):
    scale = pyro.sample("scale", dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(2), scale).to_event(1))
"""


@pytest.fixture(autouse=True)
def as_from_a_shell(monkeypatch):
    """And without the parts that take long: they are tested where they are."""
    torch.set_default_dtype(torch.float32)
    monkeypatch.setattr(findings, "compare_priors", _unmeasured)
    monkeypatch.setattr(findings, "kl_bounds", _unmeasured)
    monkeypatch.setattr(findings, "importance_khat", _unmeasured)


def _unmeasured(*_, **__):
    raise ValueError("left out of this test")


@pytest.fixture(scope="session")
def finished(tmp_path_factory):
    """A run for all to copy."""
    place = tmp_path_factory.mktemp("runs")
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float32)
    numpy.savetxt(place / "table.csv", numpy.random.default_rng(0).normal(size=(120, 4)), delimiter=",")
    (place / "mine.py").write_text(PROGRAM)
    options = ["--entropy", "LogDet", "--epochs", "2", "--batch_size", "60", "--progress", "false"]
    assert main(["fit", str(place / "table.csv"), "--latent_dim", "2", *options, "--out", str(place / "plain")]) == 0
    prior = ["--prior", f"{place / 'mine.py'}:prior"]
    assert main(["fit", str(place / "table.csv"), *prior, *options, "--out", str(place / "bayes")]) == 0
    torch.set_default_dtype(default)
    return place


@pytest.fixture
def run(finished, tmp_path):
    shutil.copytree(finished / "plain", tmp_path / "run")
    return tmp_path / "run"


def diagnose(run, *options, code=0):
    assert main(["diagnose", str(run), "--progress", "false", *map(str, options)]) == code


class TestRebuild:
    def test_weights_and_latents_are_the_run_s(self, finished):
        for name in ("plain", "bayes"):
            prior, guide, data, views, config = rebuild(finished / name)
            assert views is None and config.latent_dim in (2, None) and len(data) == 120
            torch.testing.assert_close(
                ldm.training.latents(guide, data), ldm.runs.load_latents(finished / name)["z"], rtol=1e-4, atol=1e-5
            )
            saved = ldm.Objective(prior, guide).state_dict()
            assert {n.split(".")[0] for n in saved} <= {"elbo"}

    def test_the_posterior_beside_the_encoder_comes_back(self, finished):
        from safetensors.torch import load_file

        _, guide, *_ = rebuild(finished / "bayes")
        saved = load_file(finished / "bayes" / "weights.safetensors")
        (name,) = [name for name in saved if name.endswith("locs.scale_unconstrained") or name.endswith("locs.scale")]
        locs = dict(guide.named_parameters())[name.removeprefix("elbo.guide.")]
        assert torch.equal(locs.detach(), saved[name]) and not torch.equal(locs, torch.zeros(2))

    def test_two_views(self, finished, tmp_path):
        options = ["--prior", "GaussianViews", "--entropy", "LogDet", "--latent_dim", "2", "--epochs", "1"]
        options += ["--held_out", "0.2", "--progress", "false", "--out", str(tmp_path / "run")]
        assert main(["fit", str(finished / "table.csv"), *options]) == 0
        assert rebuild(tmp_path / "run").views is not None
        diagnose(tmp_path / "run")
        assert (tmp_path / "run" / "report.html").exists()


def test_table_verdicts_and_paths(run, capsys):
    diagnose(run)
    out = capsys.readouterr().out
    lines = out.splitlines()
    assert any(line.startswith("effective rank, of 2") for line in lines)
    assert "Collapse: not collapsed: effective rank" in out and "Fit of each dim: " in out
    assert lines[-1] == str(run / "report.html") and str(run / "posterior.nc") in lines
    found = json.loads((run / "diagnosis.json").read_text())
    assert found["verdicts"]["Match with the prior"] == "not measured: left out of this test"
    assert found["numbers"]["effective rank, of 2"] > 1


def test_the_posterior_that_was_trained(finished, tmp_path, capsys):
    shutil.copytree(finished / "bayes", tmp_path / "run")
    diagnose(tmp_path / "run")
    out = capsys.readouterr().out
    assert "The prior's parameters: " in out and "k-hat" in out
    from pyro_ldm.diagnostics.arviz import group, load

    tree = load(tmp_path / "run" / "posterior.nc")
    assert group(tree, "posterior")["scale"].shape == (1, 1000, 2)
    assert group(tree, "latents")["z"].shape == (120, 2)
    assert str(tree.attrs["inference"]).startswith("SVI")


def test_nuts(finished, tmp_path, monkeypatch, capsys):
    shutil.copytree(finished / "bayes", tmp_path / "run")
    monkeypatch.setattr("pyro_ldm.runs.diagnosis.parameters.NUM_SAMPLES", 60)
    monkeypatch.setattr("pyro_ldm.runs.diagnosis.parameters.nuts", partial(nuts, warmup_steps=60))
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few draws
        diagnose(tmp_path / "run", "--nuts")
    assert "The prior's parameters: " in capsys.readouterr().out
    from pyro_ldm.diagnostics.arviz import group, load

    tree = load(tmp_path / "run" / "posterior.nc")
    assert group(tree, "posterior")["scale"].shape == (4, 60, 2) and "diverging" in group(tree, "sample_stats")


def test_options_of_nuts(finished, tmp_path):
    """Its remedies can be followed: they are options of the same names."""
    shutil.copytree(finished / "bayes", tmp_path / "run")
    options = ["--num_samples", "50", "--warmup_steps", "40", "--num_chains", "2", "--target_accept", "0.9"]
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")  # of few draws
        diagnose(tmp_path / "run", "--nuts", *options)
    from pyro_ldm.diagnostics.arviz import group, load

    tree = load(tmp_path / "run" / "posterior.nc")
    assert group(tree, "posterior")["scale"].shape == (2, 50, 2)
    assert tree.attrs["warmup_steps"] == 40 and tree.attrs["target_accept"] == 0.9
    facts = json.loads((tmp_path / "run" / "diagnosis.json").read_text())["facts"]
    assert facts["diagnosis: num_samples"] == "50" and facts["diagnosis: target_accept"] == "0.9"


def test_other_priors_left_out(run, capsys):
    diagnose(run, "--other_priors", "false")
    assert "Other priors: not measured: left out, as other_priors is false" in capsys.readouterr().out
    diagnose(run)
    assert "Other priors: not measured: left out of this test" in capsys.readouterr().out


def test_against_truth_and_against_a_run(finished, run, tmp_path, capsys):
    z = ldm.runs.load_latents(run)["z"].numpy()
    numpy.savez(tmp_path / "truth.npz", truth=3 * z[:, ::-1])
    diagnose(run, "--against", tmp_path / "truth.npz")
    assert "Recovery of the truth: identified up to order, sign and scale" in capsys.readouterr().out
    diagnose(run, "--against", finished / "plain")
    assert "Agreement with plain: the same up to order, sign and scale" in capsys.readouterr().out
    assert not (run / "recovery.png").exists()  # of the diagnosis before


class TestMistakes:
    """Each ends in one sentence on stderr and exit code 2; the run is left as it was."""

    def refused(self, capsys, run, *options):
        before = sorted(path.name for path in run.iterdir()) if run.is_dir() else None
        diagnose(run, *options, code=2)
        error = capsys.readouterr().err.strip()
        assert error.startswith("pyro-ldm: ") and "Traceback" not in error
        assert before is None or before == sorted(path.name for path in run.iterdir())
        return error.splitlines()[-1]

    def test_no_run(self, tmp_path, capsys):
        assert "there is no run" in self.refused(capsys, tmp_path / "nowhere")
        (tmp_path / "empty").mkdir()
        assert "is no run" in self.refused(capsys, tmp_path / "empty")

    def test_missing_run(self, capsys):
        for argv in (["diagnose"], ["diagnose", "--nuts"]):
            assert main(argv) == 2
            assert "RUN is missing" in capsys.readouterr().err

    def test_unfinished(self, tmp_path, capsys):
        (tmp_path / ".run.partial").mkdir()
        assert f"--resume {tmp_path / 'run'}" in self.refused(capsys, tmp_path / "run")

    def test_written_from_python(self, run, capsys):
        (run / "config.yaml").unlink()
        assert "runs.diagnose" in self.refused(capsys, run)

    def test_data_that_are_gone(self, run, capsys):
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"data": str(run / "gone.csv")}))
        error = self.refused(capsys, run)
        assert "cannot be read now" in error and "gone.csv" in error

    def test_data_that_have_changed(self, run, tmp_path, capsys):
        numpy.savetxt(tmp_path / "other.csv", numpy.random.default_rng(1).normal(size=(120, 4)), delimiter=",")
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"data": str(tmp_path / "other.csv")}))
        assert "has changed since" in self.refused(capsys, run)

    def test_another_version(self, run, capsys):
        summary = json.loads((run / "summary.json").read_text())
        summary["versions"]["pyro_ldm"] = "0.0.1"
        (run / "summary.json").write_text(json.dumps(summary))
        with warnings.catch_warnings():
            warnings.simplefilter("always")
            diagnose(run)  # what can be read is read
        assert "is of pyro_ldm 0.0.1" in capsys.readouterr().err
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"an_old_option": 3}))
        error = self.refused(capsys, run)
        assert "is of pyro_ldm 0.0.1" in error and "an_old_option" in error

    def test_weights_that_do_not_fit(self, run, capsys):
        config = yaml.safe_load((run / "config.yaml").read_text())
        (run / "config.yaml").write_text(yaml.safe_dump(config | {"latent_dim": 3}))
        assert "does not fit" in self.refused(capsys, run)

    def test_nuts_without_parameters(self, run, capsys):
        assert "nothing to infer" in self.refused(capsys, run, "--nuts")

    @pytest.mark.parametrize(
        ("arrays", "words"),
        [
            ({"sources": numpy.zeros((120, 2))}, "no array 'truth', it has ['sources']"),
            ({"truth": numpy.zeros((7, 2))}, "has shape (7, 2) where (120, K) is wanted"),
            ({"truth": numpy.zeros(120)}, "has shape (120,)"),
            ({"truth": numpy.full((120, 2), numpy.nan)}, "NaN"),
            ({"truth": numpy.array(["a"] * 120)}, "save it as numbers"),
        ],
    )
    def test_truth(self, run, tmp_path, capsys, arrays, words):
        numpy.savez(tmp_path / "truth.npz", **arrays)
        assert words in self.refused(capsys, run, "--against", tmp_path / "truth.npz")

    def test_other_things_to_hold_it_against(self, run, tmp_path, capsys):
        assert "there is no file" in self.refused(capsys, run, "--against", tmp_path / "nowhere.npz")
        (tmp_path / "broken.npz").write_bytes(b"nonsense")
        assert "cannot be read" in self.refused(capsys, run, "--against", tmp_path / "broken.npz")
        (tmp_path / "empty").mkdir()
        assert "finished run" in self.refused(capsys, run, "--against", tmp_path / "empty")
        (tmp_path / "other").mkdir()
        numpy.savez(tmp_path / "other" / "latents.npz", z=numpy.zeros((7, 2)))
        assert "pass a run of the same data" in self.refused(capsys, run, "--against", tmp_path / "other")

    def test_the_run_itself(self, run, capsys):
        assert "is the run itself" in self.refused(capsys, run, "--against", run)

    def test_broken_files(self, run, capsys):
        whole = (run / "latents.npz").read_bytes()
        (run / "latents.npz").write_bytes(whole[: len(whole) // 2])
        error = self.refused(capsys, run)
        assert "latents.npz cannot be read" in error and "fit the run again" in error
        (run / "latents.npz").write_bytes(whole)
        (run / "summary.json").write_text((run / "summary.json").read_text()[:100])
        with warnings.catch_warnings():
            warnings.simplefilter("always")  # of the version, which is not known then
            error = self.refused(capsys, run)
        assert "summary.json cannot be read" in error and "fit the run again" in error

    def test_options_are_written_out(self, run, capsys):
        for option in ("--nut", "--prog", "--num_s"):
            assert option in self.refused(capsys, run, option, *([] if option == "--nut" else ["3"]))

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--num_samples", "50"], "num_samples would do nothing without nuts (--nuts)"),
            (["--nuts", "--num_samples", "3"], "num_samples must be at least 4"),
            (["--nuts", "--target_accept", "1.5"], "target_accept is a probability between 0 and 1"),
            (["--nuts", "--num_chains", "0"], "--num_chains takes a whole number of at least 1"),
            (["--other_priors", "maybe"], "--other_priors takes true or false"),
        ],
    )
    def test_options_of_nuts(self, run, capsys, options, words):
        assert words in self.refused(capsys, run, *options)

    @pytest.mark.parametrize("options", [["--seed", "-1"], ["--nonsense", "3"], ["--progress", "perhaps"]])
    def test_options(self, run, capsys, options):
        assert options[0] in self.refused(capsys, run, *options)


def test_interrupted(run, monkeypatch, capsys):
    def interrupt(*_, **__):
        raise KeyboardInterrupt

    before = sorted(path.name for path in run.iterdir())
    monkeypatch.setattr(findings, "predictive_check", interrupt)
    diagnose(run, code=130)
    assert "nothing was written" in capsys.readouterr().err
    assert before == sorted(path.name for path in run.iterdir())
