"""VAEs on the command line, and runs side by side; one clear sentence for every mistake."""

import csv
import json
import shutil
import sys
from types import SimpleNamespace

import numpy
import pytest
import torch
import yaml

import pyro_ldm as ldm
from pyro_ldm.cli import main
from pyro_ldm.cli.vae import beside


@pytest.fixture(autouse=True)
def as_from_a_shell():
    torch.set_default_dtype(torch.float32)
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    yield
    torch.set_num_threads(threads)


@pytest.fixture(scope="module")
def place(tmp_path_factory):
    """A table with labels in it, and series."""
    folder = tmp_path_factory.mktemp("data")
    rows = numpy.random.default_rng(0).normal(size=(150, 2)) @ numpy.random.default_rng(1).normal(size=(2, 5))
    numpy.savetxt(folder / "table.csv", rows, delimiter=",")
    numpy.save(folder / "series.npy", numpy.random.default_rng(0).normal(size=(60, 12, 3)).cumsum(1))
    return folder


SMALL = ["--epochs", "1", "--batch_size", "50", "--progress", "false", "--latent_dim", "2"]
VAE = ["--decoder", "MLPDecoder", "--decoder.hidden", "[8]"]


def run(data, *options, out, code=0):
    assert main(["fit", str(data), *SMALL, *map(str, options), "--out", str(out)]) == code


def read(folder):
    return json.loads((folder / "summary.json").read_text()), yaml.safe_load((folder / "config.yaml").read_text())


