"""Comparisons: each measure against an independent value, who wins beyond the spread, and what is refused."""

import csv
import math

import numpy
import pyro
import pytest
import torch

import pyro_ldm as ldm
from pyro_ldm.baselines import Gaussian, Generative, MLPDecoder, iwae_bound
from pyro_ldm.datasets import Data
from pyro_ldm.runs.comparison.candidate import Candidate
from pyro_ldm.runs.comparison.compare import Comparison, compare
from pyro_ldm.runs.comparison.decoder import decoder_afterwards
from pyro_ldm.runs.comparison.findings import finding, spread, summary
from pyro_ldm.runs.comparison.measures import MEASURES, Case, Measure, measure
from pyro_ldm.runs.held_out import SPLIT_SEED, fingerprint, hold_out


@pytest.fixture(autouse=True)
def in_float32():
    """As data sets are."""
    torch.set_default_dtype(torch.float32)


def world(*, num=400, seed=0):
    """Two latents, mixed into six numbers, with the quadrant as label."""
    generator = torch.Generator().manual_seed(seed)
    truth = torch.randn(num, 2, generator=generator)
    x = truth @ torch.randn(2, 6, generator=torch.Generator().manual_seed(9))
    x = x + 0.05 * torch.randn(num, 6, generator=generator)
    return Data(x, y=(truth[:, 0] > 0).long() + 2 * (truth[:, 1] > 0).long(), truth=truth, name="world")


def vae(*, entropy=None, seed=0):
    torch.manual_seed(seed)
    guide = ldm.guides.Gaussian(torch.nn.Linear(6, 4), entropy or ldm.entropy.Conditional())
    return Generative(ldm.priors.Gaussian(2), MLPDecoder(2, (6,), hidden=[16]), Gaussian(0.1)), guide


def deterministic(*, seed=0):
    torch.manual_seed(seed)
    return ldm.priors.Gaussian(2), ldm.guides.Deterministic(torch.nn.Linear(6, 2), ldm.entropy.LogDet())


def trained(model, made, data=None, *, test=None, seed=0, epochs=5, **more):
    data = world() if data is None else data
    ldm.fit(*made, data, epochs=epochs, batch_size=100, lr=1e-2, seed=seed, progress=False)
    return Candidate(model, *made, data, test, seed=seed, epochs=epochs, batch_size=100, lr=1e-2, **more)


def value(name, candidate, *, like=None, num_particles=8):
    (of,) = [m for m in MEASURES if m.name == name]
    return measure(Case(candidate, like, num_particles), of)


