import math

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from torch import nn

import pyro_ldm as ldm
from pyro_ldm.diagnostics.arviz import group, to_arviz
from pyro_ldm.diagnostics.bounds import _judge, kl_bounds
from pyro_ldm.diagnostics.estimates import ESTIMATE, LOWER, UPPER, Estimate
from pyro_ldm.distributions.pushforward import Pushforward

GAUSSIAN_07 = 2 * (math.log(1 / 0.7) + (0.49 - 1) / 2)  # KL(N(0, 0.7^2) || N(0, 1)) in two dims
LAPLACE = -(1 + math.log(2 / math.sqrt(2))) + 0.5 * math.log(2 * math.pi) + 0.5  # of variance 1, under N(0, 1)


class Noisy(nn.Module):
    """Means a x and one scale, as a Gaussian encoder wants them."""

    def __init__(self, slope, scale):
        super().__init__()
        self.slope, self.raw = slope, math.log(math.expm1(scale - 1e-3))

    def forward(self, x):
        return torch.cat([self.slope * x, torch.full_like(x, self.raw)], -1)


LINEAR = {"classifier": LogisticRegression(), "num_references": 2}  # fast, where the classifier is not the point


def by_name(found):
    return {e.name: e for e in found.estimates}


def test_gaussian_latents_of_a_wrong_scale():
    found = kl_bounds(ldm.priors.Gaussian(2), None, 0.7 * torch.randn(2000, 2), num_references=2)
    values = by_name(found)
    for name in ("LogDet", "KNN", "classifier", "classifier, plug-in"):
        assert values[name].kl == pytest.approx(GAUSSIAN_07, abs=0.05), name
    assert found.verdict.startswith("not matched: KL at least 0.")
    assert (values["LogDet"].kind, values["KNN"].kind) == (LOWER, ESTIMATE)
    assert not found.upper_is_bound
    assert found.alignment == pytest.approx(-math.log(2 * math.pi) - 0.49, abs=0.05)


def test_latents_of_the_prior_are_matched():
    z = dist.Laplace(0.0, 1.0).sample((1000, 3))
    found = kl_bounds(ldm.priors.Laplace(3), None, z)
    assert found.verdict.startswith("matched, as far as the rows tell"), found.table()
    assert abs(found.upper) < 0.2
    assert found.lower == pytest.approx(0.0, abs=0.02)  # the classifier's; the Gaussian's is far below


def test_laplace_latents_under_a_gaussian_prior_need_more_than_covariance():
    z = dist.Laplace(0.0, 2**-0.5).sample((1500, 8))
    values = by_name(kl_bounds(ldm.priors.Gaussian(8), None, z, num_references=2))
    assert values["LogDet"].kl == pytest.approx(0.0, abs=0.1) and not values["LogDet"].exceeds
    assert values["classifier"].kl == pytest.approx(8 * LAPLACE, abs=0.15)
    assert values["KNN"].kl == pytest.approx(8 * LAPLACE, abs=0.2)
    assert values["classifier"].exceeds and values["KNN"].exceeds


def test_stochastic_encoder_is_between_two_bounds():
    # z = 0.8 x + 0.6 e, of variance 0.64 s^2 + 0.36 for x ~ N(0, s^2).
    guide = ldm.guides.Gaussian(Noisy(0.8, 0.6), ldm.entropy.Mixture())
    variance = 0.64 * 0.25 + 0.36
    kl = 2 * 0.5 * (variance - 1 - math.log(variance))
    found = kl_bounds(ldm.priors.Gaussian(2), guide, 0.5 * torch.randn(2000, 2), **LINEAR)
    values = by_name(found)
    lower, upper = values["Mixture, leave-one-out"], values["Mixture, include-self"]
    assert (lower.kind, upper.kind) == (LOWER, UPPER)
    assert lower.kl < upper.kl < lower.kl + 0.01
    assert lower.kl == pytest.approx(kl, abs=0.04)
    assert found.upper_is_bound and found.upper == upper.kl
    assert found.verdict.startswith("not matched: KL between 0.")