class TestFit:
    @pytest.mark.parametrize(
        ("options", "divergence"),
        [
            (VAE, "KL + I"),
            ([*VAE, "--beta", "4"], "KL + I"),
            ([*VAE, "--particles", "3"], "KL + I"),
            ([*VAE, "--pseudo_inputs", "10"], "KL + I"),
            ([*VAE, "--entropy", "Mixture"], "KL"),
            ([*VAE, "--prior", "GaussianViews"], "KL + I"),
            ([*VAE, "--prior", "GaussianViews", "--entropy", "Mixture"], "KL"),
        ],
    )
    def test_a_decoder_makes_a_vae(self, place, tmp_path, capsys, options, divergence):
        run(place / "table.csv", *options, out=tmp_path / "run")
        summary, config = read(tmp_path / "run")
        assert summary["terms"]["divergence"] == divergence and summary["terms"]["reconstruction"] is not None
        assert "posterior collapse" in summary["posterior_collapse"]
        assert config["likelihood"]["class_path"] == "pyro_ldm.baselines.Gaussian"
        said = capsys.readouterr().out
        assert ("-ELBO" if divergence == "KL + I" else "-(ELBO + I)") in said and "posterior collapse" in said

    def test_a_flow_prior(self, place, tmp_path):
        pytest.importorskip("zuko")
        run(place / "table.csv", *VAE, "--prior", "Flow", out=tmp_path / "run")
        assert read(tmp_path / "run")[0]["terms"]["divergence"] == "KL + I"

    @pytest.mark.filterwarnings("ignore:the transition matrix has spectral radius")
    @pytest.mark.parametrize("prior", ["Kalman", "DeepMarkov"])
    def test_series(self, place, tmp_path, prior):
        run(place / "series.npy", *VAE, "--prior", prior, out=tmp_path / "run")
        found = ldm.runs.load_latents(tmp_path / "run")
        assert found["z"].shape == (60, 12, 2) and ("filter_loc" in found) == (prior == "Kalman")
        assert read(tmp_path / "run")[0]["terms"]["divergence"] == "KL + I"

    def test_beta_weighs_the_kl(self, place, tmp_path):
        """A heavy weight leaves little of it."""
        kl = {}
        for beta in (0.01, 100):
            options = ("--beta", beta, "--epochs", 20, "--lr", 0.01, "--accelerator", "cpu")
            run(place / "table.csv", *VAE, *options, out=tmp_path / str(beta))
            kl[beta] = read(tmp_path / str(beta))[0]["terms"]["kl"]
        assert kl[100] < 0.1 < kl[0.01]

    def test_a_decoder_of_one_s_own(self, place, tmp_path):
        program = tmp_path / "mine.py"
        program.write_text(
            "import torch\nclass Decoder(torch.nn.Linear):\n"
            "    def __init__(self, in_features, out_features):\n        super().__init__(in_features, out_features)\n"
        )
        run(place / "table.csv", "--decoder", f"{program}:Decoder", out=tmp_path / "run")
        assert read(tmp_path / "run")[0]["terms"]["divergence"] == "KL + I"

    def test_what_is_held_out_is_the_same_whatever_the_seed(self, place, tmp_path):
        splits = []
        for seed in (0, 1):
            run(place / "table.csv", "--held_out", 0.2, "--seed", seed, out=tmp_path / str(seed))
            splits.append(ldm.runs.load_latents(tmp_path / str(seed))["split"])
        assert torch.equal(*splits) and int(splits[0].sum()) == 30 and splits[0].dtype == torch.bool
        assert read(tmp_path / "0")[1]["held_out"] == 0.2

    def test_nothing_is_held_out_by_default(self, place, tmp_path):
        run(place / "table.csv", out=tmp_path / "run")
        assert "split" not in ldm.runs.load_latents(tmp_path / "run")

    def test_cost_and_data_are_recorded(self, place, tmp_path):
        run(place / "table.csv", out=tmp_path / "run")
        summary, _ = read(tmp_path / "run")
        assert summary["settings"]["seconds_per_epoch"] > 0 and summary["settings"]["peak_memory_mib"] > 50
        assert summary["data"]["shape"] == [150, 5] and len(summary["data"]["sha256"]) == 64

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            (["--beta", "4"], "--beta belongs to a VAE: add a decoder"),
            (["--likelihood", "Bernoulli"], "--likelihood belongs to a VAE"),
            (["--entropy", "Conditional"], "add a decoder, such as --decoder MLPDecoder, or use Mixture"),
            ([*VAE, "--beta", "2", "--particles", "3"], "give one of them"),
            ([*VAE, "--entropy", "Mixture", "--particles", "3"], "leave out --entropy Mixture"),
            ([*VAE, "--likelihood", "Bernoulli"], "is a distribution on [0, 1], and x goes from"),
            ([*VAE, "--likelihood", "Bernouli"], "did you mean Bernoulli?"),
            (["--decoder", "MLPDecode"], "did you mean MLPDecoder?"),
            (["--decoder", "ConvDecoder"], "use MLPDecoder for vectors"),
            (["--decoder.hidden", "[3]"], "--decoder.hidden belongs to no decoder yet"),
            ([*VAE, "--decoder.wide", "3"], "there is no option 'wide'; it has hidden, activation"),
            ([*VAE, "--prior", "VonMisesFisherViews"], "the prior's latents are unit vectors"),
            ([*VAE, "--pseudo_inputs", "500"], "there are 150 of them"),
            ([*VAE, "--pseudo_inputs", "5", "--prior", "GaussianViews"], "has sites ['z', 'z_prime']"),
            (["--held_out", "1"], "--held_out takes a share, from 0 to below 1, got 1"),
            (["--held_out", "0.001"], "cannot be held out"),
        ],
    )
    def test_mistakes(self, place, tmp_path, capsys, options, words):
        run(place / "table.csv", *options, out=tmp_path / "run", code=2)
        assert words in capsys.readouterr().err and not (tmp_path / "run").exists()

    @pytest.mark.parametrize(
        ("program", "words"),
        [
            ("Decoder = torch.nn.Linear(2, 4)", "makes data of shape (4,)"),
            ("Decoder = torch.nn.Linear(3, 5)", "does not run on"),
            ("def Decoder(z):\n    return z", "a decoder is a torch.nn.Module"),
        ],
    )
    def test_mistakes_in_decoders(self, place, tmp_path, capsys, program, words):
        (tmp_path / "mine.py").write_text(f"import torch\n{program}\n")
        run(place / "table.csv", "--decoder", f"{tmp_path / 'mine.py'}:Decoder", out=tmp_path / "run", code=2)
        assert words in capsys.readouterr().err