class TestMeasures:
    def test_bounds_of_a_vae_are_those_of_iwae_bound(self):
        candidate = trained("VAE", vae(), test=world(seed=1))
        for name, particles in (("ELBO", 1), ("IWAE bound", 8)):
            expected = iwae_bound(candidate.prior, candidate.guide, candidate.scored, num_particles=particles)
            assert value(name, candidate)[0] == pytest.approx(expected.nats)

    def test_an_infovae_has_the_elbo_of_its_conditionals(self):
        """Whatever a guide was trained by, the bound is that of q(z | x)."""
        model, guide = vae(entropy=ldm.entropy.Mixture())
        same = ldm.guides.Gaussian(guide.encoder, ldm.entropy.Conditional())
        candidate = Candidate("InfoVAE", model, guide, world())
        assert value("ELBO", candidate)[0] == pytest.approx(
            iwae_bound(model, same, candidate.scored, num_particles=1).nats
        )

    def test_and_so_have_pairs_of_views(self):
        torch.manual_seed(0)
        encoder = torch.nn.Linear(6, 4)
        guides = [
            ldm.guides.GaussianViews(encoder, ldm.entropy.Joint(entropy))
            for entropy in (ldm.entropy.Mixture(), ldm.entropy.Conditional())
        ]
        model = Generative(ldm.priors.GaussianViews(2), MLPDecoder(2, (6,), hidden=[8]), Gaussian())
        found = [
            value("ELBO", Candidate("pairs", model, guide, world(), views=lambda x: (x, 0.9 * x)))[0]
            for guide in guides
        ]
        assert found[0] == pytest.approx(found[1], rel=1e-5) and math.isfinite(found[0])

    def test_the_bound_of_some_rows_stands_beside_the_elbo_of_all(self, monkeypatch):
        """What particles add is measured on few rows; ELBO and bound are of the same data all the same."""
        monkeypatch.setattr("pyro_ldm.runs.comparison.measures.NUM_BOUND", 100)
        candidate = trained("VAE", vae(), test=world(seed=1))
        few, seed = candidate.scored.split((0.25, 0.75), seed=SPLIT_SEED)[0], 0
        gap = [iwae_bound(candidate.prior, candidate.guide, few, num_particles=k, seed=seed).nats for k in (8, 1)]
        expected = value("ELBO", candidate)[0] + gap[0] - gap[1]
        assert value("IWAE bound", candidate)[0] == pytest.approx(expected)
        assert value("-IWAE bound", candidate)[0] == pytest.approx(-expected / (6 * math.log(2)), rel=1e-5)

    def test_programs_of_plain_pyro(self):
        """A guide of a plain distribution, and a likelihood that is a function."""
        encoder, (prior, ldm_guide) = torch.nn.Linear(6, 4), deterministic()

        class Plain(pyro.nn.PyroModule):
            def __init__(self):
                super().__init__()
                self.encoder = encoder

            def forward(self, x):
                loc, scale = self.encoder(x).chunk(2, -1)
                q = pyro.distributions.Normal(loc, torch.nn.functional.softplus(scale) + 1e-3).to_event(1)
                with pyro.plate("batch", len(x)):
                    return pyro.sample("z", q)

        model = Generative(prior, MLPDecoder(2, (6,), hidden=[8]), lambda output: pyro.distributions.Laplace(output, 1))
        ours = Candidate("ours", model, ldm.guides.Gaussian(encoder, ldm.entropy.Conditional()), world())
        plain = Candidate("plain", model, Plain(), world())
        for name in ("ELBO", "I(x; z) at least", "active units", "reconstruction error"):
            assert value(name, plain)[0] == pytest.approx(value(name, ours)[0], rel=1e-4)
        error, why = value("reconstruction error", Candidate("LDM", prior, ldm_guide, world(), epochs=1), like=model)
        assert math.isfinite(error) and not why

    def test_units_of_series_are_compared_step_by_step(self):
        """Means that move with the steps alone, whatever x is, say nothing of it."""
        guide = ldm.guides.Deterministic(torch.nn.Identity(), ldm.entropy.Pooled(ldm.entropy.LogDet()))
        path = torch.linspace(-3, 3, 20).reshape(1, 20, 1) + 0.01 * torch.randn(60, 20, 1)
        assert value("active units", Candidate("dead", ldm.priors.Kalman(1), guide, Data(path)))[0] == 0

    def test_kl_of_known_latents(self):
        """z ~ N(0, s^2 I) under N(0, I): KL = D (s^2 - 1 - log s^2) / 2."""
        encoder = torch.nn.Linear(2, 2, bias=False)
        encoder.weight.data = 0.5 * torch.eye(2)
        data = Data(torch.randn(2000, 2, generator=torch.Generator().manual_seed(0)))
        guide = ldm.guides.Deterministic(encoder, ldm.entropy.LogDet())
        candidate = Candidate("half", ldm.priors.Gaussian(2), guide, data)
        truth = 0.25 - 1 - math.log(0.25)
        for name in ("KL(R || P) by KNN", "KL(R || P) by LogDet"):
            assert value(name, candidate)[0] == pytest.approx(truth, abs=0.08)

    def test_kl_of_a_match_is_nought_where_the_estimator_alone_is_off(self):
        """In 16 dims KNN gives draws from the prior itself -0.9 nats."""
        guide = ldm.guides.Deterministic(torch.nn.Identity(), ldm.entropy.LogDet())
        data = Data(torch.randn(300, 16, generator=torch.Generator().manual_seed(0)))
        candidate = Candidate("match", ldm.priors.Gaussian(16), guide, data)
        (raw,) = [estimate.kl for estimate in candidate.bounds.estimates if estimate.name == "KNN"]
        assert raw < -0.6 and value("KL(R || P) by KNN", candidate)[0] == pytest.approx(0.0, abs=0.4)

    def test_kl_step_by_step_is_none_to_compare(self):
        """It leaves out what the steps tell of one another, so that it may be far below zero."""
        data = Data(torch.randn(60, 20, 1).cumsum(1))
        guide = ldm.guides.Deterministic(torch.nn.Identity(), ldm.entropy.Pooled(ldm.entropy.LogDet()))
        number, why = value("KL(R || P) by KNN", Candidate("Kalman", ldm.priors.Kalman(1), guide, data))
        assert math.isnan(number) and "what the steps tell of one another" in why

    def test_a_decoder_trained_afterwards_reconstructs_and_leaves_the_rest_alone(self):
        model, _ = vae(seed=3)
        candidate = trained("LDM", deterministic(), test=world(seed=1), epochs=40)
        before = {n: p.clone() for n, p in [*candidate.guide.named_parameters(), *model.named_parameters()]}
        anew = decoder_afterwards(Candidate("LDM", candidate.prior, candidate.guide, candidate.train, epochs=0), model)
        pairs = zip(anew.decoder.parameters(), model.decoder.parameters(), strict=True)
        assert not any(torch.equal(*pair) for pair in pairs)  # no layer is the VAE's
        decoder_afterwards(candidate, model)
        after = dict([*candidate.guide.named_parameters(), *model.named_parameters()])
        assert all(torch.equal(before[n], after[n]) for n in before)
        error, _ = value("reconstruction error", candidate, like=model)
        data = candidate.scored.x
        z = candidate.encode(candidate.scored)
        design = torch.cat([z, torch.ones(len(z), 1)], 1)
        best = (data - design @ torch.linalg.lstsq(design, data).solution).square().mean()
        assert float(best) * 0.9 < error < 0.3 * float(data.var())
        assert not list(pyro.get_param_store().keys())

    def test_a_decoder_trained_afterwards_does_not_mind_the_scale_of_latents(self):
        """On the sphere it is 1 / sqrt(D): seen as they are, such latents were reconstructed far worse."""
        model, _ = vae(seed=3)
        prior, guide = deterministic()
        errors = []
        for scale in (1.0, 2.0**-7):
            with torch.no_grad():
                for parameter in guide.parameters():
                    parameter *= scale
            candidate = Candidate("LDM", prior, guide, world(), world(seed=1), epochs=40, batch_size=100, lr=1e-2)
            errors += [value(name, candidate, like=model)[0] for name in ("reconstruction error", "log p(x | z)")]
        assert errors[:2] == pytest.approx(errors[2:], rel=1e-5)

    def test_reconstruction_of_a_vae_is_its_own_decoder_s(self):
        candidate = trained("VAE", vae(), test=world(seed=1))
        with torch.no_grad():
            loc, _ = candidate.guide.encoder(candidate.scored.x).chunk(2, -1)
            shown = candidate.prior.decoder(loc)
        x = candidate.scored.x
        assert value("reconstruction error", candidate)[0] == pytest.approx(
            float((shown - x).square().mean()), rel=1e-4
        )
        log_p = torch.distributions.Normal(shown, 0.1).log_prob(x).sum(1).mean()
        assert value("log p(x | z)", candidate)[0] == pytest.approx(float(log_p), rel=1e-4)

    def test_masked_steps_count_nowhere(self):
        """Padding of ones: a decoder trained afterwards, its error and its likelihood are those of the other steps."""
        x, mask = torch.randn(60, 8, 2), torch.arange(8).expand(60, 8) < 5
        guide = ldm.guides.Deterministic(torch.nn.Identity(), ldm.entropy.Pooled(ldm.entropy.LogDet()))
        like = Generative(ldm.priors.Kalman(2), ldm.encoders.PerStep(torch.nn.Linear(2, 2)), Gaussian(1.0))
        found = []
        for padding in (0.0, 100.0):
            data = Data(x.where(mask.unsqueeze(-1), padding), mask=mask)
            candidate = Candidate("LDM", ldm.priors.Kalman(2), guide, data, epochs=20, batch_size=20, lr=0.05)
            found.append([value(n, candidate, like=like)[0] for n in ("reconstruction error", "log p(x | z)")])
        assert found[0] == pytest.approx(found[1], rel=1e-4) and found[0][0] < 0.1
        # log N(x; x, 1) of 5 steps of 2 numbers each, less half the squared error
        assert found[0][1] == pytest.approx(-5 * math.log(2 * math.pi) - 5 * found[0][0], rel=1e-3)

    def test_recovery_and_probes_score_held_out_rows(self):
        candidate = trained("LDM", deterministic(), test=world(seed=1), epochs=40)
        assert value("affine R2", candidate)[0] > 0.95
        assert value("linear probe", candidate)[0] > 0.8 and value("kNN probe", candidate)[0] > 0.8
        assert len(candidate.parts[1]) == 400 and candidate.parts[1] is candidate.scored

    def test_active_units_are_in_units_of_the_prior(self):
        encoder = torch.nn.Linear(6, 2, bias=False)
        encoder.weight.data = torch.tensor([[1.0] + [0.0] * 5, [0.02] + [0.0] * 5])
        for scale, units in ((1.0, 1), (0.01, 2)):
            guide = ldm.guides.Deterministic(encoder, ldm.entropy.LogDet())
            assert (
                value("active units", Candidate("x", ldm.priors.Gaussian(2, scale=scale), guide, world()))[0] == units
            )

    def test_bands_of_a_state_space_have_a_calibration(self):
        """The bands of the model that drew the states hold 95 % of them; with a tenth of the noise, far fewer."""
        steps, errors = [torch.randn(400, 1)], []
        for _ in range(29):
            steps.append(0.9 * steps[-1] + 0.19**0.5 * torch.randn(400, 1))
        truth = torch.stack(steps, 1)
        data = Data(truth + 0.5 * torch.randn_like(truth), truth=truth)
        guide = ldm.guides.Deterministic(torch.nn.Identity(), ldm.entropy.Pooled(ldm.entropy.LogDet()))
        for share in (1.0, 0.1):
            noises = {"transition_noise": share * 0.19**0.5, "observation_noise": share * 0.5}
            prior = ldm.priors.Kalman(1, transition_matrix=0.9 * torch.eye(1), **noises)
            errors.append(value("calibration error of 95 % bands", Candidate("Kalman", prior, guide, data))[0])
        assert errors[0] < 0.03 and errors[1] > 0.5

    def test_a_kl_of_more_latents_is_not_ranked_beside_one_of_fewer(self):
        """Of a pair it is that of both views: at least that of one."""
        augment, candidates = ldm.encoders.TwoViews(ldm.encoders.Noise(std=0.1)), []
        for seed in range(2):
            torch.manual_seed(seed)
            guide = ldm.guides.Views(torch.nn.Linear(6, 2), ldm.entropy.Joint(ldm.entropy.LogDet()))
            pair = ldm.priors.GaussianViews(2, noise=0.1), guide
            candidates += [Candidate(model, *deterministic(seed=seed), world(), seed=seed) for model in "AB"]
            candidates.append(Candidate("pairs", *pair, world(), seed=seed, views=augment))
        assert [c.num_latents for c in candidates] == [2, 2, 4] * 2
        found = compare(candidates, progress=False)
        of = {finding.measure: finding.models for finding in found.findings}
        assert set(of["KL(R || P) by KNN"]) == {"A", "B"} and "pairs" in of["linear probe"]
        assert all(math.isfinite(kl) for kl in found.values["KL(R || P) by KNN"]["pairs"])

    @pytest.mark.parametrize(
        ("name", "reason"),
        [
            ("ELBO", "without a decoder"),
            ("I(x; z) at least", "is infinite"),
            ("reconstruction error", "no model compared has a decoder"),
            ("seconds per epoch", "not recorded"),
            ("calibration error of 95 % bands", "only bands of a state space"),
            ("linear probe", "no labels"),
            ("MCC", "no true latents"),
        ],
    )
    def test_what_is_not_defined_says_why(self, name, reason):
        candidate = Candidate("LDM", *deterministic(), Data(world().x))
        number, why = value(name, candidate)
        assert math.isnan(number) and reason in why


