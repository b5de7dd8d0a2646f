"""A fit on a GPU, and what one does after it: latents, diagnostics, posteriors, run folders, the command line."""

import copy
import json
import warnings

import numpy
import pyro
import pyro.distributions as dist
import pytest
import torch
from torch import nn

import pyro_ldm as ldm
from pyro_ldm import baselines, encoders, guides, posterior, priors
from pyro_ldm.cli import main
from pyro_ldm.diagnostics import collapse, importance_khat, kl_bounds, mutual_information
from pyro_ldm.diagnostics.arviz import draws, from_svi, group
from pyro_ldm.entropy import KDE, KNN, Conditional, LogDet, Pooled, VonMisesFisherKernel
from pyro_ldm.runs import Candidate, compare, diagnose, load_weights, write_run
from pyro_ldm.runs.diagnosis import findings

GPU = torch.device("cuda")
SETTINGS = {"epochs": 3, "batch_size": 50, "lr": 1e-2, "progress": False}


@pytest.fixture(autouse=True)
def in_float32():
    """As data sets are."""
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def quick(monkeypatch):
    """A diagnosis without the comparison of priors, which takes long."""

    def left_out(*_, **__):
        raise ValueError("left out of this test")

    monkeypatch.setattr(findings, "compare_priors", left_out)


def of_the_user(x):
    """A prior that says nothing of devices."""
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.Laplace(torch.zeros(2), 1.0).to_event(1))


def bayesian(x):
    scale = pyro.sample("scale", dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.Laplace(torch.zeros(2), scale).to_event(1))


def deterministic(*, entropy=None):
    return of_the_user, guides.Deterministic(nn.Linear(6, 2), entropy or KNN())


def views():
    encoder = nn.Sequential(encoders.ConvNet((1, 8, 8), 3), encoders.Normalize())
    return priors.VonMisesFisherViews(3), guides.Views(encoder, Pooled(KDE(VonMisesFisherKernel(5.0))))


def vae(*, seed=0):
    torch.manual_seed(seed)
    model = baselines.Generative(
        priors.Gaussian(2), baselines.MLPDecoder(2, (6,), hidden=[16]), baselines.Gaussian(0.5)
    )
    return model, guides.Gaussian(nn.Linear(6, 4), Conditional())


def kalman():
    return priors.Kalman(2), guides.Deterministic(encoders.PerStep(nn.Linear(6, 2)), Pooled(LogDet()))


PAIRS = {"a prior of the user's": deterministic, "views": views, "VAE": vae, "series": kalman}
SHAPES = {"views": (1, 8, 8), "series": (10, 6)}


def devices(*modules):
    return {tensor.device.type for m in modules if isinstance(m, nn.Module) for tensor in m.state_dict().values()}


@pytest.mark.parametrize("precision", ["32-true", "bf16-mixed"])
@pytest.mark.parametrize("name", PAIRS)
def test_fit(name, precision):
    pair, x = PAIRS[name](), torch.rand(200, *SHAPES.get(name, (6,)))
    augment = encoders.TwoViews(nn.Sequential(encoders.Affine(), encoders.Noise())) if name == "views" else None
    fit = ldm.fit(*pair, x, views=augment, validation=x, accelerator="gpu", precision=precision, **SETTINGS)
    assert len(fit.history) == 3 and fit.history[-1]["loss"] < fit.history[0]["loss"]
    assert all(numpy.isfinite(list(row.values())).all() for row in fit.history)
    assert numpy.isfinite(fit.terms.loss) and devices(*pair) <= {"cpu"}


