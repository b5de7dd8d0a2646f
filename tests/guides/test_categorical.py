"""The categorical losses of the paper, re-implemented by loops over categories: value and gradient."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import TraceEnum_ELBO
from torch import nn

import pyro_ldm as ldm
from pyro_ldm.entropy import Joint, LogDet, Mixture, Separate
from pyro_ldm.guides import Categorical
from pyro_ldm.priors import CategoricalViews

NUM, K, STAY = 40, 4, 0.85


def objective(guide, prior=None):
    prior = CategoricalViews(guide.num_categories, STAY, num_factors=guide.num_factors) if prior is None else prior
    return ldm.Objective(prior, guide, TraceEnum_ELBO(max_plate_nesting=1))


def grads(loss, module):
    return torch.autograd.grad(loss, list(module.parameters()))


class Published:
    """The paper's losses, minimised: its F_LDM, F_MI and I with the sign changed. Nothing here knows of Pyro."""

    def __init__(self, logits, logits_prime):
        q, q_prime = logits.exp(), logits_prime.exp()
        q, q_prime = q / q.sum(1, keepdim=True), q_prime / q_prime.sum(1, keepdim=True)
        self.r = sum(torch.outer(a, b) for a, b in zip(q, q_prime, strict=True)) / len(q)

    def expected_log_prior(self):
        k = len(self.r)
        total = 0.0
        for i in range(k):
            for j in range(k):
                p = (STAY if i == j else (1 - STAY) / (k - 1)) / k
                total = total + self.r[i, j] * torch.tensor(p).log()
        return total

    def joint(self):
        return (self.r * self.r.log()).sum() - self.expected_log_prior()

    def marginal(self):
        first, second = self.r.sum(1), self.r.sum(0)
        return (first * first.log()).sum() + (second * second.log()).sum() - self.expected_log_prior()

    def mutual_information(self):
        return (self.r * (self.r / torch.outer(self.r.sum(1), self.r.sum(0))).log()).sum()


@pytest.fixture
def world():
    x, x_prime, encoder = torch.randn(NUM, 6), torch.randn(NUM, 6), nn.Linear(6, K)
    return x, x_prime, encoder, Published(encoder(x), encoder(x_prime))


class TestPublishedLosses:
    def test_joint(self, world):
        x, x_prime, encoder, published = world
        loss = objective(Categorical(encoder, K))
        torch.testing.assert_close(loss(x, x_prime), published.joint())
        torch.testing.assert_close(grads(loss(x, x_prime), encoder), grads(published.joint(), encoder))
        terms = loss.terms(x, x_prime)
        assert terms.divergence == "KL"
        assert terms.alignment == pytest.approx(published.expected_log_prior().item())
        assert terms.uniformity == pytest.approx(-(published.r * published.r.log()).sum().item())

    def test_marginal(self, world):
        x, x_prime, encoder, published = world
        loss = objective(Categorical(encoder, K, Separate(Mixture())))
        torch.testing.assert_close(loss(x, x_prime), published.marginal())
        torch.testing.assert_close(grads(loss(x, x_prime), encoder), grads(published.marginal(), encoder))
        terms = loss.terms(x, x_prime)
        assert terms.divergence == "KL - I" and terms.kl == pytest.approx(published.marginal().item())

    @pytest.mark.parametrize("stay", [0.3, 0.99])
    def test_mutual_information_is_what_the_marginals_add(self, world, stay):
        """F_MI = F_LDM + I, whatever the prior: so the two objectives' difference is the MI-only loss."""
        x, x_prime, encoder, published = world
        prior = CategoricalViews(K, stay)
        marginal = objective(Categorical(encoder, K, Separate(Mixture())), prior)
        joint = objective(Categorical(encoder, K, Joint(Mixture())), prior)
        loss = marginal(x, x_prime) - joint(x, x_prime)
        torch.testing.assert_close(loss, -published.mutual_information())
        torch.testing.assert_close(grads(loss, encoder), grads(-published.mutual_information(), encoder))

    def test_independent_views_under_the_marginals_leave_only_the_marginal_entropies(self, world):
        x, x_prime, encoder, published = world
        loss = objective(Categorical(encoder, K, Separate(Mixture())), CategoricalViews(K, 1 / K))
        first, second = published.r.sum(1), published.r.sum(0)
        expected = (first * (K * first).log()).sum() + (second * (K * second).log()).sum()
        torch.testing.assert_close(loss(x, x_prime), expected)