class TestFindings:
    MORE, LESS = (Measure("m", "", better, lambda case: 0.0) for better in ("more", "less"))

    def test_a_winner(self):
        values = {"A": [1.0, 1.1, 0.9], "B": [2.0, 2.1, 1.9]}
        more, less = finding(self.MORE, values), finding(self.LESS, values)
        assert more.beats == (("B", "A"),) and more.unbeaten == ("B",) and less.unbeaten == ("A",)
        assert more.sentence == "m: B wins, 2 (spread 0.1), over A, 1 (spread 0.1)"

    def test_every_pair_is_judged(self):
        """B is as good as A, and only A, of little spread, is beyond doubt better than C."""
        found = finding(self.MORE, {"A": [2.0, 2.1, 1.9], "B": [0.5, 2.2, 3.2], "C": [1.0, 1.1, 0.9]})
        assert found.beats == (("A", "C"),) and found.unbeaten == ("A", "B")
        assert found.sentence.startswith("m: A beats C: A 2 (spread 0.1), B 1.97 (spread 1.4), C 1")

    def test_by_hand(self):
        """Of two seeds each: t = 2 / sqrt(2 * 0.02 / 2) = 14.1, 2 degrees of freedom, p = 0.005."""
        assert finding(self.MORE, {"A": [1.0, 1.2], "B": [3.0, 3.2]}).unbeaten == ("B",)
        # t = 2 / sqrt(2 * 0.5 / 2) = 2.83, p = 0.106
        found = finding(self.MORE, {"A": [1.0, 2.0], "B": [3.0, 4.0]})
        assert found.beats == () and found.decided and "a tie, B 3.5" in found.sentence

    def test_one_seed_decides_nothing(self):
        found = finding(self.MORE, {"A": [1.0], "B": [2.0, 2.1]})
        assert not found.decided and found.unbeaten == () and "of one seed nothing" in found.sentence
        assert "compare more seeds" in summary([found], ["A", "B"])

    def test_values_without_spread(self):
        assert finding(self.MORE, {"A": [1.0, 1.0], "B": [2.0, 2.0]}).unbeaten == ("B",)
        assert finding(self.MORE, {"A": [1.0, 1.0], "B": [1.0, 1.0]}).beats == ()
        # t = 7, of one degree of freedom p = 0.09
        assert finding(self.MORE, {"A": [0.9, 0.9], "B": [0.5, 0.6]}).unbeaten == ("A", "B")
        assert finding(self.MORE, {"A": [0.9, 0.9], "B": [0.5, 0.5 + 1e-15]}).unbeaten == ("A",)
        assert finding(self.MORE, {"A": [0.9, 0.9], "B": [0.9 + 1e-15] * 2}).beats == ()  # rounding

    def test_undefined_values_are_left_out(self):
        nan = math.nan
        assert finding(self.MORE, {"A": [nan, nan], "B": [1.0, 2.0]}) is None
        assert finding(Measure("m", "", "", lambda case: 0.0), {"A": [1.0], "B": [2.0]}) is None
        assert math.isnan(spread([nan, 1.0])) and spread([1.0, 3.0, nan]) == pytest.approx(2**0.5)

    def test_summary_is_beside_the_first_model(self):
        values = [
            {"A": [1.0, 1.1], "B": [5.0, 5.1], "C": [1.0, 1.2]},
            {"A": [1, 2], "B": [1, 2]},
            {"A": [5.0, 5.1], "B": [2.0, 2.1], "C": [2.0, 2.1]},
        ]
        found = [finding(Measure(n, "", "more", lambda case: 0.0), v) for n, v in zip("xyz", values, strict=True)]
        assert summary(found, ["A", "B", "C"]) == (
            "no one wins everywhere: than A, B is better on 1 (x), worse on 1 (z) and no different on 1; "
            "C is worse on 1 (z) and no different on 1"
        )
        assert summary(found[:1], ["A", "B"]) == "A is never better: than A, B is better on 1 (x) and no different on 0"
        assert summary(found[1:2], ["A", "B"]) == "a tie: than A, B is no different on 1"


