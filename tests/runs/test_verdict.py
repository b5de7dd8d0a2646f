"""The verdict: matched, not matched, exploited, or no divergence at all."""

import pytest

import pyro_ldm as ldm


def verdict(kl, divergence="KL", reference=(0.1, 0.2)):
    return ldm.runs.verdict(ldm.Fit(None, ldm.Terms(-kl, 0.0, kl, 0.0, divergence), [], reference))


@pytest.mark.parametrize(
    ("kl", "word"),
    [(0.15, "matched: "), (0.01, "matched: "), (0.29, "matched: "), (0.31, "not matched: "), (-0.01, "exploited: ")],
)
def test_beside_draws_from_the_prior(kl, word):
    assert verdict(kl).startswith(word) and "0.10 to 0.20" in verdict(kl)


def test_a_negative_value_is_as_good_as_its_reference():
    assert verdict(-3.0, "KL - I", (-3.1, -2.9)).startswith("matched: KL - I")


def test_shared_information_below_the_prior_s_own_is_no_exploit():
    sentence = verdict(-5.0, "KL - I", (-3.1, -2.9))
    assert sentence.startswith("lower than the prior's own: KL - I -5.00") and "exploited" not in sentence


@pytest.mark.parametrize(
    ("divergence", "words"), [("cross-entropy", "entropy is not known"), ("score", "no entropy"), ("KL", "not known")]
)
def test_what_is_no_divergence_gets_no_verdict(divergence, words):
    sentence = verdict(-3.0, divergence, ())
    assert words in sentence and not sentence.startswith(("matched", "not matched", "exploited"))


def of_likelihood(divergence, reference=()):
    return ldm.runs.verdict(ldm.Fit(None, ldm.Terms(-3.0, 1.0, 2.0, 0.0, divergence, -70.0), [], reference))


def test_minus_an_elbo_is_a_bound_and_no_mismatch():
    sentence = of_likelihood("KL + I")
    assert (
        sentence.startswith("-ELBO 72.00 nats, minus a lower bound on the evidence: KL + I 2.00")
        and "matched" not in sentence
    )


def test_an_elbo_with_parameters_of_the_prior_adds_up():
    sentence = ldm.runs.verdict(ldm.Fit(None, ldm.Terms(-3.0, 1.0, 2.0, 0.5, "KL + I", -70.0), []))
    assert sentence.startswith("-ELBO 72.50 nats") and "2.00 nats plus 0.50 of the prior's parameters less" in sentence


def test_an_info_vae_bounds_nothing_and_its_kl_is_judged():
    sentence = of_likelihood("KL", (0.1, 0.2))
    assert sentence.startswith("not matched: -(ELBO + I) 72.00 nats, no bound on the evidence, in it KL 2.00")


def test_conditional_scoring_without_a_likelihood_says_nothing_of_x():
    assert "no likelihood" in verdict(2.0, "KL + I", ())