def test_mixture_is_the_one_of_the_estimator():
    # Row 300 of 600 lies in a second block: leave-one-out leaves out its own conditional there, too.
    from pyro_ldm.diagnostics.arviz.programs import running
    from pyro_ldm.diagnostics.encoded import Encoded

    guide = ldm.guides.Gaussian(Noisy(0.8, 0.1), ldm.entropy.Mixture())
    x = torch.randn(600, 2)
    with running(guide, seed=0):
        encoded = Encoded(ldm.priors.Gaussian(2), guide, x)
        z, q = encoded.values["z"], guide.conditional(encoded.batch[0])
        for include_self in (True, False):
            expected = ldm.entropy.Mixture(include_self=include_self)(z, q)
            torch.testing.assert_close(encoded.log_mixture(encoded.values, include_self=include_self), expected)


def test_parameters_from_a_dict_a_tree_and_the_guide():
    prior = ldm.priors.Gaussian(2, scale=dist.LogNormal(0.0, 1.0))
    z = 0.7 * torch.randn(600, 2)
    with pytest.raises(ValueError, match=r"parameters \['scale'\] without a value: pass parameters="):
        kl_bounds(prior, None, z)
    given = kl_bounds(prior, None, z, parameters={"scale": 0.7}, **LINEAR)
    fixed = kl_bounds(ldm.priors.Gaussian(2, scale=0.7), None, z, **LINEAR)
    assert given.alignment == pytest.approx(fixed.alignment, abs=1e-9)
    # The mean of the densities over two draws, by hand.
    tree = to_arviz(posterior={"scale": torch.tensor([[0.7, 1.4]])})
    averaged = kl_bounds(prior, None, z, parameters=tree, **LINEAR)
    densities = [dist.Normal(0.0, s).log_prob(z).sum(-1) for s in (0.7, 1.4)]
    expected = torch.stack(densities).logsumexp(0).mean() - math.log(2)
    assert averaged.alignment == pytest.approx(float(expected), abs=1e-9)

    class Both(nn.Module):
        def forward(self, x):
            pyro.sample("scale", dist.Delta(torch.tensor(0.7)))
            with pyro.plate("batch", len(x)):
                pyro.sample("z", ldm.Pushforward(x, ldm.entropy.LogDet()))

    assert kl_bounds(prior, Both(), z, **LINEAR).alignment == pytest.approx(fixed.alignment, abs=1e-9)


def test_discrete_sites_of_a_datum_are_summed_out():
    z = torch.randn(200, 2)
    enumerated = ldm.priors.GaussianMixture(2, 3, enumerate=True)
    closed = ldm.priors.GaussianMixture(2, 3)
    found = [kl_bounds(p, None, z, **LINEAR).alignment for p in (enumerated, closed)]
    assert found[0] == pytest.approx(found[1], abs=1e-9)


def test_views_are_one_vector():
    guide = ldm.guides.Views(nn.Identity(), ldm.entropy.Joint(ldm.entropy.LogDet()))
    z = torch.randn(1000, 2)
    z_prime = z + 0.5 * torch.randn(1000, 2)
    right = kl_bounds(ldm.priors.GaussianViews(2, noise=0.5), guide, (z, z_prime), **LINEAR)
    assert right.verdict.startswith("matched"), right.table()
    # z' of another noise: KL(N(0, 0.25 I) || N(0, I)) of the difference, in two dims.
    wrong = kl_bounds(ldm.priors.GaussianViews(2, noise=1.0), guide, (z, z_prime), **LINEAR)
    expected = 2 * (math.log(2) + (0.25 - 1) / 2)
    assert by_name(wrong)["LogDet"].kl == pytest.approx(expected, abs=0.08)
    assert wrong.verdict.startswith("not matched")


def test_no_part_of_the_rows_is_too_short_for_the_guide_s_own_estimator():
    guide = ldm.guides.Views(nn.Identity(), ldm.entropy.Joint(ldm.entropy.LogDet()))  # of 4 dims: 5 rows at least
    z = torch.randn(258, 2)  # one more than 256, and one
    assert kl_bounds(ldm.priors.GaussianViews(2), guide, (z, z + torch.randn(258, 2)), **LINEAR).num_rows == 258


def test_series_jointly_or_step_by_step():
    prior = ldm.priors.Kalman(1, num_steps=10)
    with torch.no_grad():
        z = prior(torch.empty(400, 10))
    jointly = by_name(kl_bounds(prior, None, z, **LINEAR))
    assert jointly["LogDet"].kl == pytest.approx(0.0, abs=0.1)
    few = kl_bounds(prior, None, z[:40], **LINEAR)
    assert {"LogDet, per step", "KNN, per step", "classifier"} <= set(by_name(few))
    assert by_name(few)["LogDet, per step"].kl < -2  # less what the steps tell of one another
    assert by_name(few)["KNN, per step"].kind == "lower estimate"
    assert few.verdict.startswith("matched")