@pytest.fixture(scope="module")
def found():
    torch.set_default_dtype(torch.float32)
    data, test = world(num=200), world(num=100, seed=1)
    candidates = []
    for seed in (0, 1):
        candidates.append(
            trained("LDM", deterministic(seed=seed), data, test=test, seed=seed, cost={"seconds_per_epoch": 1})
        )
        candidates.append(trained("V<A>E", vae(seed=seed), data, test=test, seed=seed))
    return compare(candidates, num_particles=4, progress=False)


class TestCompare:
    def test_every_model_has_a_value_or_a_reason(self, found: Comparison):
        for m in MEASURES:
            for model in ("LDM", "V<A>E"):
                assert len(found.values[m.name][model]) == 2
                assert numpy.isfinite(found.values[m.name][model]).all() or found.reasons[m.name, model]

    def test_table_and_csv_say_the_same(self, found, tmp_path):
        paths = found.write(tmp_path / "out", title="a <title>", facts={"run": "<b>"})
        assert {path.name for path in paths} == {
            "compare.csv",
            "compare.html",
            "compare_latents.png",
            "compare_measures.png",
        }
        with (tmp_path / "out" / "compare.csv").open() as file:
            lines = list(csv.DictReader(file))
        assert len(lines) == len(MEASURES) * 2 * 2
        own = [float(line["value"]) for line in lines if line["measure"] == "ELBO" and line["model"] == "V<A>E"]
        assert found.table.loc["ELBO, nats per datum", ("V<A>E", "mean")] == pytest.approx(sum(own) / 2)
        assert found.table.loc["ELBO, nats per datum", ("V<A>E", "spread")] == pytest.approx(
            abs(own[0] - own[1]) / 2**0.5
        )
        (reason,) = {line["reason"] for line in lines if line["measure"] == "ELBO" and line["model"] == "LDM"}
        assert reason == "without a decoder there is no bound on the evidence"

    def test_the_page_is_escaped_and_whole(self, found, tmp_path):
        found.write(tmp_path, title="a <title>", facts={"run": "<b>"})
        page = (tmp_path / "compare.html").read_text()
        assert "<A>" not in page and "V&lt;A&gt;E" in page and "a &lt;title&gt;" in page and "&lt;b&gt;" in page
        assert found.verdict.replace("<", "&lt;").replace(">", "&gt;") in page and "compare_" not in page

    def test_the_verdict_and_a_sentence_each(self, found):
        assert str(found).splitlines()[-1] == found.verdict
        assert all(any(line.startswith(m + ":") for line in str(found).splitlines()) for m in ("linear probe", "MCC"))
        assert not any(line.startswith("ELBO") for line in str(found).splitlines())  # one model has it

    def test_collapse_is_said(self):
        """A decoder that ignores z, and an encoder that says nothing: every unit is the prior."""
        model, guide = vae()
        with torch.no_grad():
            guide.encoder.weight.zero_()
        other = vae(seed=1)
        page = compare([Candidate("dead", model, guide, world()), Candidate("live", *other, world())], progress=False)
        (section,) = [s for s in page.sections if s.title.endswith("collapse")]
        assert section.verdict.startswith("collapsed: dead") and section.good is False
        assert "posterior collapse: none of 2 units is active" in section.tables[0].rows[0][2]

    def test_bounds_of_other_likelihoods_do_not_compare(self):
        data = Data(world().x.sigmoid())
        first, second = vae(), vae()
        second[0].likelihood = ldm.baselines.Bernoulli()
        found = compare(
            [Candidate(*pair, data, seed=seed) for seed in (0, 1) for pair in (("A", *first), ("B", *second))],
            num_particles=2,
            progress=False,
        )
        assert not any(f.measure in ("ELBO", "IWAE bound", "log p(x | z)") for f in found.findings)
        assert "do not compare" in found.sections[0].text


