"""The command line: every kind of data and choice, and one clear sentence for every mistake."""

import json
import os
import signal
import subprocess
import sys
import time

import numpy
import pytest
import torch
import yaml

import pyro_ldm as ldm
from pyro_ldm.cli import main


@pytest.fixture(autouse=True)
def as_from_a_shell():
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "table.csv"
    numpy.savetxt(path, numpy.random.default_rng(0).normal(size=(120, 5)), delimiter=",")
    return path


def run(*arguments, code=0):
    options = ["--epochs", "1", "--batch_size", "60", "--progress", "false"]
    data, *others = map(str, arguments)
    assert main(["fit", data, *options, *others]) == code


def test_list_names_everything_with_one_line(capsys):
    assert main(["list"]) == 0
    out = capsys.readouterr().out
    for name in (
        "Laplace",
        "GaussianViews",
        "KNN",
        "Jacobian",
        "Separate",
        "MLP",
        "ConvNet",
        "Noise",
        "digits",
        "patches",
    ):
        (line,) = [line for line in out.splitlines() if line.split()[:1] == [name]]
        assert len(line.split()) > 4


class TestData:
    def test_built_in(self, tmp_path, capsys):
        run("digits", "--prior", "Laplace", "--prior.scale", "2", "--out", tmp_path / "run")
        out = capsys.readouterr().out
        assert "KL" in out and "alignment" in out and "uniformity" in out and "nats" in out and "effective rank" in out
        assert ldm.runs.load_latents(tmp_path / "run")["z"].shape == (1797, 8)

    def test_csv(self, csv, tmp_path):
        run(csv, "--latent_dim", 2, "--out", tmp_path / "run")

    def test_npy(self, tmp_path):
        numpy.save(tmp_path / "x.npy", numpy.random.default_rng(0).normal(size=(120, 5)))
        run(tmp_path / "x.npy", "--latent_dim", 2, "--out", tmp_path / "run")

    def test_npz(self, tmp_path):
        rows = numpy.random.default_rng(0).normal(size=(120, 5))
        numpy.savez(tmp_path / "x.npz", a=rows, b=rows[:, 0])
        run(tmp_path / "x.npz", "--key", "a", "--latent_dim", 2, "--out", tmp_path / "run")

    def test_parquet(self, tmp_path):
        pandas = pytest.importorskip("pandas")
        pytest.importorskip("pyarrow")
        pandas.DataFrame(numpy.random.default_rng(0).normal(size=(120, 5)), columns=list("abcde")).to_parquet(
            tmp_path / "x.parquet"
        )
        run(tmp_path / "x.parquet", "--latent_dim", 2, "--out", tmp_path / "run")

    def test_images(self, tmp_path):
        from PIL import Image

        (tmp_path / "images").mkdir()
        for i in range(70):
            pixels = numpy.random.default_rng(i).integers(0, 255, (8, 8), dtype=numpy.uint8)
            Image.fromarray(pixels).save(tmp_path / "images" / f"{i:03}.png")
        run(tmp_path / "images", "--latent_dim", 2, "--out", tmp_path / "run")


