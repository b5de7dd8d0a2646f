"""Predictive checks: their p-values are uniform where the prior is true, and misfits are named where it is not."""

import numpy as np
import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.distributions import HalfCauchy, LogNormal
from scipy import stats

import pyro_ldm as ldm
from pyro_ldm.diagnostics.arviz import add_groups, group, to_arviz
from pyro_ldm.posterior.checks import predictive_check
from pyro_ldm.posterior.discrepancies import Discrepancy, kurtosis, skewness
from pyro_ldm.posterior.multiplicity import corrected_p_values

SHAPE = {"skewness": skewness, "kurtosis": kurtosis}


def scale_posterior(z, num=1000):
    """Draws of the scale of a Gaussian under p(scale) ~ 1 / scale, in closed form: N rows, each dim alone."""
    precision = dist.Gamma(len(z) / 2.0, z.square().sum(0) / 2).sample((num,))
    return to_arviz(posterior={"scale": precision.rsqrt().unsqueeze(0)})


def gaussian(dim=2):
    return ldm.priors.Gaussian(dim, scale=HalfCauchy(torch.ones(dim)).to_event(1))


def test_one_number_alone_is_uniform_under_the_true_prior():
    prior = ldm.priors.Gaussian(1)
    found = []
    for seed in range(150):
        z = torch.randn(20, 1)
        check = predictive_check(prior, z, discrepancies={"kurtosis": kurtosis}, num_draws=39, seed=seed, keep=0)
        found.append(check.table.loc[0, ["p_upper", "p_lower", "p_value"]].to_numpy(dtype=float))
    upper, lower, both = np.stack(found).T
    # The rank of the latents among 40 exchangeable sets is uniform over 1/40, ..., 40/40.
    for p_values in (upper, lower):
        counts = np.histogram(p_values, np.linspace(0.0125, 1.0125, 11))[0]
        assert counts.sum() == 150 and stats.chisquare(counts).pvalue > 0.001
    assert np.allclose(upper + lower, 41 / 40)
    assert np.allclose(both, np.minimum(1, 2 * np.minimum(upper, lower)))


def test_corrected_p_values_hold_their_level_however_dependent():
    rng = np.random.default_rng(0)
    smallest = []
    for _ in range(600):
        common = rng.normal(size=(100, 1))  # of 100 sets, the first of which stands for the latents
        sets = {
            "normal": rng.normal(size=(100, 5)) + common,
            "heavy": np.exp(2 * rng.normal(size=(100, 3)) + common),
            "discrete": rng.integers(0, 3, size=(100, 4)),
            "constant": np.ones((100, 1)),
        }
        corrected = corrected_p_values({n: s[0] for n, s in sets.items()}, {n: s[1:] for n, s in sets.items()})
        assert [len(values) for values in corrected.values()] == [5, 3, 4, 1]
        smallest.append(min(values.min() for values in corrected.values()))
    for level in (0.1, 0.2, 0.5):
        share = np.mean(np.array(smallest) <= level)
        assert level - 4 * 0.5 / 600**0.5 < share < level + 3 * (level * (1 - level) / 600) ** 0.5
    assert np.min(smallest) >= 0.01


def test_counts_that_hardly_vary_are_compared():
    count = {"far out": lambda z: (z > 2.5).sum(0)}  # in most sets none: no spread at all
    z = torch.zeros(20, 1)
    z[:5] = 9.0
    check = predictive_check(ldm.priors.Gaussian(1), z, discrepancies=count)
    assert not check.matched and check.observed["far out"] == [5]


def test_ties_are_as_far_out():
    # A number that is the same in every set is no evidence on either side.
    check = predictive_check(ldm.priors.Gaussian(1), torch.randn(20, 1), discrepancies={"rows": lambda z: len(z)})
    assert check.table.loc[0, ["p_lower", "p_upper", "p_value"]].tolist() == [1.0, 1.0, 1.0]