def test_rows_with_masked_steps_are_left_out():
    prior = ldm.priors.Kalman(1, num_steps=4)
    with torch.no_grad():
        z = prior(torch.empty(120, 4))
    mask = torch.ones(120, 4, dtype=torch.bool)
    mask[:20, 2] = False
    found = kl_bounds(prior, None, (torch.where(mask[..., None], z, torch.nan), mask), **LINEAR)
    assert found.num_rows == 100 and math.isfinite(found.lower)


def test_views_leave_what_else_the_batch_carries():
    def prior(x, x_prime, scale):
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Normal(0.0, scale).to_event(1))

    def guide(x, x_prime, scale):
        with pyro.plate("batch", len(x)):
            pyro.sample("z", Pushforward(x_prime, ldm.entropy.LogDet()))

    scale = torch.rand(400, 2) + 0.5
    x = scale * torch.randn(400, 2) - 1
    found = kl_bounds(prior, guide, (x, scale), views=lambda x: (x, x + 1), **LINEAR)
    assert found.alignment == pytest.approx(float(dist.Normal(0.0, scale).log_prob(x + 1).sum(-1).mean()))


def test_sphere_has_its_own_estimators():
    prior = ldm.priors.VonMisesFisherViews(3, concentration=10.0)
    with torch.no_grad():
        sites = pyro.poutine.trace(prior).get_trace(range(600)).nodes
    guide = ldm.guides.Views(nn.Identity(), ldm.entropy.Zero())
    found = kl_bounds(
        prior,
        guide,
        (sites["z"]["value"], sites["z_prime"]["value"]),
        classifier=LogisticRegression(),
        num_references=3,
    )
    assert set(by_name(found)) == {"KNN", "classifier", "classifier, plug-in"}
    assert found.verdict.startswith("matched"), found.table()


def test_same_seed_same_numbers_and_nothing_left_behind():
    z, state = torch.randn(200, 2), torch.get_rng_state()
    guide = ldm.guides.Deterministic(nn.Sequential(nn.Linear(2, 2), nn.BatchNorm1d(2)), ldm.entropy.LogDet())
    state = torch.get_rng_state()
    first, second = (kl_bounds(ldm.priors.Gaussian(2), guide, z, **LINEAR, seed=3) for _ in range(2))
    assert first.estimates == second.estimates
    assert torch.equal(torch.get_rng_state(), state)
    assert guide.training and guide.encoder[1].num_batches_tracked == 0
    assert not pyro.get_param_store().keys()


def test_classifier_of_ones_own_table_and_group():
    z = torch.randn(200, 2)
    found = kl_bounds(ldm.priors.Gaussian(2), None, z, classifier=LogisticRegression(), num_references=2)
    assert list(found.table().columns) == ["kind", "kl", "standard_error", "reference_low", "reference_high"]
    dataset = group(to_arviz(**found.groups()), "bounds")
    assert dataset["kl"].dims == ("estimator",)
    assert float(dataset["kl"].sel(estimator="LogDet (lower bound)")) == by_name(found)["LogDet"].kl


def test_draws_of_the_prior_are_at_draws_of_its_parameters():
    from pyro_ldm.diagnostics.encoded import Encoded

    prior = ldm.priors.Gaussian(1, scale=dist.LogNormal(0.0, 1.0))
    tree = to_arviz(posterior={"scale": torch.tensor([[1e-3, 1e3]])})
    drawn = Encoded(prior, None, torch.randn(1000, 1), parameters=tree).draw()["z"]
    assert (drawn.abs() < 1).double().mean() == pytest.approx(0.5, abs=0.06)


def test_the_upper_value_without_a_bound_is_an_estimate_less_its_bias():
    found = [
        Estimate("a", LOWER, 0.1, 0.1),
        Estimate("b", ESTIMATE, 1.0, 0.1, (0.8, 1.0)),
        Estimate("c", ESTIMATE, 0.6, 0.1, (0.1, 0.1)),
    ]
    judged = _judge(found, 0.0, 100)
    assert judged.upper == pytest.approx(0.5) and not judged.upper_is_bound
    assert str(judged) == "not matched: KL at least 0.10, about 0.50 by c (100 rows)"


