"""The command line: every kind of data and choice, and one clear sentence for every mistake."""

import json
import os
import signal
import subprocess
import sys
import time
import warnings

import numpy
import pytest
import torch
import yaml

import pyro_ldm as ldm
from pyro_ldm.cli import main


@pytest.fixture(autouse=True)
def as_from_a_shell():
    torch.set_default_dtype(torch.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)  # sums depend on it: here and in the process that is killed
    yield
    torch.set_num_threads(threads)


@pytest.fixture
def csv(tmp_path):
    path = tmp_path / "table.csv"
    numpy.savetxt(path, numpy.random.default_rng(0).normal(size=(120, 5)), delimiter=",")
    return path


def run(*arguments, code=0):
    options = ["--epochs", "1", "--batch_size", "60", "--progress", "false"]
    data, *others = map(str, arguments)
    assert main(["fit", data, *options, *others]) == code


PROGRAMS = """
import pyro, torch, pyro.distributions as dist

def plain(x):
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))

def of_the_data(x):
    with pyro.plate("batch", x.shape[0]):
        pyro.sample("z", dist.Normal(x.new_zeros(3), 1.0).to_event(1))

def two_views(x, x_prime):
    with pyro.plate("batch", len(x)):
        z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
        pyro.sample("z_prime", dist.Normal(z, 0.5).to_event(1))

def flat(x):
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.ImproperUniform(dist.constraints.real_vector, (), (3,)))

def three_views(*batch):
    with pyro.plate("batch", len(batch[0])):
        for name in "abc":
            pyro.sample(name, dist.Normal(torch.zeros(3), 1.0).to_event(1))

def untrained(x):
    scale = pyro.param("scale", torch.ones(3))
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.Normal(torch.zeros(3), scale).to_event(1))

class Learned(torch.nn.Module):
    def __init__(self, latent_dim):
        super().__init__()
        self.loc = torch.nn.Parameter(torch.zeros(latent_dim))
    def forward(self, x):
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Normal(self.loc, 1.0).to_event(1))

class Encoder(torch.nn.Linear):
    def __init__(self, in_features, out_features):
        super().__init__(in_features, out_features)

too_wide = torch.nn.Linear(9, 3)

class Raises(torch.nn.Module):
    def forward(self, x):
        raise RuntimeError("inside the encoder")
"""


@pytest.fixture
def programs(tmp_path):
    path = tmp_path / "programs.py"
    path.write_text(PROGRAMS)
    return path


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
        "ResNet18",
        "Crop",
        "Noise",
        "digits",
        "fashion_mnist",
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

    def test_views_on_the_sphere_get_an_encoder_to_it(self, csv, tmp_path):
        options = "--prior VonMisesFisherViews --prior.concentration 4 --arrangement Pooled --entropy KDE".split()
        options += "--entropy.kernel VonMisesFisherKernel --entropy.kernel.concentration 2".split()
        run(csv, "--latent_dim", 3, *options, "--out", tmp_path / "run")
        z = ldm.runs.load_latents(tmp_path / "run")["z"]
        torch.testing.assert_close(z.norm(dim=-1), torch.ones(120))

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

    @pytest.mark.parametrize("prior", ["plain", "of_the_data", "two_views", "flat", "Learned"])
    def test_priors_of_one_s_own(self, csv, programs, tmp_path, prior):
        out = tmp_path / "run"
        run(
            csv,
            "--prior",
            f"{programs}:{prior}",
            "--entropy",
            "LogDet",
            "--encoder",
            f"{programs}:Encoder",
            "--out",
            out,
        )
        width = 5 if prior == "Learned" else 3  # a class may ask for latent_dim, which is no more than the data's
        assert ldm.runs.load_latents(out)["z"].shape == (120, width)

    def test_from_a_module_beside_other_modules(self, csv, programs, tmp_path, monkeypatch):
        (tmp_path / "beside.py").write_text("from programs import plain")
        monkeypatch.chdir(tmp_path)
        for i, prior in enumerate(("beside:plain", "beside.py:plain")):
            run(csv, "--prior", prior, "--out", f"run{i}")
            assert ldm.runs.load_latents(tmp_path / f"run{i}")["z"].shape == (120, 3)
        for name in ("beside", "programs"):
            monkeypatch.delitem(sys.modules, name)

    def test_no_more_latents_than_the_data_has_columns(self, csv, tmp_path):
        run(csv, "--entropy", "Jacobian", "--out", tmp_path / "run")
        assert ldm.runs.load_latents(tmp_path / "run")["z"].shape == (120, 5)