def test_categories_one_of_which_goes_unused():
    def prior(x):
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.OneHotCategorical(torch.tensor([0.5, 0.499, 0.001])))

    z = torch.nn.functional.one_hot(torch.arange(100) % 2, 3)
    for latents in (z.double(), z):
        check = predictive_check(prior, latents, num_draws=400)
        assert check.matched and check.observed["skewness"][2] == 0


def test_correction_by_hand():
    # Three replicated sets of two numbers. Above: the observed second number is farthest, no set is as far;
    # so the smallest p-value is 1/4 on that side, and only the observed set or one on other sides has it.
    observed = {"T": np.array([0.0, 10.0])}
    replicated = {"T": np.array([[-1.0, -1.0], [0.5, 0.0], [1.0, 1.0]])}
    corrected = corrected_p_values(observed, replicated)["T"]
    # On the lower side the first set is farthest: it has a p-value of 1/4, too. So two of four sets are as extreme.
    assert corrected[1] == pytest.approx(0.5)
    assert corrected[0] == pytest.approx(1.0)


@pytest.mark.slow
def test_no_misfit_more_often_than_the_level_under_the_true_prior():
    prior = ldm.priors.StudentT(2, df=3.0)
    p_values = []
    for seed in range(100):
        z = dist.StudentT(3.0, torch.zeros(2), 1.0).sample((50,))
        p_values.append(predictive_check(prior, z, num_draws=320, seed=seed, keep=0).p_value)
    for level in (0.05, 0.2, 0.5):
        assert np.mean(np.array(p_values) <= level) <= level + 3 * (level * (1 - level) / 100) ** 0.5
    assert np.mean(np.array(p_values) <= 0.5) > 0.35


def test_the_posterior_predictive_check_names_the_dim_with_heavy_tails():
    z = torch.stack([2.0 * torch.randn(1500), dist.Laplace(0.0, 1.0).sample((1500,))], 1)
    check = predictive_check(gaussian(), z, scale_posterior(z))
    assert check.kind == "posterior predictive" and not check.matched and check.p_value < 0.05
    found = check.table[check.table["misfit"] != ""]
    assert set(found["label"].str.split(" at").str[0]) == {"dim 1"}
    assert {"kurtosis", "quantile"} <= set(found["discrepancy"])
    row = found[found["discrepancy"] == "kurtosis"].iloc[0]
    assert row["observed"] == pytest.approx(stats.kurtosis(z[:, 1].numpy()))
    assert row["misfit"].startswith("dim 1: tails heavier than the prior's (kurtosis ")
    assert row["low"] < 0 < row["high"] < row["observed"] and row["z_score"] > 5 and row["p_upper"] == 1 / 401
    assert str(check).startswith("misfit: dim 1: ") and "posterior predictive check, p = " in str(check).lower()


def test_the_right_prior_fits_at_its_posterior():
    z = torch.randn(800, 2) * torch.tensor([0.1, 10.0])
    check = predictive_check(gaussian(), z, scale_posterior(z))
    assert check.matched and str(check).startswith("no misfit: posterior predictive check, p = ")
    spread = check.replicated["standard deviation"]
    # Replicated spreads vary by the posterior's uncertainty and by sampling, half of the variance each.
    assert np.allclose(spread.std(0) / spread.mean(0), (2 / (2 * 800)) ** 0.5, rtol=0.15)


def test_shared_scales_are_dependence_beyond_correlation():
    z = torch.randn(2000, 3) / dist.Gamma(4.0, 4.0).sample((2000, 1)).sqrt()
    check = predictive_check(ldm.priors.StudentT(3, df=8.0), z)
    worst = check.table.iloc[0]
    assert worst["discrepancy"] == "magnitude correlation" and "size tied to another dim" in str(check)


