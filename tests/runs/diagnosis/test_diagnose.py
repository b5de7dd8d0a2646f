"""A diagnosis tells a matched prior from a wrong one, says what it could not measure, and writes all or nothing."""

import json
import math

import numpy
import pyro
import pyro.distributions as dist
import pytest
import torch
from matplotlib.figure import Figure

import pyro_ldm as ldm
from pyro_ldm.diagnostics.arviz import group, has_group, load
from pyro_ldm.diagnostics.bounds import kl_bounds
from pyro_ldm.posterior.default_priors import default_priors
from pyro_ldm.posterior.nuts import nuts
from pyro_ldm.runs.diagnosis import findings
from pyro_ldm.runs.diagnosis.case import look_at
from pyro_ldm.runs.diagnosis.diagnose import diagnose
from pyro_ldm.runs.diagnosis.recovery import bands
from pyro_ldm.runs.report import Section

FILES = {"check.png", "diagnosis.json", "posterior.nc", "report.html"}
TURN = torch.tensor([[math.cos(0.5), -math.sin(0.5)], [math.sin(0.5), math.cos(0.5)]])


@pytest.fixture(autouse=True)
def in_float32():
    """As data sets are."""
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def quick(monkeypatch):
    """Without the parts and pictures that take long."""
    monkeypatch.setattr("pyro_ldm.posterior.checks.PredictiveCheck.picture", lambda _: Figure(figsize=(2, 1)))
    for name in ("compare_priors", "kl_bounds", "importance_khat"):
        monkeypatch.setattr(findings, name, _unmeasured)


def _unmeasured(*_, **__):
    raise ValueError("left out of this test")


def a_run(folder, prior, x, *, guide=None, entropy=None, **fields):
    """A run whose encoder passes its data on, as a fit of no steps leaves it."""
    data = ldm.datasets.Data(x, **fields)
    guide = guide or ldm.guides.Deterministic(torch.nn.Identity(), entropy or ldm.entropy.LogDet())
    row = {"epoch": 1.0, "loss": 1.0, "alignment": -2.0, "uniformity": 1.0}
    fit = ldm.Fit(ldm.Objective(prior, guide), ldm.Terms(-2.0, 1.0, 1.0, 0.0, "KL"), [row])
    ldm.runs.write_run(folder, fit, data, settings={"seed": 0})
    return prior, guide, data


def a_run_in(folder, x):
    folder.mkdir()
    return a_run(folder, ldm.priors.Gaussian(2), x)


def section(diagnosis, title) -> Section:
    (found,) = [section for section in diagnosis.sections if section.title == title]
    return found


@pytest.mark.filterwarnings("ignore::UserWarning")  # of short chains
class TestWhole:
    """All parts, on latents that are from the prior and on others."""

    @pytest.fixture(autouse=True)
    def few_priors_and_draws(self, monkeypatch):
        """To compare with: NUTS takes seconds for each, and more where chains are worth processes of their own."""
        few = lambda z: {name: default_priors(z)[name] for name in ("Gaussian", "Laplace")}  # noqa: E731
        monkeypatch.setattr(findings, "default_priors", few)
        short = lambda *a, **b: nuts(*a, **b | {"num_chains": 1, "warmup_steps": 60, "num_samples": 60})  # noqa: E731
        monkeypatch.setattr(findings, "nuts", short)

    def test_a_prior_that_is_right(self, tmp_path):
        torch.manual_seed(1)  # of 0 the predictive check is one of the 5 % that are wrong
        run = a_run(tmp_path, ldm.priors.Gaussian(2), torch.randn(300, 2), name="right")
        found = diagnose(tmp_path, *run, progress=False)
        for title in ("Match with the prior", "Cover", "Collapse", "Fit of each dim", "Other priors"):
            assert section(found, title).good, (title, section(found, title).verdict)
        assert {"kl.png", "priors.png"} | FILES <= {path.name for path in tmp_path.iterdir()}
        assert abs(found.numbers["elpd lost to the best prior, nats"]) < 4

    def test_a_prior_that_is_wrong(self, tmp_path):
        z = torch.stack([torch.randn(300), dist.Exponential(1.0).sample((300,))], 1)
        found = diagnose(tmp_path, *a_run(tmp_path, ldm.priors.Gaussian(2), z, name="wrong"), progress=False)
        assert section(found, "Match with the prior").good is False and "not matched" in str(found)
        assert section(found, "Fit of each dim").good is False and "dim 1" in section(found, "Fit of each dim").verdict
        assert section(found, "Other priors").good is False
        verdict = section(found, "Other priors").verdict
        lost, error = (found.numbers[n] for n in ("elpd lost to the best prior, nats", "its standard error, nats"))
        assert verdict.startswith(
            f"the run's prior is not the best: Gaussian is {lost:.0f} +- {error:.0f} nats behind "
        )
        assert section(found, "Collapse").good
        # KL of (N(0, 1), Exp(1)) from N(0, I): -1 + log(2 pi) / 2 + E[z^2] / 2 = 0.919 nats.
        assert found.numbers["KL(R || P) at least, nats per datum"] == pytest.approx(0.919, abs=0.25)