@pytest.fixture
def series(tmp_path):
    """40 series of 12 steps, 3 numbers a step."""
    path = tmp_path / "series.npy"
    numpy.save(path, numpy.random.default_rng(0).normal(size=(40, 12, 3)).cumsum(1))
    return path


@pytest.fixture
def videos(tmp_path):
    path = tmp_path / "videos.npz"
    numpy.savez(path, x=ldm.datasets.dots("circle", num=40, num_steps=12).x.numpy())
    return path


@pytest.mark.filterwarnings("ignore:the transition matrix has spectral radius")
class TestSeries:
    KALMAN = ("--prior", "kalman", "--latent_dim", 2, "--batch_size", 20, "--encoder", "mlp", "--encoder.hidden", "[8]")

    def config(self, place):
        return yaml.safe_load((place / "config.yaml").read_text())

    def test_a_kalman_filter_of_vectors(self, series, tmp_path, capsys):
        run(series, *self.KALMAN, "--prior.state_dim", 4, "--out", tmp_path / "run")
        read = ldm.runs.load_latents(tmp_path / "run")
        assert read["z"].shape == (40, 12, 2) and read["filter_loc"].shape == (40, 12, 4)
        assert (tmp_path / "run" / "filter.png").exists()
        assert "skill of forecasts 1 step ahead: over persistence" in capsys.readouterr().out

    @pytest.mark.parametrize("encoder", ["MLP", "ConvNet"])
    def test_videos(self, videos, tmp_path, encoder):
        run(videos, *self.KALMAN[:-4], "--encoder", encoder, "--out", tmp_path / "run")
        assert ldm.runs.load_latents(tmp_path / "run")["z"].shape == (40, 12, 2)

    @pytest.mark.parametrize(
        ("entropy", "arrangement"), [("LogDet", "Pooled"), ("knn", "Separate"), ("KDE", "Separate")]
    )
    def test_what_an_entropy_is_arranged_as(self, series, tmp_path, entropy, arrangement):
        run(series, *self.KALMAN, "--entropy", entropy, "--out", tmp_path / "run")
        assert self.config(tmp_path / "run")["arrangement"] == arrangement
        run(series, *self.KALMAN, "--entropy", entropy, "--arrangement", "pooled", "--out", tmp_path / "other")
        assert self.config(tmp_path / "other")["arrangement"] == "Pooled"

    def test_what_is_left_open_is_saved(self, series, tmp_path):
        assert main(["fit", str(series), "--prior", "Kalman", "--epochs", "1", "--out", str(tmp_path / "run")]) == 0
        saved = self.config(tmp_path / "run")
        assert saved["entropy"]["class_path"] == "pyro_ldm.entropy.LogDet" and saved["batch_size"] == 32
        assert main(["fit", "--config", str(tmp_path / "run" / "config.yaml"), "--out", str(tmp_path / "again")]) == 0
        first, again = (ldm.runs.load_latents(tmp_path / name) for name in ("run", "again"))
        assert first["z"].shape == (40, 12, 3)  # no more latents than a step has numbers
        assert torch.equal(first["filter_loc"], again["filter_loc"])

    def test_a_batch_has_more_rows_where_each_step_has_an_estimate_of_its_own(self, series, tmp_path):
        options = ["--prior", "Kalman", "--entropy", "KNN", "--epochs", "1", "--progress", "false"]
        assert main(["fit", str(series), *options, "--out", str(tmp_path / "run")]) == 0
        assert self.config(tmp_path / "run")["batch_size"] == 64

    def test_padded_series(self, tmp_path, monkeypatch):
        lengths = torch.arange(8, 20).repeat(4)
        data = ldm.datasets.cut_series(torch.randn(int(lengths.sum()), 3), lengths)
        monkeypatch.setattr(ldm.datasets, "load", lambda *_, **__: data)
        run("padded", *self.KALMAN, "--entropy", "KDE", "--out", tmp_path / "run")
        assert self.config(tmp_path / "run")["arrangement"] == "Pooled"
        read = ldm.runs.load_latents(tmp_path / "run")
        for name in ("z", "filter_loc", "filter_scale"):
            assert torch.equal(~read[name].isnan().any(-1), data.mask), name

    def test_a_prior_of_series_of_one_s_own(self, series, tmp_path):
        program = tmp_path / "mine.py"
        program.write_text(
            "import pyro, torch, pyro.distributions as dist\n"
            "def white(x):\n"
            "    with pyro.plate('batch', len(x)):\n"
            "        pyro.sample('z', dist.Normal(torch.zeros(x.shape[1], 2), 1.0).to_event(2))\n"
            "class OfAll(torch.nn.Linear):\n"
            "    def __init__(self):\n"
            "        super().__init__(3, 3)\n"
            "    def forward(self, x):\n"
            "        return super().forward(x.mean(1))\n"
        )
        run(series, "--prior", f"{program}:white", "--encoder", "Linear", "--out", tmp_path / "run")
        assert set(ldm.runs.load_latents(tmp_path / "run")) == {"z"} and not (tmp_path / "run" / "filter.png").exists()
        run(series, "--latent_dim", 3, "--encoder", f"{program}:OfAll", "--out", tmp_path / "vectors")
        assert ldm.runs.load_latents(tmp_path / "vectors")["z"].shape == (40, 3)

    def test_a_variant_s_name_makes_a_folder(self, tmp_path, monkeypatch, videos):
        monkeypatch.chdir(tmp_path)
        data = ldm.datasets.load(videos)
        monkeypatch.setattr(ldm.datasets, "load", lambda *_, **__: data)
        run("dots:circle", *self.KALMAN)
        (folder,) = (tmp_path / "runs").iterdir()
        assert folder.name.startswith("dots-circle-2")

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--prior", "Laplace"], "one of vectors, and the data have shape (N, 12, 3), series of 12 steps"),
            (["--prior", "GaussianViews"], "use a prior of series, such as Kalman"),
            (["--prior", "Kalman", "--entropy", "Jacobian"], "Jacobian is for vectors"),
            (["--prior", "Kalman", "--entropy", "LogDet", "--arrangement", "Joint"], "N >= D + 1"),
            (["--prior", "Kalman", "--encoder", "ConvNet"], "use MLP for vectors"),
            (["--prior", "Kalman", "--prior.steps", "3"], "it has state_dim, transition_matrix"),
        ],
    )
    def test_mistakes(self, series, tmp_path, capsys, options, words):
        assert words in TestMistakes().refused(capsys, tmp_path, series, *options, "--batch_size", "30")

    def test_images_are_no_series(self, tmp_path, capsys):
        assert "data with an axis of steps" in TestMistakes().refused(capsys, tmp_path, "digits", "--prior", "Kalman")

    def test_list_has_kalman_but_no_bases(self, capsys):
        assert main(["list"]) == 0
        names = [line.split()[0] for line in capsys.readouterr().out.splitlines()]
        assert "Kalman" in names and not {"Series", "PlaneViews", "Sources", "Autoregressive"} & set(names)


