import numpy as np
import pytest
import torch
from scipy.stats import norm
from sklearn.base import BaseEstimator, ClassifierMixin

import pyro_ldm as ldm
from pyro_ldm.diagnostics.importance import importance_khat

PRIOR = ldm.priors.Gaussian(1)


class Exact(ClassifierMixin, BaseEstimator):
    """Log-odds of N(0, s^2) against N(0, 1), given how many rows there are of each."""

    def __init__(self, scale):
        self.scale = scale

    def fit(self, rows, labels):
        self.offset_ = np.log(labels.mean() / (1 - labels.mean()))
        return self

    def decision_function(self, rows):
        return -np.log(self.scale) - 0.5 * rows[:, 0] ** 2 * (self.scale**-2 - 1) + self.offset_


@pytest.mark.parametrize("scale", [0.5, 0.8])
def test_tail_index_of_narrow_gaussians(scale):
    # z > t has probability about exp(-t^2 / 2 s^2), and w = exp(t^2 (1 / s^2 - 1) / 2): k = 1 - s^2, slowly reached.
    found = importance_khat(PRIOR, None, scale * torch.randn(20_000, 1), classifier=Exact(scale), num_rows=20_000)
    assert found.latents.k_hat == pytest.approx(1 - scale**2, abs=0.15)
    assert found.prior.k_hat < 0  # bounded: the latents have lighter tails
    # E[w]^2 / E[w^2] of the reverse weights: s sqrt(2 - s^2), finite for s < 1.
    assert found.prior.effective_share == pytest.approx(scale * np.sqrt(2 - scale**2), abs=0.03)
    # 1 % of the latents are beyond 2.576 s.
    assert found.missed == pytest.approx(2 * norm.sf(2.576 * scale), abs=0.02)


def test_words():
    covered = importance_khat(PRIOR, None, torch.randn(2000, 1))
    assert covered.verdict.startswith("covered: k-hat") and covered.latents.effective_share > 0.95
    narrow = importance_khat(PRIOR, None, 0.2 * torch.randn(2000, 1))
    assert str(narrow).startswith("not covered: the prior has mass where (almost) no latents are; ")
    assert "there are latents" not in narrow.verdict and narrow.missed == pytest.approx(0.61, abs=0.06)
    wide = importance_khat(PRIOR, None, 5 * torch.randn(2000, 1))
    assert wide.verdict.startswith("not covered: there are latents where the prior has (almost) no mass; ")
    assert wide.prior.k_hat > 0.6  # 0.96 in the limit
    # 1 % of the prior's draws are beyond 2.576.
    assert wide.strayed == pytest.approx(2 * norm.sf(2.576 / 5), abs=0.03) and covered.strayed < 0.03


def test_same_seed_same_numbers():
    z, classifier = torch.randn(300, 1), Exact(0.9)
    state = torch.get_rng_state()
    first, second = (importance_khat(PRIOR, None, z, classifier=classifier, seed=4) for _ in range(2))
    assert first.prior == second.prior
    assert torch.equal(torch.get_rng_state(), state)


def test_errors():
    with pytest.raises(ValueError, match="tail of weights takes 100 rows or more, got 99"):
        importance_khat(PRIOR, None, torch.randn(99, 1))