def test_is_the_fit_on_the_cpu():
    x = torch.randn(200, 6)
    histories = []
    for accelerator, data in (("cpu", x), ("gpu", x), ("gpu", x.to(GPU))):
        torch.manual_seed(0)
        prior, guide = priors.Gaussian(2, scale=nn.Parameter(torch.ones(2))), deterministic(entropy=LogDet())[1]
        start = guide.to(data.device)  # wherever it is
        histories.append(ldm.fit(prior, start, data, accelerator=accelerator, **SETTINGS).history)
    for history in histories[1:]:
        for row, expected in zip(history, histories[0], strict=True):
            assert row == pytest.approx(expected, rel=1e-3, abs=1e-3)


def test_goes_on_from_a_checkpoint(tmp_path):
    x, found = torch.randn(200, 6), []
    for epochs in ((3,), (1, 3)):  # at once, and interrupted
        torch.manual_seed(0)
        pair = priors.Gaussian(2), deterministic(entropy=LogDet())[1]
        for number in epochs:
            settings = SETTINGS | {"epochs": number, "checkpoint": tmp_path / f"{len(epochs)}.ckpt"}
            fit = ldm.fit(*copy.deepcopy(pair), x, accelerator="gpu", **settings)
        found.append(fit.history)
    assert len(found[1]) == 3 and found[1][-1] == pytest.approx(found[0][-1], rel=1e-3, abs=1e-3)


@pytest.fixture
def data():
    truth = torch.randn(300, 2)
    x = truth @ torch.randn(2, 6) + 0.1 * torch.randn(300, 6)
    return ldm.datasets.Data(x.to(GPU), y=(truth[:, 0] > 0).long().to(GPU), truth=truth.to(GPU), name="world")


class TestAModelThatStaysThere:
    """Trained in a loop of one's own, say."""

    @pytest.fixture
    def trained(self, data):
        model, guide = vae()
        ldm.fit(model, guide, data, accelerator="gpu", **SETTINGS)
        return model.to(GPU), guide.to(GPU)

    def test_diagnostics(self, trained, data):
        model, guide = trained
        z = ldm.training.latents(guide, data)
        before = torch.cuda.get_rng_state()
        assert z.device.type == "cpu" and collapse(z.to(GPU)).effective_rank == collapse(z).effective_rank
        for prior in (model.prior, of_the_user):
            assert numpy.isfinite(kl_bounds(prior, guide, data).lower)
            assert numpy.isfinite(kl_bounds(prior, None, z.to(GPU)).lower)
            assert importance_khat(prior, guide, data).num_rows == 300
        assert mutual_information(guide, data).lower > 0
        assert baselines.iwae_bound(model, guide, data, num_particles=3).num_particles == 3
        assert torch.equal(torch.cuda.get_rng_state(), before)
        made = baselines.generate(model, 5), baselines.reconstruct(model, guide, data)
        assert all(x.device.type == "cpu" for x in made)

    def test_runs(self, trained, data, tmp_path, quick):
        model, guide = trained
        row = {"epoch": 1.0, "loss": 1.0, "alignment": -2.0, "uniformity": 1.0, "kl": 1.0}
        fit = ldm.Fit(ldm.Objective(model, guide), ldm.Terms(-2.0, 1.0, 1.0, 0.0, "KL + I", -3.0), [row])
        write_run(tmp_path, fit, data, settings={"seed": 0})
        other = ldm.Objective(*vae(seed=1))
        load_weights(tmp_path, other)
        assert devices(other) == {"cpu"} and torch.equal(other.guide.encoder.weight, guide.encoder.weight.cpu())
        assert diagnose(tmp_path, model, guide, data, progress=False).files
        one = Candidate("VAE", model, guide, data, epochs=1, batch_size=100)
        two = Candidate("LDM", of_the_user, deterministic()[1].to(GPU), data, epochs=1, batch_size=100)
        found = compare([one, two], num_particles=2, progress=False)
        for name in ("ELBO", "reconstruction error", "linear probe", "KL(R || P) by KNN"):
            assert numpy.isfinite(found.values[name]["VAE"]).all(), found.reasons