class TestRefusals:
    def test_one_model(self):
        with pytest.raises(ValueError, match="nothing to compare: 1"):
            compare([Candidate("A", *deterministic(), world())])

    def test_other_data(self):
        with pytest.raises(ValueError, match=r"a and B are of different data \(\(400, 6\) and \(100, 6\)"):
            compare(
                [Candidate("A", *deterministic(), world(), name="a"), Candidate("B", *deterministic(), world(num=100))]
            )

    def test_but_not_the_same_data_by_another_name(self):
        data, other = world(num=60), Data(world(num=60).x, name="elsewhere")
        compared = compare(
            [Candidate("A", *deterministic(), Data(data.x, name="here")), Candidate("B", *deterministic(), other)],
            progress=False,
        )
        assert set(compared.seeds) == {"A", "B"}

    def test_another_split(self):
        data = world()
        train, test, _ = hold_out(data, 0.25)
        for other in ((data, None), hold_out(data, 0.5)[:2]):
            with pytest.raises(ValueError, match="A and B hold out different parts"):
                compare([Candidate("A", *deterministic(), train, test), Candidate("B", *deterministic(), *other)])

    def test_twice(self):
        both = [Candidate(model, *deterministic(), world()) for model in "AAB"]
        with pytest.raises(ValueError, match="A with seed 0 is there twice"):
            compare(both)