def test_a_config_of_one_s_own_with_short_names(csv, programs, tmp_path):
    config = {
        "data": str(csv),
        "prior": f"{programs}:plain",
        "entropy": {"class_path": "KDE", "init_args": {"kernel": {"class_path": "GaussianKernel"}}},
        "encoder": "Linear",
        "epochs": 1,
        "progress": False,
    }
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(config))
    assert main(["fit", "--config", str(tmp_path / "mine.yaml"), "--seed", "3", "--out", str(tmp_path / "run")]) == 0
    saved = yaml.safe_load((tmp_path / "run" / "config.yaml").read_text())
    assert saved["encoder"]["class_path"] == "pyro_ldm.encoders.Linear" and saved["seed"] == 3
    assert ldm.runs.load_latents(tmp_path / "run")["z"].shape == (120, 3)


def test_warnings_are_lines_said_once(csv, tmp_path, capsys):
    with warnings.catch_warnings():
        warnings.simplefilter("always")
        run(csv, "--prior", "Laplace", "--entropy", "LogDet", "--starts", "2", "--out", tmp_path / "run")
    (line,) = [line for line in capsys.readouterr().err.splitlines() if "LogDet with a Laplace prior" in line]
    assert line.startswith("pyro-ldm: warning: ")


def test_ctrl_c_leaves_a_run_to_go_on_with(csv, tmp_path, capsys, monkeypatch):
    from pyro_ldm.cli import fit as command

    def interrupted(*_, **__):
        raise KeyboardInterrupt

    with monkeypatch.context() as patch:
        patch.setattr(command, "fit", interrupted)
        run(csv, "--out", tmp_path / "run", code=130)
    assert "--resume" in capsys.readouterr().err
    assert main(["fit", "--resume", str(tmp_path / "run")]) == 0
    assert (tmp_path / "run" / "weights.safetensors").exists()