class TestPosteriors:
    """Latents of a GPU: what comes is what comes of the same latents on the CPU."""

    @pytest.fixture
    def z(self):
        return dist.Laplace(0.0, torch.tensor([1.0, 2.0])).sample((200,))

    @pytest.mark.parametrize(
        "prior", [bayesian, priors.Laplace(2, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))]
    )
    @pytest.mark.parametrize("infer", [posterior.nuts, posterior.svi], ids=["nuts", "svi"])
    def test_of_latents(self, infer, prior, z):
        moved = copy.deepcopy(prior).to(GPU) if isinstance(prior, nn.Module) else prior
        more = {"warmup_steps": 50, "num_chains": 2} if infer is posterior.nuts else {"num_steps": 200}
        before = torch.cuda.get_rng_state()
        with warnings.catch_warnings():
            warnings.simplefilter("ignore", UserWarning)  # of few draws
            trees = [
                infer(p, each, num_samples=100, progress=False, **more) for p, each in ((prior, z), (moved, z.to(GPU)))
            ]
            elpd = [posterior.loo(p, each, trees[0]).elpd for p, each in ((prior, z), (moved, z.to(GPU)))]
        assert torch.equal(draws(trees[0])["scale"], draws(trees[1])["scale"]) and elpd[0] == elpd[1]
        assert group(trees[1], "observed_data")["z"].shape == (200, 2)
        assert posterior.predictive_check(moved, z.to(GPU), trees[1], num_draws=500).kind == "posterior predictive"
        assert torch.equal(torch.cuda.get_rng_state(), before)

    @pytest.mark.parametrize(
        "prior", [bayesian, priors.Laplace(2, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))]
    )
    def test_beside_the_encoder(self, prior):
        settings = SETTINGS | {"accelerator": "gpu", "num_samples": 50}
        fit, tree = posterior.joint(prior, deterministic()[1], torch.randn(200, 6), **settings)
        assert fit.history[-1]["loss"] < fit.history[0]["loss"] and draws(tree)["scale"].shape == (50, 2)

    def test_of_pairs_whose_first_is_given(self, z):
        pair = {"z": z.to(GPU), "z_prime": z.to(GPU) + 0.5 * torch.randn(200, 2, device=GPU)}
        prior = pyro.condition(priors.GaussianViews(2, scale=None).to(GPU), {"z": pair["z"]})
        assert posterior.predictive_check(prior, pair, num_draws=600).kind == "predictive"
        assert numpy.isfinite(posterior.loo(priors.GaussianViews(2, scale=None), pair).elpd)

    def test_a_loop_of_one_s_own(self, z):
        from pyro.infer.autoguide import AutoNormal

        guide = AutoNormal(pyro.poutine.block(bayesian, hide=["z"]))
        encoder = guides.Deterministic(nn.Linear(2, 2).to(GPU), KNN())
        objective, x = ldm.Objective(bayesian, guides.Compose(guide, encoder), size=200), z.to(GPU)
        objective(x).backward()
        assert devices(guide) == {"cuda"} and all(p.grad is not None for p in objective.parameters())
        z = encoder(x).detach()
        tree = from_svi(guide, model=pyro.condition(bayesian, {"z": z}), model_args=(z,), num_samples=10)
        assert draws(tree)["scale"].shape == (10, 2)


def test_command_line(tmp_path, quick):
    numpy.savetxt(tmp_path / "x.csv", numpy.random.default_rng(0).normal(size=(120, 5)), delimiter=",")
    options = ["--epochs", "1", "--batch_size", "60", "--progress", "false", "--out", str(tmp_path / "run")]
    assert main(["fit", str(tmp_path / "x.csv"), "--accelerator", "gpu", *options]) == 0
    summary = json.loads((tmp_path / "run" / "summary.json").read_text())
    assert summary["settings"]["memory"] == "allocated on the GPU"
    assert main(["diagnose", str(tmp_path / "run"), "--progress", "false"]) == 0