class TestHeldOut:
    def test_parts_are_disjoint_complete_and_always_the_same(self):
        data = Data(torch.arange(50.0).unsqueeze(1), y=torch.arange(50))
        train, test, rows = hold_out(data, 0.3)
        assert sorted([*train.x[:, 0].tolist(), *test.x[:, 0].tolist()]) == list(range(50)) and len(test) == 15
        assert torch.equal(test.y.sort().values, rows.nonzero()[:, 0])
        torch.manual_seed(5)
        assert torch.equal(hold_out(data, 0.3)[2], rows)

    def test_nothing_held_out(self):
        data = world()
        train, test, rows = hold_out(data, 0.0)
        assert train is data and test is None and not rows.any()

    def test_too_few(self):
        with pytest.raises(ValueError, match="cannot be held out"):
            hold_out(Data(torch.randn(4, 2)), 0.1)

    def test_fingerprints_tell_data_apart(self):
        x = torch.randn(5, 4, 2)
        mask = torch.ones(5, 4, dtype=torch.bool)
        mask[0, 3] = False
        prints = [fingerprint(Data(x))["sha256"], fingerprint(Data(x, mask=mask))["sha256"]]
        prints.append(fingerprint(Data(x + 1e-6))["sha256"])
        assert len(set(prints)) == 3 and fingerprint(Data(x.clone()))["sha256"] == prints[0]