@pytest.mark.filterwarnings("ignore::UserWarning")  # of short chains
class TestOtherPriors:
    """The posterior that ``nuts`` has drawn is that which the run's prior is compared by, if it is of the same rows."""

    SAMPLING = {"num_samples": 70, "warmup_steps": 60, "num_chains": 1}  # noqa: RUF012

    @pytest.fixture
    def run(self, tmp_path, quick, monkeypatch):
        def compared(sites, priors, **options):
            self.posteriors = {
                name: options["posterior"](prior, sites, batch=options["batch"], seed=0)
                for name, prior in priors.items()
                if name in ("Laplace (the run's)", "Gaussian")
            }
            raise ValueError("enough seen")

        monkeypatch.setattr(findings, "compare_priors", compared)
        monkeypatch.setattr(findings, "SHORT", {"num_samples": 30, "warmup_steps": 20, "num_chains": 2})
        prior = ldm.priors.Laplace(2, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
        return a_run(tmp_path, prior, dist.Laplace(0.0, 1.0).sample((60, 2)))

    def draws(self, name):
        return group(self.posteriors[name], "posterior")["scale"].shape[:2]

    def test_of_the_same_rows(self, run, tmp_path):
        found = diagnose(tmp_path, *run, nuts=self.SAMPLING, progress=False)
        assert self.draws("Laplace (the run's)") == (1, 70) and self.draws("Gaussian") == (2, 30)
        ours = group(self.posteriors["Laplace (the run's)"], "posterior")["scale"]
        assert numpy.array_equal(ours, group(found.tree, "posterior")["scale"])

    def test_of_more_rows_it_would_predict_from_more_than_the_others(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr(findings, "NUM_COMPARED", 40)
        found = diagnose(tmp_path, *run, nuts=self.SAMPLING, progress=False)
        ours = self.posteriors["Laplace (the run's)"]
        assert group(ours, "observed_data")["z"].shape[0] == 40
        assert self.draws("Laplace (the run's)") == (1, 70)  # as it was asked for
        assert not numpy.array_equal(group(ours, "posterior")["scale"], group(found.tree, "posterior")["scale"])

    def test_without_nuts_all_are_sampled_alike(self, run, tmp_path):
        diagnose(tmp_path, *run, progress=False)
        assert self.draws("Laplace (the run's)") == self.draws("Gaussian") == (2, 30)

    def test_left_out(self, run, tmp_path):
        found = diagnose(tmp_path, *run, other_priors=False, progress=False)
        assert section(found, "Other priors").verdict == "not measured: left out, as other_priors is false"
        assert section(found, "Other priors").good is None and not hasattr(self, "posteriors")
        assert "left out, as other_priors is false" in (tmp_path / "report.html").read_text()

    @pytest.mark.parametrize(
        ("options", "words"),
        [
            ({"num_samples": 3}, "num_samples must be at least 4, got 3"),
            ({"warmup_steps": 0}, "warmup_steps must be at least 1"),
            ({"target_accept": 1.0}, "between 0 and 1"),
            ({"step_size": 0.1}, "no option 'step_size'"),
        ],
    )
    def test_bad_options_of_nuts_are_refused_before_the_work(self, run, tmp_path, options, words):
        with pytest.raises(ValueError, match=words):
            diagnose(tmp_path, *run, nuts=options, progress=False)

    def test_one_chain_has_none_to_agree_with(self, run, tmp_path, monkeypatch):
        monkeypatch.setattr("pyro_ldm.runs.diagnosis.parameters.problems", lambda _: [])
        found = section(diagnose(tmp_path, *run, nuts=self.SAMPLING, progress=False), "The prior's parameters")
        assert found.verdict.startswith("not confirmed: one chain") and found.good is None
        assert list(found.numbers) == ["posterior, least effective draws", "divergences"]


@pytest.mark.usefixtures("quick")
class TestParts:
    def test_whose_measurement_it_is(self, tmp_path):
        """That of training is of one batch, by one estimator, and may differ from the match by several."""
        run = a_run(tmp_path, ldm.priors.Gaussian(2), torch.randn(60, 2))
        found = diagnose(tmp_path, *run, progress=False)
        verdict = json.loads((tmp_path / "summary.json").read_text())["verdict"]
        ours = section(found, "Training").verdict
        assert verdict and ours == f"by the estimator of training, on one batch of the rows fitted: {verdict}"

    def test_the_text_says_that_estimates_are_less_their_bias(self, tmp_path, monkeypatch):
        monkeypatch.setattr(findings, "kl_bounds", kl_bounds)
        run = a_run(tmp_path, ldm.priors.Gaussian(2), torch.randn(60, 2))
        text = section(diagnose(tmp_path, *run, progress=False), "Match with the prior").text
        assert "In the verdict an estimate is less its own bias" in text

    def test_broken_files(self, tmp_path):
        run = a_run_in(tmp_path / "run", torch.randn(60, 2))
        summary = (tmp_path / "run" / "summary.json").read_text()
        (tmp_path / "run" / "summary.json").write_text(summary[:100])
        with pytest.raises(ValueError, match=r"summary.json cannot be read, .*fit the run again"):
            diagnose(tmp_path / "run", *run, progress=False)
        (tmp_path / "run" / "summary.json").write_text(summary)
        numpy.savez(tmp_path / "run" / "latents.npz", y=numpy.zeros(60))
        with pytest.raises(ValueError, match=r"latents.npz has no latents z"):
            diagnose(tmp_path / "run", *run, progress=False)

    def test_against_a_run_or_a_file_that_is_broken(self, tmp_path):
        x = torch.randn(60, 2)
        run = a_run_in(tmp_path / "run", x)
        a_run_in(tmp_path / "other", x)
        whole = (tmp_path / "other" / "latents.npz").read_bytes()
        (tmp_path / "truth.npz").write_bytes(whole[: len(whole) // 2])
        with pytest.raises(ValueError, match=r"truth.npz cannot be read: save true latents"):
            diagnose(tmp_path / "run", *run, against=tmp_path / "truth.npz", progress=False)
        (tmp_path / "other" / "summary.json").write_text("{")
        with pytest.raises(ValueError, match=r"other/summary.json cannot be read"):
            diagnose(tmp_path / "run", *run, against=tmp_path / "other", progress=False)

    def test_against_itself(self, tmp_path):
        run = a_run_in(tmp_path / "run", torch.randn(60, 2))
        for itself in (tmp_path / "run", tmp_path / "other" / ".." / "run"):
            with pytest.raises(ValueError, match="is the run itself"):
                diagnose(tmp_path / "run", *run, against=itself, progress=False)

    def test_misfits_in_words_and_in_the_report(self, tmp_path):
        z = torch.stack([torch.randn(300), dist.StudentT(3.0).sample((300,))], 1)
        name = "<script>alert(1)</script>"
        found = diagnose(tmp_path, *a_run(tmp_path, ldm.priors.Gaussian(2), z, name=name), progress=False)
        verdict = section(found, "Fit of each dim").verdict
        assert verdict.startswith("misfit") and "dim 1" in verdict and "dim 0" not in verdict
        page = (tmp_path / "report.html").read_text()
        assert "<script" not in page and "&lt;script&gt;alert(1)" in page and "dim 1: tails heavier" in page
        assert page.count("<img ") == 3  # the fit's two, and the check's

    def test_what_cannot_be_measured_is_said(self, tmp_path):
        """Collapsed latents break most parts; the report is written all the same, and says why."""
        z = torch.stack([torch.randn(100), torch.zeros(100)], 1)
        found = diagnose(tmp_path, *a_run(tmp_path, ldm.priors.Gaussian(2), z), progress=False)
        assert section(found, "Collapse").good is False
        for title in ("Match with the prior", "Fit of each dim"):
            assert section(found, title).verdict.startswith("not measured: ") and section(found, title).good is None
        assert "constant" in section(found, "Fit of each dim").verdict
        assert (tmp_path / "report.html").exists() and has_group(load(tmp_path / "posterior.nc"), "latents")

    def test_titles(self, tmp_path, monkeypatch):
        """What could not be measured stands under the title of what would have been."""
        run = a_run(tmp_path, ldm.priors.Gaussian(2), torch.randn(60, 2), truth=torch.randn(60, 2))
        measured = [s.title for s in diagnose(tmp_path, *run, progress=False).sections]
        monkeypatch.setattr(findings, "predictive_check", _unmeasured)
        monkeypatch.setattr("pyro_ldm.runs.diagnosis.recovery.agreement", _unmeasured)
        assert [s.title for s in diagnose(tmp_path, *run, progress=False).sections] == measured

    def test_leaves_no_trace(self, tmp_path):
        run = a_run(tmp_path, ldm.priors.Gaussian(2), torch.randn(60, 2))
        before, state = torch.rand(3), torch.get_rng_state()
        found = diagnose(tmp_path, *run, progress=False)
        assert torch.equal(torch.get_rng_state(), state) and not pyro.get_param_store().keys() and len(before) == 3
        again = diagnose(tmp_path, *run, progress=False)
        assert found.numbers == again.numbers and str(found) == str(again)

    def test_all_or_nothing(self, tmp_path, monkeypatch):
        run = a_run(tmp_path, ldm.priors.Gaussian(2), torch.randn(60, 2))
        diagnose(tmp_path, *run, progress=False)
        before = {path.name: path.read_bytes() for path in tmp_path.iterdir()}
        (tmp_path / ".diagnosis.partial").mkdir()  # of one that was killed
        (tmp_path / ".diagnosis.partial" / "report.html").write_text("half of it")

        def full(*_):
            raise OSError("no space left on device")

        with monkeypatch.context() as patch:
            patch.setattr("pyro_ldm.runs.diagnosis.files.save", full)
            with pytest.raises(OSError, match="no space"):
                diagnose(tmp_path, *run, seed=1, progress=False)
        assert {path.name: path.read_bytes() for path in tmp_path.iterdir()} == before
        diagnose(tmp_path, *run, seed=1, progress=False)
        facts = json.loads((tmp_path / "diagnosis.json").read_text())["facts"]
        assert facts["diagnosis: seed"] == "1" and facts["seed"] == "0"

    def test_pictures_of_an_earlier_diagnosis_go(self, tmp_path):
        truth = torch.randn(60, 2)
        prior, guide, data = a_run(tmp_path, ldm.priors.Gaussian(2), truth, truth=truth)
        found = diagnose(tmp_path, prior, guide, data, progress=False)
        assert section(found, "Recovery of the truth").verdict.startswith("identified up to order, sign and scale")
        assert (tmp_path / "recovery.png").exists()
        diagnose(tmp_path, prior, guide, ldm.datasets.Data(data.x), progress=False)
        assert not (tmp_path / "recovery.png").exists() and (tmp_path / "latents.png").exists()

    def test_other_latents_than_the_run_s(self, tmp_path):
        prior, guide, data = a_run(tmp_path, ldm.priors.Gaussian(2), torch.randn(60, 2))
        for x in (data.x.flip(0), data.x[:50]):
            with pytest.raises(ValueError, match="has changed since"):
                diagnose(tmp_path, prior, guide, ldm.datasets.Data(x), progress=False)

    def test_against_a_run_of_other_data(self, tmp_path):
        run = a_run_in(tmp_path / "run", torch.randn(60, 2))
        a_run_in(tmp_path / "other", torch.randn(60, 2))
        with pytest.raises(ValueError, match="other is a run of other data"):
            diagnose(tmp_path / "run", *run, against=tmp_path / "other", progress=False)
        (tmp_path / "other" / "summary.json").unlink()  # which an old run may lack the fingerprint in
        diagnose(tmp_path / "run", *run, against=tmp_path / "other", progress=False)
        numpy.savez(tmp_path / "other" / "latents.npz", y=numpy.zeros(60))
        with pytest.raises(ValueError, match="has no latents z"):
            diagnose(tmp_path / "run", *run, against=tmp_path / "other", progress=False)

    def test_not_a_run(self, tmp_path):
        prior, guide, data = a_run(tmp_path, ldm.priors.Gaussian(2), torch.randn(60, 2))
        with pytest.raises(ValueError, match="finished run"):
            diagnose(tmp_path / "nowhere", prior, guide, data, progress=False)

    def test_the_posterior_s_draws_are_exported(self, tmp_path, monkeypatch):
        """Latents N(0, 2^2) and a scale of their prior: exp of what an AutoNormal was set to, drawn and written."""
        from pyro import poutine
        from pyro.infer.autoguide import AutoNormal, init_to_value

        prior = ldm.priors.Gaussian(2, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
        encoder = ldm.guides.Deterministic(torch.nn.Identity(), ldm.entropy.LogDet())
        start = init_to_value(values={"scale": torch.tensor([2.0, 2.0])})
        auto = AutoNormal(poutine.block(prior, hide=["z"]), init_loc_fn=start, init_scale=0.03)
        x = 2 * torch.randn(500, 2)
        objective = ldm.Objective(prior, ldm.guides.Compose(auto, encoder))
        objective.check(x)
        run = a_run(tmp_path, prior, x, guide=objective.guide)
        found = diagnose(tmp_path, *run, progress=False)
        scale = group(load(tmp_path / "posterior.nc"), "posterior")["scale"]
        assert scale.shape == (1, 1000, 2) and numpy.allclose(scale.mean(("chain", "draw")), 2.0, atol=0.02)
        assert "k-hat" in section(found, "The prior's parameters").verdict
        assert section(found, "Fit of each dim").good  # by these draws, not those of the wide prior
        assert (tmp_path / "parameters.png").exists()
        # From a part of the data there are no weights: those would be of a wider posterior.
        monkeypatch.setattr("pyro_ldm.runs.diagnosis.case.NUM_ROWS", 100)
        part = section(diagnose(tmp_path, *run, progress=False), "The prior's parameters")
        assert part.verdict.startswith("approximate: trained beside the encoder") and not part.numbers

    def test_held_out_rows_are_the_ones_looked_at(self):
        held_out = torch.arange(400) % 2 == 1
        guide = ldm.guides.Deterministic(torch.nn.Identity(), ldm.entropy.LogDet())
        data = ldm.datasets.Data(torch.randn(400, 2))
        case = look_at(ldm.priors.Gaussian(2), guide, data, views=None, held_out=held_out, seed=0)
        assert sorted(case.rows.tolist()) == list(range(1, 400, 2)) and "200 held-out rows" in case.of_how_many
        assert torch.equal(case.sites["z"], data.x[case.rows])
        few = look_at(ldm.priors.Gaussian(2), guide, data, views=None, held_out=torch.arange(400) < 50, seed=0)
        assert len(few.rows) == 400 and not few.of_how_many

    def test_a_vae_is_looked_at_by_its_prior(self, tmp_path):
        guide = ldm.guides.Gaussian(ldm.encoders.Linear(3, 4), ldm.entropy.Conditional())
        decoder = ldm.baselines.MLPDecoder(2, (3,), hidden=[4])
        model = ldm.baselines.Generative(ldm.priors.Gaussian(2), decoder, ldm.baselines.Gaussian())
        found = diagnose(tmp_path, *a_run(tmp_path, model, torch.randn(80, 3), guide=guide), progress=False)
        assert "Fit of each dim" in str(found) and "not measured" not in section(found, "Fit of each dim").verdict


@pytest.mark.usefixtures("quick")
class TestSeries:
    def world(self, noise=0.15):
        torch.manual_seed(0)
        state = torch.randn(80, 40, 2) * 0.15
        state[:, 0] = torch.randn(80, 2)
        for t in range(1, 40):
            state[:, t] += 0.99 * state[:, t - 1] @ TURN
        prior = ldm.priors.Kalman(
            2, transition_matrix=0.99 * TURN, transition_noise=noise, observation_noise=0.3 * noise / 0.15
        )
        return prior, state, state + 0.3 * torch.randn_like(state)

    def case(self, prior, state, x, mask=None):
        guide = ldm.guides.Deterministic(torch.nn.Identity(), ldm.entropy.Pooled(ldm.entropy.LogDet()))
        data = ldm.datasets.Data(x, truth=state, mask=mask)
        return look_at(prior, guide, data, views=None, held_out=None, seed=0)

    def test_bands_of_the_true_filter_are_calibrated(self):
        finding = bands(self.case(*self.world()), None)
        assert finding.section.good and finding.section.verdict.startswith("calibrated: the filter's 95 % bands hold 9")
        assert finding.section.numbers["share of the truth in 50 % bands"] == pytest.approx(0.5, abs=0.04)

    def test_masked_steps_are_not_filtered(self):
        """Whatever stands in a gap, the bands about it are calibrated."""
        prior, state, x = self.world()
        mask = (torch.arange(40) < 15) | (torch.arange(40) > 20)
        x = x.where(mask.unsqueeze(-1), 50.0)
        assert bands(self.case(prior, state, x, mask=mask.expand(80, 40)), None).section.good

    @pytest.mark.parametrize(("noise", "word"), [(0.05, "too narrow"), (0.5, "too wide")])
    def test_bands_of_wrong_noise_are_not(self, noise, word):
        finding = bands(self.case(*self.world(noise)), None)
        assert finding.section.verdict.startswith(word) and finding.section.good is False

    def test_whole(self, tmp_path):
        prior, state, x = self.world()
        lengths = torch.arange(40) < torch.arange(80).remainder(20).unsqueeze(-1) + 21
        entropy = ldm.entropy.Pooled(ldm.entropy.LogDet())
        fields = {"truth": state, "mask": lengths}
        found = diagnose(tmp_path, *a_run(tmp_path, prior, x, entropy=entropy, **fields), progress=False)
        titles = [s.title for s in found.sections]
        assert "The filter's bands" in titles and "Recovery of the truth" in titles and "Other priors" not in titles
        assert not section(found, "Fit of each dim").verdict.startswith("not measured")
