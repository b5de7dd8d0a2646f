"""Mixture: the aggregated posterior, against naive sums and known entropies."""

import math

import pyro.distributions as dist
import pytest
import torch

from pyro_ldm.entropy import Joint, Mixture, Separate
from pyro_ldm.guides.sample_views import Views


def naive(z, components, include_self=True):
    """components: a list of distributions over one row."""
    rows = []
    for i, row in enumerate(z):
        terms = [q.log_prob(row) for j, q in enumerate(components) if include_self or j != i]
        rows.append(torch.stack(terms).logsumexp(0) - math.log(len(terms)))
    return torch.stack(rows)


CONDITIONALS = {
    "normal": lambda: dist.Normal(torch.randn(12, 3), torch.rand(12, 3) + 0.1).to_event(1),
    "shared scale": lambda: dist.Normal(torch.randn(12, 3), torch.tensor(0.3)).to_event(1),
    "correlated": lambda: dist.MultivariateNormal(torch.randn(12, 3), torch.eye(3) + 0.5),
    "laplace": lambda: dist.Laplace(torch.randn(12, 3), 0.4).to_event(1),
    "categorical": lambda: dist.Categorical(logits=torch.randn(12, 4)),
    "one-hot": lambda: dist.OneHotCategorical(logits=torch.randn(12, 4)),
    "series": lambda: dist.Normal(torch.randn(12, 2, 3), 0.5).to_event(2),
}


@pytest.mark.parametrize("include_self", [True, False])
@pytest.mark.parametrize("kind", CONDITIONALS)
def test_against_the_naive_sum(kind, include_self):
    q = CONDITIONALS[kind]()
    z = q.sample()
    rows = [_Row(q, j) for j in range(12)]
    torch.testing.assert_close(Mixture(include_self=include_self)(z, q), naive(z, rows, include_self))


class _Row:
    """The j-th conditional, by scoring all and picking one."""

    def __init__(self, q, j):
        self.q, self.j = q, j

    def log_prob(self, row):
        return self.q.log_prob(row.expand(self.q.shape()))[self.j]


def test_gradient_to_rows_and_parameters():
    def scores(z, loc, scale):
        return Mixture(include_self=False)(z, dist.Normal(loc, scale.exp()).to_event(1))

    inputs = [torch.randn(6, 2, requires_grad=True) for _ in range(3)]
    assert torch.autograd.gradcheck(scores, inputs)


def test_narrow_conditionals_keep_their_digits_in_float32():
    q = dist.Normal(torch.randn(50, 8, dtype=torch.float32), torch.tensor(1e-3)).to_event(1)
    z = q.sample()
    double = dist.Normal(q.base_dist.loc.double(), q.base_dist.scale.double()).to_event(1)
    expected = naive(z.double(), [_Row(double, j) for j in range(50)])
    torch.testing.assert_close(Mixture()(z, q).double(), expected, atol=1e-5, rtol=1e-5)


def test_particles_are_scored_apart():
    q = dist.Normal(torch.randn(12, 3), 0.5).to_event(1)
    z = q.sample((4,))
    torch.testing.assert_close(Mixture()(z, q)[2], Mixture()(z[2], q))


def test_masked_rows_count_nowhere():
    loc, mask = torch.randn(12, 3), torch.arange(12) < 8
    for make in (lambda m: dist.Normal(m, 0.5).to_event(1), lambda m: dist.Laplace(m, 0.5).to_event(1)):
        z = make(loc).sample()
        for include_self in (True, False):
            scores = Mixture(include_self=include_self)(z, make(loc), mask)
            torch.testing.assert_close(scores[:8], Mixture(include_self=include_self)(z[:8], make(loc[:8])))
            assert torch.equal(scores[8:], torch.zeros(4))


def test_sandwich_of_a_known_entropy():
    """mu ~ N(0, 1), z | mu ~ N(mu, 0.5^2): R = N(0, 1.25), H = 1.5305 nats; N = 100, mean of 200 batches."""
    true = 0.5 * math.log(2 * math.pi * math.e * 1.25)
    low, high = [], []
    for _ in range(200):
        q = dist.Normal(torch.randn(100, 1), 0.5).to_event(1)
        z = q.sample()
        low.append(-Mixture()(z, q).mean())
        high.append(-Mixture(include_self=False)(z, q).mean())
    low, high = torch.stack(low), torch.stack(high)
    assert float(low.mean()) < true < float(high.mean())
    assert float(high.mean() - low.mean()) < 0.1


def test_leave_one_out_with_a_learned_scale_can_be_exploited():
    loc = torch.randn(100, 4)
    entropies = []
    for scale in (0.3, 0.03, 0.003):
        q = dist.Normal(loc, scale).to_event(1)
        entropies.append(float(-Mixture(include_self=False)(q.sample(), q).mean()))
    assert entropies[1] > entropies[0] + 50 and entropies[2] > entropies[1] + 5000


def test_include_self_is_at_most_log_n_above_the_conditional():
    q = dist.Normal(torch.randn(100, 4), 1e-3).to_event(1)
    excess = -Mixture()(z := q.sample(), q).mean() + q.log_prob(z).mean()
    assert float(excess) == pytest.approx(math.log(100), abs=1e-6)


def test_views_jointly_and_separately():
    q, q_prime = (dist.Normal(torch.randn(12, 3), 0.3).to_event(1) for _ in range(2))
    z = torch.stack([q.sample(), q_prime.sample()], -2)
    pairs = q.log_prob(z[:, 0, None]) + q_prime.log_prob(z[:, 1, None])  # row i under the j-th pair
    views = Views([q, q_prime])
    torch.testing.assert_close(Joint(Mixture())(z, views), pairs.logsumexp(-1) - math.log(12))
    torch.testing.assert_close(Separate(Mixture())(z, views), Mixture()(z[:, 0], q) + Mixture()(z[:, 1], q_prime))


@pytest.mark.parametrize("conditional", [None, dist.Delta(torch.zeros(5, 2), event_dim=1)])
def test_deterministic_encoders_are_refused(conditional):
    with pytest.raises(ValueError, match="stochastic encoder"):
        Mixture()(torch.zeros(5, 2), conditional)