class TestChoices:
    def test_jacobian_reduces_by_pca_and_draws_filters(self, tmp_path):
        run("digits", "--prior", "StudentT", "--entropy", "Jacobian", "--latent_dim", 20, "--out", tmp_path / "run")
        assert (tmp_path / "run" / "filters.png").exists()
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["terms"]["divergence"] == "cross-entropy"

    def test_nested_options(self, csv, tmp_path):
        options = "--entropy KDE --entropy.kernel GaussianKernel --entropy.kernel.bandwidth 0.7".split()
        run(csv, "--latent_dim", 2, *options, "--encoder", "MLP", "--encoder.hidden", "[16]", "--out", tmp_path / "run")
        saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
        assert saved["entropy"]["init_args"]["kernel"]["init_args"]["bandwidth"] == 0.7

    @pytest.mark.parametrize("arrangement", ["Joint", "Separate", "Pooled"])
    def test_two_views(self, csv, tmp_path, arrangement):
        options = ["--prior", "GaussianViews", "--entropy", "LogDet", "--arrangement", arrangement]
        run(csv, "--latent_dim", 2, *options, "--augment", "[Noise,Mask]", "--out", tmp_path / "run")

    def test_a_flat_first_view(self, csv, tmp_path):
        options = ["--prior", "GaussianViews", "--prior.scale", "null", "--entropy", "LogDet"]
        run(csv, "--latent_dim", 2, *options, "--out", tmp_path / "run")

    def test_mixture_gets_a_gaussian_encoder(self, csv, tmp_path):
        run(csv, "--latent_dim", 2, "--entropy", "Mixture", "--out", tmp_path / "run")

    def test_a_prior_and_an_encoder_of_one_s_own(self, csv, tmp_path):
        program = tmp_path / "mine.py"
        program.write_text(
            "import pyro, torch, pyro.distributions as dist\n"
            "def prior(x):\n"
            "    scale = pyro.sample('scale', dist.HalfNormal(torch.ones(3)).to_event(1))\n"
            "    with pyro.plate('batch', len(x)):\n"
            "        pyro.sample('z', dist.StudentT(4.0, torch.zeros(3), scale).to_event(1))\n"
            "class Encoder(torch.nn.Linear):\n"
            "    def __init__(self):\n"
            "        super().__init__(5, 3)\n"
        )
        run(csv, "--prior", f"{program}:prior", "--encoder", f"{program}:Encoder", "--out", tmp_path / "run")
        assert ldm.runs.load_latents(tmp_path / "run")["z"].shape == (120, 3)
        assert json.loads((tmp_path / "run" / "summary.json").read_text())["terms"]["global_kl"] > 0


def test_the_saved_config_reruns_it(csv, tmp_path):
    options = ["--prior", "GaussianViews", "--entropy", "LogDet", "--latent_dim", 2, "--seed", 3]
    run(csv, *options, "--out", tmp_path / "first")
    assert main(["fit", "--config", str(tmp_path / "first" / "config.yaml"), "--out", str(tmp_path / "second")]) == 0
    first, second = (ldm.runs.load_latents(tmp_path / name)["z"] for name in ("first", "second"))
    assert torch.equal(first, second)


def test_print_config(capsys):
    with pytest.raises(SystemExit) as exit:
        main(["fit", "digits", "--prior", "Laplace", "--print_config"])
    assert exit.value.code == 0
    assert yaml.safe_load(capsys.readouterr().out)["prior"]["class_path"] == "pyro_ldm.priors.Laplace"


@pytest.mark.slow
def test_a_killed_run_resumes_to_the_same_result(tmp_path):
    """Killed at any moment after its first epoch, and resumed: weights, history and latents are bit-identical."""
    options = (
        "fit digits --prior GaussianViews --entropy LogDet --encoder MLP --encoder.hidden [32] --epochs 30".split()
    )
    options += ["--progress", "false", "--latent_dim", "4", "--starts", "2"]
    command = [sys.executable, "-m", "pyro_ldm.cli", *options, "--out"]
    whole, killed = tmp_path / "whole", tmp_path / "killed"
    assert main([*options, "--out", str(whole)]) == 0
    process = subprocess.Popen(
        [*command, str(killed)], stdout=subprocess.DEVNULL, env={**os.environ, "OMP_NUM_THREADS": "1"}
    )
    checkpoint = tmp_path / ".killed.partial" / "checkpoint.ckpt"
    deadline = time.monotonic() + 60
    while not checkpoint.exists() and process.poll() is None and time.monotonic() < deadline:
        time.sleep(0.01)
    process.send_signal(signal.SIGKILL)
    process.wait()
    assert checkpoint.exists() and not killed.exists()
    assert main(["fit", "--resume", str(killed)]) == 0
    for name in ("weights.safetensors", "history.csv"):
        assert (whole / name).read_bytes() == (killed / name).read_bytes(), name
    assert torch.equal(ldm.runs.load_latents(whole)["z"], ldm.runs.load_latents(killed)["z"])
    assert not (tmp_path / ".killed.partial").exists()