def test_a_lower_bound_is_less_what_the_prior_itself_measures():
    found = [Estimate("a", LOWER, 0.5, 0.1, (0.2, 0.4)), Estimate("b", ESTIMATE, 0.3, 0.1, (0.0, 0.0))]
    judged = _judge(found, 0.0, 100)
    assert judged.lower == pytest.approx(0.2) and "KL at least 0.20, about 0.30" in str(judged)
    # A bias downwards leaves it a bound.
    assert _judge([found[0]._replace(reference=(-0.4, -0.2)), found[1]], 0.0, 100).lower == pytest.approx(0.5)


@pytest.mark.parametrize(("kl", "words"), [(0.06, "not matched: "), (0.04, "not matched, if by little: ")])
def test_little_that_many_rows_tell_from_nothing_is_called_so(kl, words):
    found = [Estimate("a", LOWER, kl, 0.001), Estimate("b", ESTIMATE, 0.3 + kl, 0.001, (0.3, 0.3))]
    assert _judge(found, 0.0, 100_000).verdict.startswith(words)


def test_what_exceeds():
    assert Estimate("a", LOWER, 0.5, 0.1).exceeds and not Estimate("a", LOWER, 0.3, 0.1).exceeds
    assert not Estimate("a", UPPER, 9.0, 0.1).exceeds
    assert not Estimate("a", ESTIMATE, 0.5, 0.1, (0.2, 0.3)).exceeds  # 0.25 over its bias
    assert Estimate("a", ESTIMATE, 0.8, 0.1, (0.2, 0.3)).exceeds


def flat(x):
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.ImproperUniform(dist.constraints.real_vector, (), (2,)))


def local(x):
    with pyro.plate("batch", len(x)):
        noise = pyro.sample("noise", dist.Normal(0.0, 1.0))
        pyro.sample("z", dist.Normal(noise.unsqueeze(-1).expand(-1, 2), 1.0).to_event(1))


@pytest.mark.parametrize(
    "prior, data, kwargs, message",
    [
        (ldm.priors.Gaussian(2), torch.randn(1, 2), {}, "at least two rows .* got 1: pass more data"),
        (ldm.priors.Gaussian(8), torch.randn(15, 8), {}, "15 rows of 8 latent dims are too few .* pass 20"),
        (
            ldm.priors.Gaussian(2),
            torch.randn(10, 2),
            {},
            "10 rows of 2 latent dims .* a classifier: pass 20",
        ),
        (ldm.priors.Gaussian(2), torch.full((50, 2), torch.nan), {}, "NaN or Inf in 50 of 50 rows"),
        (ldm.priors.Gaussian(2), torch.randn(50, 1) * torch.eye(2)[0], {}, r"constant in coordinates \[1\].*collapsed"),
        (ldm.priors.Gaussian(1), torch.randn(50), {}, r"got shape \(50,\): make one coordinate a column"),
        (flat, torch.randn(50, 2), {}, "flat over a site"),
        (local, torch.randn(50, 2), {}, r"draws \['noise'\] for each datum, and the guide does not"),
        (ldm.priors.Gaussian(2), torch.randn(50, 2), {"num_references": 1}, "num_references must be 2"),
    ],
)
def test_errors(prior, data, kwargs, message):
    with pytest.raises(ValueError, match=message):
        kl_bounds(prior, None, data, **kwargs)


def test_categories_are_refused():
    guide = ldm.guides.Categorical(nn.Linear(2, 3), 3)
    with pytest.raises(ValueError, match=r"discrete, .*Objective\.terms"):
        kl_bounds(ldm.priors.CategoricalViews(3), guide, (torch.randn(50, 2), torch.randn(50, 2)))


@pytest.mark.slow
def test_few_false_alarms():
    # 40 samples of a Laplace prior with a linear classifier: at 4 standard errors hardly any is called not matched.
    alarms = [
        not kl_bounds(ldm.priors.Laplace(2), None, z, classifier=LogisticRegression(), seed=i).verdict.startswith("ma")
        for i, z in enumerate(dist.Laplace(0.0, 1.0).sample((40, 500, 2)))
    ]
    assert np.sum(alarms) <= 2