def test_enumeration_is_what_sampling_converges_to(world):
    """200 draws of each pair's categories, scored by the joint table of the encoder's probabilities."""
    x, x_prime, encoder, _ = world
    guide = Categorical(encoder, K)
    exact = objective(guide)(x, x_prime).detach()
    with torch.no_grad():
        q, q_prime = guide.conditional(x), guide.conditional(x_prime)
        r = torch.einsum("ni,nj->ij", q.probs, q_prime.probs) / NUM
        prior = CategoricalViews(K, STAY).log_transition(torch.tensor(STAY)) - torch.tensor(float(K)).log()
        draws = [(r.log() - prior)[q.sample(), q_prime.sample()].mean() for _ in range(200)]
    spread = torch.stack(draws).std() / 200**0.5
    assert abs(torch.stack(draws).mean() - exact) < 4 * spread < 0.05


def test_a_learned_stay_gets_its_exact_gradient(world):
    x, x_prime, encoder, published = world
    prior = CategoricalViews(K, nn.Parameter(torch.tensor(STAY)))
    loss = objective(Categorical(encoder, K), prior)(x, x_prime)
    (grad,) = torch.autograd.grad(loss, list(prior.parameters()))
    stays = published.r.diagonal().sum()
    # d/dp of -[s log p + (1 - s) log(1 - p)], times dp/dlogit = p (1 - p)
    torch.testing.assert_close(grad, STAY - stays)


class TestProductOfFactors:
    def test_equals_a_dense_construction(self):
        encoder, x, x_prime = nn.Linear(6, 6), torch.randn(NUM, 6), torch.randn(NUM, 6)
        loss = objective(Categorical(encoder, 3, num_factors=2))(x, x_prime)

        def states(rows):  # every row's probabilities of the 9 states, by torch.kron
            probs = encoder(rows).unflatten(1, (2, 3)).softmax(-1)
            return torch.stack([torch.kron(first, second) for first, second in probs])

        r = torch.einsum("ni,nj->ij", states(x), states(x_prime)) / NUM
        one = torch.full((3, 3), (1 - STAY) / 2).fill_diagonal_(STAY) / 3
        exact = (r * (r / torch.kron(one, one)).log()).sum()
        torch.testing.assert_close(loss, exact)
        torch.testing.assert_close(grads(loss, encoder), grads(exact, encoder))

    def test_independent_factors_add_up(self):
        """Rows that cross the factors' logits: R is a product, and so KL(R || P) a sum."""
        first, second = torch.randn(5, 3, requires_grad=True), torch.randn(7, 3, requires_grad=True)
        crossed = torch.cat([first.repeat_interleave(7, 0), second.repeat(5, 1)], 1)
        both = objective(Categorical(nn.Identity(), 3, num_factors=2))(crossed, crossed)
        alone = [objective(Categorical(nn.Identity(), 3))(logits, logits) for logits in (first, second)]
        torch.testing.assert_close(both, sum(alone))


def test_more_views_than_two():
    x, encoder = torch.randn(3, NUM, 6), nn.Linear(6, K)
    transition = torch.full((K, K), (1 - STAY) / (K - 1)).fill_diagonal_(STAY)

    def chain(*views):
        with pyro.plate("batch", len(views[0])):
            k = pyro.sample("a", dist.Categorical(torch.ones(K)))
            for name in "bc":
                k = pyro.sample(name, dist.Categorical(transition[k]))

    loss = objective(Categorical(encoder, K, sites=("a", "b", "c")), chain)(*x)
    r = torch.einsum("ni,nj,nk->ijk", *(encoder(view).softmax(-1) for view in x)) / NUM
    p = torch.einsum("ij,jk->ijk", transition, transition) / K
    torch.testing.assert_close(loss, (r * (r / p).log()).sum())