@pytest.mark.parametrize(("encoder", "sizes", "decoder"), [("MLP", "hidden", "MLP"), ("ConvNet", "channels", "Conv")])
def test_a_decoder_mirrors_the_encoder(encoder, sizes, decoder):
    options = {"encoder": {"class_path": f"pyro_ldm.encoders.{encoder}", "init_args": {sizes: [64, 32]}}}
    own = beside(options, "same", torch.zeros(5, 2), images=True, decoder=None, likelihood=None)
    assert own["decoder"] == {"class_path": f"pyro_ldm.baselines.{decoder}Decoder", "init_args": {sizes: [32, 64]}}


@pytest.fixture
def in_this_process(monkeypatch):
    """Fits that would run in processes of their own, which take seconds to start; and what they were called with."""
    called = []

    def run(command, *, check):
        assert command[:4] == [sys.executable, "-m", "pyro_ldm.cli", "fit"]
        called.append(command)
        return SimpleNamespace(returncode=main(command[3:]))

    monkeypatch.setattr("pyro_ldm.cli.further.subprocess.run", run)
    return called


@pytest.fixture(scope="module")
def runs(place, tmp_path_factory):
    """An LDM of two seeds and a VAE, which hold out the same; and others that do not go with them."""
    torch.set_default_dtype(torch.float32)
    folder = tmp_path_factory.mktemp("runs")
    for seed in (0, 1):
        run(place / "table.csv", "--held_out", 0.2, "--entropy", "LogDet", "--seed", seed, out=folder / f"ldm{seed}")
    run(place / "table.csv", "--held_out", 0.2, *VAE, out=folder / "vae")
    run(place / "table.csv", *VAE, out=folder / "all")
    return folder


def compare(*arguments, code=0):
    assert main(["compare", *map(str, arguments), "--progress", "false"]) == code