def test_interrupted_before_it_began(tmp_path, capsys):
    (tmp_path / ".run.partial").mkdir()
    assert main(["fit", "--resume", str(tmp_path / "run")]) == 2
    assert "before it began: remove" in capsys.readouterr().err


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
    options += "--progress false --latent_dim 4 --starts 2 --lr 0.002 --patience 25 --gradient_clip 9".split()
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
            (["--entropy", "kn"], "did you mean KNN?"),
            (["--encoder", "Transformer"], "Known: ConvNet, Linear, MLP, ResNet18"),
            (["--prior", "GaussianViews", "--arrangement", "joined"], "did you mean Joint?"),
            (["--prior", "GaussianViews", "--augment", "[Blur]"], "unknown augmentation"),
            (["--prior", "Laplace", "--prior.scale", "-1"], "scale must satisfy"),
            (["--prior", "Laplace", "--prior.width", "1"], "width"),
            (["--prior", "Laplace", "--prior.width", "1"], "there is no option 'width'; it has scale"),
            (["--prior", "torch.nn.Nothing"], "no attribute 'Nothing'"),
            (["--prior"], "--prior needs a value"),
            (["--entropy", "KDE", "--entropy.kernel", "GaussianKernel", "--entropy.kernel.bandwidth", "x"], "a number"),
            (["--encoder.hidden", "[4]"], "name it first"),
            (["--entropy.num_neighbors", "4"], "--entropy.num_neighbors belongs to no entropy yet"),
            (["--prior", "Kalman"], "one of series (N, T, ...), and the data have shape (N, 5): use a prior"),
            (["--latent_dim", "many"], "--latent_dim takes a whole number of at least 1, got many"),
            (["--epochs", "0"], "--epochs takes a whole number of at least 1, got 0"),
            (["--batch_size", "1"], "--batch_size takes a whole number of at least 2, got 1"),
            (["--lr", "-1"], "--lr takes a number above 0, got -1"),
            (["--epoch", "1"], "unrecognized arguments: --epoch 1"),
            (["--seed", "-1"], "--seed takes a whole number from 0"),
            (["--augment", "Noise"], "--augment takes a list"),
            (["--accelerator", "tpu"], "cannot be used here"),
            (["--precision", "4-bit"], "Precision '4-bit' is invalid"),
            (["--config", "nowhere.yaml"], "there is no config file"),
            (["--nothing", "3"], "--nothing"),
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

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--prior", "{}:three_views"], "two views are all"),
            (["--prior", "{}:untrained"], "pyro.param"),
            (["--prior", "{}:plain", "--latent_dim", "7"], "has 3 latent dims, and --latent_dim says 7"),
            (["--encoder", "{}:too_wide"], "the encoder does not run on data of shape (5,)"),
            (["--encoder", "{}:Raises"], "inside the encoder"),
            (["--encoder", "{}:plain"], "an encoder is a torch.nn.Module"),
        ],
    )
    def test_in_programs(self, csv, programs, tmp_path, capsys, options, words):
        assert words in self.refused(capsys, tmp_path, csv, *(option.format(programs) for option in options))

    def test_data_that_come_late(self, csv, capsys):
        assert main(["fit", "--epochs", "3", str(csv)]) == 2
        assert "DATA comes first" in capsys.readouterr().err

    def test_an_existing_run_is_kept(self, csv, tmp_path, capsys):
        run(csv, "--latent_dim", 2, "--out", tmp_path / "run")
        before = (tmp_path / "run" / "weights.safetensors").read_bytes()
        run(csv, "--latent_dim", 2, "--out", tmp_path / "run", code=2)
        assert "choose another folder" in capsys.readouterr().err
        assert (tmp_path / "run" / "weights.safetensors").read_bytes() == before

    def test_unknown_command(self, capsys):
        assert main(["train"]) == 2 and "commands: fit, diagnose, compare, list" in capsys.readouterr().err