def test_fit_finds_the_categories_and_latents_gives_their_probabilities():
    torch.manual_seed(0)
    label = torch.arange(300) % 3
    centres = 4.0 * torch.eye(3)
    x, x_prime = (centres[label] + 0.3 * torch.randn(300, 3) for _ in range(2))
    guide = Categorical(nn.Linear(3, 3), 3)
    elbo = TraceEnum_ELBO(max_plate_nesting=1)
    prior = CategoricalViews(3, 0.95)
    result = ldm.fit(prior, guide, (x, x_prime), elbo=elbo, epochs=15, batch_size=100, lr=0.1, progress=False)
    assert 0 < result.terms.kl < 0.03 and result.terms.divergence == "KL"
    assert result.terms.uniformity == pytest.approx(-result.terms.alignment, abs=0.03)
    probabilities = ldm.training.latents(guide, x)
    assert probabilities.shape == (300, 3)
    torch.testing.assert_close(probabilities.sum(-1), torch.ones(300))
    found = torch.zeros(3, 3).index_put((label, probabilities.argmax(-1)), torch.ones(300), accumulate=True)
    assert (found.max(1).values > 95).all() and found.argmax(1).unique().numel() == 3


@pytest.mark.parametrize("arrange", [Joint, Separate])
def test_finite_under_bfloat16_autocast(arrange):
    torch.set_default_dtype(torch.float32)
    x, encoder = torch.randn(NUM, 6), nn.Linear(6, K)
    loss = objective(Categorical(encoder, K, arrange(Mixture())))
    exact = loss(x, x)
    with torch.autocast("cpu", torch.bfloat16):
        assert encoder(x).dtype == torch.bfloat16
        value = loss(x, x)
    assert value.dtype == torch.float32
    assert value.item() == pytest.approx(exact.item(), abs=0.02)
    assert all(torch.isfinite(grad).all() for grad in grads(value, encoder))


def test_saturated_logits_have_finite_losses_and_gradients():
    logits = torch.zeros(NUM, K).index_fill_(1, torch.tensor(0), 500.0).requires_grad_()
    for entropy in (Joint(Mixture()), Separate(Mixture())):
        loss = objective(Categorical(nn.Identity(), K, entropy))(logits, logits)
        (grad,) = torch.autograd.grad(loss, logits)
        assert torch.isfinite(loss) and torch.isfinite(grad).all()


class TestMistakes:
    def test_one_category(self):
        with pytest.raises(ValueError, match="num_categories must be at least 2, got 1"):
            Categorical(nn.Linear(6, 1), 1)
        with pytest.raises(ValueError, match="num_factors must be at least 1"):
            Categorical(nn.Linear(6, 3), 3, num_factors=0)

    def test_logits_of_another_width(self):
        x = torch.randn(5, 6)
        with pytest.raises(ValueError, match=r"logits of shape \(10, 3\), and 4 categories of 10 rows need \(10, 4\)"):
            Categorical(nn.Linear(6, 3), 4)(x, x)
        with pytest.raises(ValueError, match=r"2 x 4 categories of 10 rows need \(10, 8\)"):
            Categorical(nn.Linear(6, 3), 4, num_factors=2)(x, x)

    def test_views_of_different_length(self):
        with pytest.raises(ValueError, match=r"expected 2 views of one shape.*\[\(5, 6\), \(4, 6\)\]"):
            Categorical(nn.Linear(6, 3), 3)(torch.randn(5, 6), torch.randn(4, 6))
        with pytest.raises(ValueError, match="expected 2 views"):
            Categorical(nn.Linear(6, 3), 3)(torch.randn(5, 6))

    def test_logits_that_are_not_finite(self):
        x = torch.randn(5, 6)
        x[2] = torch.nan
        with pytest.raises(ValueError, match="NaN or Inf in 2 of 10 rows"):
            Categorical(nn.Linear(6, 3), 3)(x, x)

    def test_an_estimator_of_vectors(self):
        for entropy, name in {Joint(LogDet()): "Joint.LogDet", Mixture(): "Mixture", LogDet(): "LogDet"}.items():
            with pytest.raises(ValueError, match=rf"take Joint\(Mixture\(\)\) or .*, got {name}"):
                Categorical(nn.Linear(6, 3), 3, entropy)

    def test_other_numbers_of_categories_than_the_prior(self):
        x = torch.randn(5, 6)
        with pytest.raises(ValueError, match="has category 3 where the prior has 3"):
            objective(Categorical(nn.Linear(6, 4), 4), CategoricalViews(3))(x, x)