class TestMistakes:
    """Each ends in one sentence on stderr, exit code 2, and nothing left behind."""

    def refused(self, capsys, tmp_path, *arguments):
        place = tmp_path / "out" / "run"
        run(*arguments, "--out", place, code=2)
        error = capsys.readouterr().err.strip()
        assert not place.exists() and not list(tmp_path.glob("out/.*"))
        assert error.startswith("pyro-ldm: ") and "Traceback" not in error
        (line,) = error.splitlines()
        return line

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--prior", "Laplce"], "did you mean Laplace?"),
            (["--entropy", "knn"], "did you mean KNN?"),
            (["--encoder", "Transformer"], "Known: ConvNet, Linear, MLP"),
            (["--prior", "GaussianViews", "--arrangement", "joint"], "did you mean Joint?"),
            (["--prior", "GaussianViews", "--augment", "[Blur]"], "unknown augmentation"),
            (["--prior", "Laplace", "--prior.scale", "-1"], "scale must satisfy"),
            (["--prior", "Laplace", "--prior.width", "1"], "width"),
            (["--latent_dim", "many"], "latent_dim"),
            (["--prior", "missing.py:prior"], "there is no file missing.py"),
            (["--prior", "math:nothing"], "no program 'nothing'"),
            (["--key", "a", "--resume", "nowhere"], "no interrupted run"),
            (["--entropy", "LogDet", "--batch_size", "4"], "N >= D + 1"),
            (["--encoder", "ConvNet"], "use MLP for vectors"),
        ],
    )
    def test_in_options(self, csv, tmp_path, capsys, options, words):
        assert words in self.refused(capsys, tmp_path, csv, *options)

    def test_unknown_data(self, tmp_path, capsys):
        assert "did you mean 'digits'" in self.refused(capsys, tmp_path, "digts")

    def test_unknown_file_type(self, tmp_path, capsys):
        (tmp_path / "data.xyz").write_text("1,2\n")
        assert ".xyz" in self.refused(capsys, tmp_path, tmp_path / "data.xyz")

    def test_ragged_csv(self, tmp_path, capsys):
        (tmp_path / "data.csv").write_text("1,2\n3,4,5\n6,7\n")
        assert "line 2" in self.refused(capsys, tmp_path, tmp_path / "data.csv")

    def test_nan(self, tmp_path, capsys):
        numpy.save(tmp_path / "x.npy", numpy.full((10, 3), numpy.nan))
        assert "NaN" in self.refused(capsys, tmp_path, tmp_path / "x.npy")

    def test_one_sample(self, tmp_path, capsys):
        numpy.save(tmp_path / "x.npy", numpy.zeros((1, 3)))
        self.refused(capsys, tmp_path, tmp_path / "x.npy")

    def test_wrong_rank(self, tmp_path, capsys):
        numpy.save(tmp_path / "x.npy", numpy.zeros(30))
        self.refused(capsys, tmp_path, tmp_path / "x.npy")

    def test_a_broken_image(self, tmp_path, capsys):
        (tmp_path / "images").mkdir()
        (tmp_path / "images" / "a.png").write_bytes(b"not a picture")
        assert "a.png" in self.refused(capsys, tmp_path, tmp_path / "images")

    @pytest.mark.parametrize(
        ("program", "words"),
        [
            ("def prior(x):\n    pyro.sample('z', dist.Normal(0.0, 1.0))\n", "nothing within pyro.plate"),
            ("def prior(x):\n    return nonsense\n", "does not run on a batch"),
            ("import missing_package\n", "does not run"),
            (
                "def prior(x):\n    with pyro.plate('batch', len(x)): pyro.sample('z', dist.Normal(0.0, 1.0))\n",
                "must be vectors",
            ),
        ],
    )
    def test_in_a_prior_of_one_s_own(self, csv, tmp_path, capsys, program, words):
        file = tmp_path / "mine.py"
        file.write_text("import pyro, torch, pyro.distributions as dist\n" + program)
        assert words in self.refused(capsys, tmp_path, csv, "--prior", f"{file}:prior")

    def test_an_existing_run_is_kept(self, csv, tmp_path, capsys):
        run(csv, "--latent_dim", 2, "--out", tmp_path / "run")
        before = (tmp_path / "run" / "weights.safetensors").read_bytes()
        run(csv, "--latent_dim", 2, "--out", tmp_path / "run", code=2)
        assert "choose another folder" in capsys.readouterr().err
        assert (tmp_path / "run" / "weights.safetensors").read_bytes() == before

    def test_unknown_command(self, capsys):
        assert main(["train"]) == 2 and "commands: fit, list" in capsys.readouterr().err
