import numpy as np
import pytest

from pyro_ldm.diagnostics.arviz import rhat, summary, to_arviz


def draws(chains=4, num=500, size=(2,), seed=0):
    return np.random.default_rng(seed).normal(size=(chains, num, *size))


def test_the_table():
    scale = draws()
    table = summary(to_arviz(posterior={"scale": scale, "rate": 3.0 + scale[..., 0]}, attrs={"inference": "NUTS"}))
    assert list(table.index) == ["scale[0]", "scale[1]", "rate"]
    assert list(table.columns) == ["mean", "sd", "eti_5%", "eti_95%", "ess_bulk", "ess_tail", "r_hat"]
    assert table["mean"]["scale[1]"] == pytest.approx(scale[..., 1].mean())
    assert table["sd"]["scale[1]"] == pytest.approx(scale[..., 1].std(ddof=1))
    assert table["eti_5%"]["scale[1]"] == pytest.approx(np.quantile(scale[..., 1], 0.05))
    assert table["eti_95%"]["scale[1]"] == pytest.approx(np.quantile(scale[..., 1], 0.95))
    assert table["mean"]["rate"] == pytest.approx(table["mean"]["scale[0]"] + 3.0)
    assert table["ess_bulk"].between(1500, 2500).all() and table["ess_tail"].between(1300, 2500).all()
    assert table["r_hat"].between(0.99, 1.01).all()
    assert table.attrs == {"inference": "NUTS"}


def test_either_arviz_gives_the_same_statistics():
    # An autoregressive series; the figures are those of arviz 0.23.4.
    noise = draws(4, 200, ())
    series = np.zeros_like(noise)
    for step in range(1, 200):
        series[:, step] = 0.8 * series[:, step - 1] + noise[:, step]
    row = summary(to_arviz(posterior={"mu": series})).loc["mu"]
    assert row["ess_bulk"] == pytest.approx(117.1386348929, rel=1e-6)
    assert row["ess_tail"] == pytest.approx(192.1181403588, rel=1e-6)
    assert row["r_hat"] == pytest.approx(1.0192161958, rel=1e-6)


def test_the_interval_is_as_wide_as_asked():
    table = summary(to_arviz(posterior={"scale": draws(num=5000)}), ci=0.95)
    assert table["eti_2.5%"].values == pytest.approx(-1.96, abs=0.06)
    assert table["eti_97.5%"].values == pytest.approx(1.96, abs=0.06)


def test_rows_carry_labels():
    tree = to_arviz(
        posterior={"loadings": draws(size=(2, 3))},
        dims={"loadings": ["source", "z_dim"]},
        coords={"source": ["left", "right"]},
    )
    assert list(summary(tree).index)[2:4] == ["loadings[left, 2]", "loadings[right, 0]"]


def test_chains_that_disagree():
    shifted = draws(size=()) + np.array([0.0, 0.0, 0.0, 3.0])[:, None]
    assert rhat(to_arviz(posterior={"mu": shifted}))["mu"] > 1.3
    assert rhat(to_arviz(posterior={"mu": draws(size=())}))["mu"] < 1.01


def test_of_one_chain_there_is_no_r_hat():
    tree = to_arviz(posterior={"mu": draws(chains=1)})
    assert "r_hat" not in summary(tree).columns
    with pytest.raises(ValueError, match="compares chains, and the posterior has one: run several"):
        rhat(tree)


def test_of_a_variational_posterior_there_is_no_r_hat():
    tree = to_arviz(posterior={"mu": draws(chains=2)}, attrs={"inference": "SVI: AutoNormal", "k_hat": 0.31})
    table = summary(tree)
    assert "r_hat" not in table.columns
    assert table.attrs == {"inference": "SVI: AutoNormal", "k_hat": 0.31}
    with pytest.raises(ValueError, match=r"independent.*however wrong.*k-hat of their weights, here 0\.31, instead"):
        rhat(tree)


def test_a_variable_that_does_not_vary():
    # Such as the zeros of a Cholesky factor.
    table = summary(to_arviz(posterior={"scale": draws(), "zero": np.zeros((4, 500))}))
    assert (table["mean"]["zero"], table["sd"]["zero"]) == (0.0, 0.0)


@pytest.mark.parametrize("ci", [0.0, 1.0, 90])
def test_ci_is_a_probability(ci):
    with pytest.raises(ValueError, match="ci is a probability"):
        summary(to_arviz(posterior={"mu": draws()}), ci=ci)


@pytest.mark.parametrize("statistic", [summary, rhat])
def test_what_has_no_statistics(statistic):
    with pytest.raises(ValueError, match=r"1 draws per chain.*take at least 4"):
        statistic(to_arviz(posterior={"mu": draws(num=1)}))
    bad = draws()
    bad[0, 0, 1] = np.nan
    with pytest.raises(ValueError, match=r"NaN or infinite draws of \['mu'\]"):
        statistic(to_arviz(posterior={"mu": bad}))
    with pytest.raises(ValueError, match="no group 'posterior'"):
        statistic(to_arviz(latents={"z": np.zeros(3)}))


def test_the_ends_of_a_wide_interval_are_not_rounded():
    table = summary(to_arviz(posterior={"scale": draws()}), ci=0.9999)
    assert list(table.columns)[2:4] == ["eti_0.005%", "eti_99.995%"]


def test_chains_that_are_stuck_do_not_agree():
    stuck = np.array([1.0, 1.0, 2.0, 2.0])[:, None] * np.ones(
        (4, 64)
    )  # of so many the mean is exact: no variance within
    found = rhat(to_arviz(posterior={"stuck": stuck, "constant": np.ones((4, 64))}))
    assert found["stuck"] > 100 and np.isnan(found["constant"])