def test_prior_predictive_draws_the_parameters_from_their_prior():
    prior = ldm.priors.Gaussian(1, scale=LogNormal(torch.zeros(1), 1.0).to_event(1))
    check = predictive_check(prior, 3 * torch.randn(200, 1), num_draws=800)
    assert check.kind == "prior predictive" and check.matched
    assert np.log(check.replicated["standard deviation"]).std() == pytest.approx(1.0, abs=0.1)
    far = predictive_check(prior, 300 * torch.randn(200, 1))
    assert "dim 0: wider than the prior's" in str(far)


def test_two_views():
    z = torch.randn(1000, 2)
    z_prime = z + 0.5 * dist.StudentT(3.0, torch.zeros(2), 3**-0.5).sample((1000,))
    check = predictive_check(ldm.priors.GaussianViews(2, noise=0.5), {"z": z, "z_prime": z_prime})
    assert check.table.iloc[0]["discrepancy"] == "kurtosis between views"
    right = {"z": z, "z_prime": z + 0.5 * torch.randn(1000, 2)}
    assert predictive_check(ldm.priors.GaussianViews(2, noise=0.5), right).matched
    with pytest.raises(ValueError, match="z_prime"):
        predictive_check(ldm.priors.GaussianViews(2), z)


def test_flat_views_are_conditioned_on():
    z = torch.randn(300, 2)
    prior = ldm.priors.GaussianViews(2, noise=0.5, scale=None)
    sites = {"z": z, "z_prime": z + 0.5 * torch.randn(300, 2)}
    with pytest.raises(ValueError, match=r"pyro.condition"):
        predictive_check(prior, sites)
    check = predictive_check(pyro.condition(prior, {"z": z}), sites)
    spread = check.replicated["mean"].std(0)
    assert check.matched and np.allclose(spread[:2], 0) and (spread[2:] > 0.01).all()


def kalman(**settings):
    return ldm.priors.Kalman(
        1, transition_matrix=torch.tensor([[0.9]]), transition_noise=0.4, initial_scale=0.9, **settings
    )


def test_series_with_missing_steps():
    x = torch.zeros(80, 30, 1)
    z = kalman(observation_noise=0.3)(x).detach()
    mask = torch.rand(80, 30) < 0.8
    z[~mask] = 1e3  # what stands at steps that are not there does not count
    assert predictive_check(kalman(observation_noise=0.3), z, batch=(x, mask), num_draws=360).matched
    shuffled = z[:, torch.randperm(30)]
    check = predictive_check(
        kalman(observation_noise=0.3), shuffled, batch=(x, mask[:, torch.randperm(30)]), num_draws=360
    )
    assert not check.matched
    z = kalman(observation_noise=0.3)(x).detach()
    rows = z.flatten(0, 1)[torch.randperm(2400)].reshape(80, 30, 1)
    worst = predictive_check(kalman(observation_noise=0.3), rows, batch=(x,), num_draws=360).table.iloc[0]
    assert worst["discrepancy"] == "autocorrelation" and "steps correlated less than the prior's" in worst["misfit"]


def test_own_discrepancies():
    z = torch.randn(300, 2)
    own = {
        "range": lambda z: z.amax(0) - z.amin(0),
        "radius": Discrepancy(lambda z: z.norm(dim=-1).mean(), above="farther out than the prior's"),
    }
    check = predictive_check(ldm.priors.Gaussian(2, scale=0.5), z, discrepancies=own)
    assert check.observed["range"].shape == (2,) and check.observed["radius"].shape == (1,)
    words = set(check.table["misfit"].str.split(r" \(").str[0])
    assert words == {"0: larger than the prior's", "1: larger than the prior's", "farther out than the prior's"}


def test_a_seed_gives_the_same_check_and_leaves_no_trace():
    z = torch.randn(100, 2)
    state = torch.random.get_rng_state()
    first, again, other = (predictive_check(gaussian(), z, seed=seed) for seed in (1, 1, 2))
    assert torch.equal(torch.random.get_rng_state(), state) and not dict(pyro.get_param_store())
    assert first.table.equals(again.table)
    assert not np.array_equal(first.replicated["mean"], other.replicated["mean"])