class TestCompare:
    def test_runs_side_by_side(self, runs, tmp_path, capsys):
        compare(runs / "ldm0", runs / "ldm1", runs / "vae", "--particles", 4, "--out", tmp_path / "out")
        names = {path.name for path in (tmp_path / "out").iterdir()}
        assert names == {"compare.csv", "compare.html", "compare_latents.png", "compare_measures.png"}
        with (tmp_path / "out" / "compare.csv").open() as file:
            lines = list(csv.DictReader(file))
        assert {(line["model"], line["seed"]) for line in lines} == {("LDM", "0"), ("LDM", "1"), ("VAE", "0")}
        said = capsys.readouterr().out
        assert "LDM" in said.splitlines()[1] and "compare more seeds" in said and "compare.html" in said
        assert "30 rows held out" in (tmp_path / "out" / "compare.html").read_text()

    def test_vaes_and_seeds_are_fitted_beside_and_not_twice(self, place, runs, tmp_path, capsys, in_this_process):
        arguments = (runs / "ldm0", "--vae", "beta", "--seeds", 2, "--particles", 4, "--out", tmp_path / "out")
        compare(*arguments)
        fitted = {path.name for path in (tmp_path / "out").iterdir() if path.is_dir()}
        assert fitted == {"ldm-seed1", "vae-beta-seed0", "vae-beta-seed1"}
        config, own = read(tmp_path / "out" / "vae-beta-seed1")[1], read(runs / "ldm0")[1]
        assert config["beta"] == 4.0 and config["seed"] == 1
        assert all(config[name] == own[name] for name in ("data", "held_out", "prior", "epochs", "batch_size", "lr"))
        before = (tmp_path / "out" / "vae-beta-seed0" / "summary.json").stat().st_mtime_ns
        compare(*arguments)
        assert before == (tmp_path / "out" / "vae-beta-seed0" / "summary.json").stat().st_mtime_ns
        assert len(in_this_process) == 3 and "than LDM, beta-VAE (4) is" in capsys.readouterr().out
        # Another prior's VAE is another model, whatever its folder is called.
        run(place / "table.csv", "--held_out", 0.2, "--prior.scale", 2, out=tmp_path / "wide")
        compare(tmp_path / "wide", *arguments[1:], code=2)
        assert "is there already, and is another model's" in capsys.readouterr().err
        # So is one that was interrupted.
        shutil.move(tmp_path / "out" / "ldm-seed1", tmp_path / "out" / ".ldm-seed1.partial")
        compare(tmp_path / "wide", *arguments[1:], code=2)
        assert ".ldm-seed1.partial is there already, and is another model's" in capsys.readouterr().err

    def test_a_vae_that_cannot_be_built_is_said_before_any_is_fitted(self, runs, tmp_path, capsys, in_this_process):
        compare(runs / "ldm0", "--vae", "same", "--likelihood", "Bernoulli", "--out", tmp_path / "out", code=2)
        said = capsys.readouterr().err
        assert "--vae same cannot be built beside this run: Bernoulli is a distribution on [0, 1]" in said
        assert not in_this_process and not (tmp_path / "out").exists()

    def test_options_are_named_in_full(self, runs, tmp_path, capsys, in_this_process):
        compare(runs / "ldm0", "--seed", 2, "--out", tmp_path / "out", code=2)
        assert "unrecognized arguments: --seed 2" in capsys.readouterr().err and not (tmp_path / "out").exists()

    def test_a_vae_named_twice_is_fitted_once(self, runs, tmp_path, in_this_process):
        compare(runs / "ldm0", "--vae", "same,SAME", "--seeds", 1, "--particles", 2, "--out", tmp_path / "out")
        assert len(in_this_process) == 1

    def test_models_of_folders_of_one_name_stay_apart(self, place, tmp_path, capsys):
        for name, lr in (("a", 0.001), ("b", 0.01)):
            run(place / "table.csv", "--entropy", "LogDet", "--lr", lr, out=tmp_path / name / "run")
        compare(tmp_path / "a" / "run", tmp_path / "b" / "run", "--out", tmp_path / "out")
        assert "LDM a/run" in capsys.readouterr().out

    @pytest.mark.parametrize(
        ("arguments", "words"),
        [
            (["{}/ldm0"], "nothing to compare: 1 run(s)"),
            (["{}/ldm0", "{}/ldm1"], "nothing to compare: 2 run(s) of 1 model(s)"),
            (["{}/ldm0", "{}/ldm0"], "named twice"),
            (["{}/ldm0", "{}/all"], "hold out different parts of the data"),
            (["{}/ldm0", "{}/nowhere"], "there is no run"),
            (["{}/ldm0", "{}/vae", "--out", "{}/vae/config.yaml"], "config.yaml is a file: name a folder"),
            ([], "RUN is missing"),
            (["--vae", "same"], "RUN is missing"),
            (["{}/ldm0", "--vae", "betta"], "did you mean beta? Known: same, beta, infovae, iwae, vamp, flow"),
            (["{}/ldm0", "--vae", "same", "--decoder", "Foo"], "unknown decoder 'Foo'"),
            (["{}/ldm0", "{}/vae", "--seeds", "0"], "--seeds takes a whole number"),
        ],
    )
    def test_mistakes(self, runs, capsys, arguments, words):
        compare(*(argument.format(runs) for argument in arguments), code=2)
        assert words in capsys.readouterr().err

    def test_data_that_have_changed(self, place, tmp_path, capsys):
        rows = numpy.loadtxt(place / "table.csv", delimiter=",")
        numpy.savetxt(tmp_path / "mine.csv", rows, delimiter=",")
        for name, options in (("a", []), ("b", VAE)):
            run(tmp_path / "mine.csv", *options, out=tmp_path / name)
        numpy.savetxt(tmp_path / "mine.csv", rows + 1e-3, delimiter=",")
        compare(tmp_path / "a", tmp_path / "b", code=2)
        assert "have changed since it was made" in capsys.readouterr().err