def test_memory_is_bounded_by_parts(monkeypatch):
    z = torch.randn(100, 2)
    monkeypatch.setattr("pyro_ldm.posterior.checks.AT_ONCE", 3000)
    check = predictive_check(ldm.priors.Gaussian(2), z)
    assert check.replicated["mean"].shape == (400, 2) and len(np.unique(check.replicated["mean"])) == 800


def test_learned_parameters_and_float32_and_few_draws():
    prior = ldm.priors.Laplace(2, scale=torch.nn.Parameter(torch.tensor([1.0, 2.0])))
    z = dist.Laplace(torch.zeros(2), torch.tensor([1.0, 2.0])).sample((500,)).float()
    assert predictive_check(prior, z).matched
    z = torch.randn(500, 2)
    assert predictive_check(gaussian(), z, scale_posterior(z, num=50)).replicated["mean"].shape == (400, 2)


def test_kept_latents_go_to_arviz():
    z = torch.randn(100, 2)
    tree = scale_posterior(z)
    check = predictive_check(gaussian(), z, tree, keep=7)
    kept = group(add_groups(tree, **check.groups()), "posterior_predictive")["z"]
    assert kept.shape == (1, 7, 100, 2) and float(kept.std()) == pytest.approx(1.0, abs=0.1)
    assert set(predictive_check(ldm.priors.Gaussian(2), z).groups()) == {"prior_predictive", "observed_data"}
    assert set(predictive_check(ldm.priors.Gaussian(2), z, keep=0).groups()) == {"observed_data"}


def test_the_picture_shows_the_observed_values_worst_first():
    z = torch.stack([torch.randn(1500), dist.Laplace(0.0, 1.0).sample((1500,))], 1)
    check = predictive_check(ldm.priors.Gaussian(2), z)
    figure = check.picture()
    worst = check.table.drop_duplicates("discrepancy").head(6)
    lines = [axes.lines[0].get_xdata()[0] for axes in figure.axes[:6]]
    assert lines == list(worst["observed"])
    assert "dim 1" in figure.axes[6].get_title() and "misfit, p = " in figure.get_suptitle()
    assert len(predictive_check(ldm.priors.Gaussian(2), z, keep=0).picture().axes) == 6
    figure.savefig("/dev/null", format="png")


@pytest.mark.parametrize(
    "z, kwargs, message",
    [
        (
            torch.randn(50, 2),
            {"num_draws": 100},
            "100 draws cannot show a misfit of 8 .* pass num_draws of at least 319",
        ),
        (torch.randn(50, 2), {"num_draws": 0}, "num_draws must be positive"),
        (torch.randn(50, 2), {"discrepancies": {}}, "there is no discrepancy to compare"),
        (torch.randn(50, 2), {"discrepancies": {"T": lambda z: z}}, r"'T' has shape \(50, 2\): it must give"),
        (torch.randn(50, 2), {"discrepancies": {"T": lambda z: z.mean() / 0}}, "'T' is not finite"),
        (
            torch.randn(50, 2),
            {"discrepancies": {"T": Discrepancy(lambda z: z.mean(0), ["a"])}},
            "'T' has 1 labels for 2 numbers",
        ),
        (torch.full((50, 2), 3.0), {}, "constant in dims"),
        (torch.randn(1, 2), {}, "at least two latents"),
        (torch.full((50, 2), torch.nan), {}, "NaN"),
        (torch.randn(50, 3), {}, "shape"),
    ],
)
def test_errors(z, kwargs, message):
    with pytest.raises(ValueError, match=message):
        predictive_check(ldm.priors.Gaussian(2), z, **kwargs)


def test_the_tree_of_another_prior_is_refused():
    z = torch.randn(50, 2)
    tree = to_arviz(posterior={"df": torch.rand(1, 100)})
    with pytest.raises(ValueError, match=r"posterior is of \['df'\] and lacks \['scale'\] of the prior's parameters"):
        predictive_check(gaussian(), z, tree)
