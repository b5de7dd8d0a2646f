"""KDE: against naive kernels, NT-Xent and closed forms; its memory; what exploits it."""

import math

import numpy
import pytest
import torch
import torch.nn.functional as F

from pyro_ldm.distributions import VonMisesFisher
from pyro_ldm.entropy import KDE, GaussianKernel, Pooled, VonMisesFisherKernel


def on_sphere(*shape):
    return F.normalize(torch.randn(*shape), dim=-1)


@pytest.mark.parametrize("include_self", [False, True])
def test_against_naive_gaussian_kernels(include_self):
    z, h = torch.randn(20, 3), 0.6
    naive = []
    for i in range(20):
        others = [j for j in range(20) if include_self or j != i]
        kernels = [
            math.exp(-float((z[i] - z[j]).square().sum()) / (2 * h * h)) / (2 * math.pi * h * h) ** 1.5 for j in others
        ]
        naive.append(math.log(sum(kernels) / len(kernels)))
    scores = KDE(GaussianKernel(h, whiten=False), include_self=include_self)(z)
    torch.testing.assert_close(scores, torch.tensor(naive))


def test_whitening_is_the_naive_estimate_in_whitened_coordinates():
    z = torch.randn(40, 3) @ torch.randn(3, 3)
    values, vectors = numpy.linalg.eigh(numpy.cov(z.numpy().T))
    white = torch.from_numpy((z.numpy() - z.numpy().mean(0)) @ vectors / numpy.sqrt(values))
    scott = 40 ** (-1 / 7)
    expected = KDE(GaussianKernel(scott, whiten=False))(white) - 0.5 * float(numpy.log(values).sum())
    torch.testing.assert_close(KDE()(z), expected)


def test_pooled_von_mises_fisher_kernels_are_nt_xent_s_denominator():
    """NT-Xent written out: 2N rows, each against the 2N - 1 others; value and gradient."""
    raw = torch.randn(2, 16, 5, requires_grad=True)
    views, tau = F.normalize(raw, dim=-1), 0.2
    rows = views.flatten(0, 1)
    logits = rows @ rows.T / tau
    logits = logits.masked_fill(torch.eye(32, dtype=torch.bool), -torch.inf)
    positives = (views[0] * views[1]).sum(-1).repeat(2) / tau
    nt_xent = (logits.logsumexp(-1) - positives).mean()

    estimate = Pooled(KDE(VonMisesFisherKernel(1 / tau)))(views.transpose(0, 1))  # (N,), summed over views
    kernel = VonMisesFisher(torch.tensor([1.0, 0, 0, 0, 0]), torch.tensor(1 / tau))
    log_normalizer = kernel.log_prob(torch.tensor([0.0, 1, 0, 0, 0]))  # at a right angle, exp(kappa z.y) is 1
    alignment = (views[0] * views[1]).sum(-1).mean() * 2 / tau
    loss = estimate.mean() - alignment
    torch.testing.assert_close(loss, 2 * nt_xent - 2 * math.log(31) + 2 * log_normalizer)
    torch.testing.assert_close(torch.autograd.grad(loss, raw, retain_graph=True), torch.autograd.grad(2 * nt_xent, raw))


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_uniform_on_the_sphere(dim):
    true = math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)
    measured = -KDE(VonMisesFisherKernel(5.0))(on_sphere(4000, dim)).mean()
    assert float(measured) == pytest.approx(true, abs=0.03)


def test_von_mises_fisher_rows_against_their_entropy():
    source = VonMisesFisher(torch.tensor([1.0, 0.0, 0.0]), torch.tensor(4.0))
    measured = -KDE(VonMisesFisherKernel(60.0))(source.sample((4000,))).mean()
    assert float(measured) == pytest.approx(float(source.entropy()), abs=0.08)


def test_rows_off_the_sphere_are_refused():
    with pytest.raises(ValueError, match="unit norm"):
        KDE(VonMisesFisherKernel(5.0))(torch.randn(10, 3))


def test_leave_one_out_is_above_and_include_self_below():
    """Expected entropies sandwich: a row's own kernel can only raise its density."""
    z = torch.randn(200, 4)
    for kernel in (GaussianKernel(), GaussianKernel(0.3), GaussianKernel(0.3, whiten=False)):
        assert -KDE(kernel)(z).mean() > -KDE(kernel, include_self=True)(z).mean()


def test_fitted_bandwidth_is_the_leave_one_out_optimum():
    z = torch.randn(300, 3)
    best = float(KDE(GaussianKernel.fitted(z))(z).mean())
    grid = [float(KDE(GaussianKernel(h))(z).mean()) for h in numpy.linspace(0.1, 1.5, 60)]
    assert best >= max(grid) - 1e-6


def test_a_narrow_kernel_can_be_exploited():
    """Leave-one-out overestimates without bound as the kernel narrows."""
    z = torch.randn(200, 4)
    entropies = [float(-KDE(GaussianKernel(h, whiten=False))(z).mean()) for h in (0.3, 0.03, 0.003)]
    assert entropies[1] > entropies[0] + 50 and entropies[2] > entropies[1] + 5000


class TestMemory:
    def test_past_rows_are_support(self):
        past, z = torch.randn(30, 3), torch.randn(20, 3)
        estimator = KDE(GaussianKernel(0.6, whiten=False), memory=100)
        estimator(past.requires_grad_())
        scores = estimator(z)
        both = torch.cat([z, past.detach()])
        torch.testing.assert_close(scores, KDE(GaussianKernel(0.6, whiten=False))(both)[:20])
        assert not scores.requires_grad

    def test_keeps_the_newest(self):
        estimator = KDE(memory=25)
        batches = [torch.randn(20, 2) for _ in range(3)]
        for z in batches:
            estimator(z)
        assert torch.equal(estimator.bank, torch.cat(batches[::-1])[:25])

    def test_is_left_alone_in_evaluation_and_without_gradients(self):
        estimator = KDE(memory=25)
        estimator(torch.randn(20, 2))
        before = estimator.bank.clone()
        estimator.eval()(torch.randn(20, 2))
        with torch.no_grad():
            estimator.train()(torch.randn(20, 2))
        assert torch.equal(estimator.bank, before)

    def test_goes_into_a_state(self):
        estimator, other = KDE(memory=25), KDE(memory=25)
        estimator(torch.randn(20, 2))
        other.load_state_dict(estimator.state_dict())
        assert torch.equal(other.bank, estimator.bank)


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: GaussianKernel(0.0), "positive"),
        (lambda: GaussianKernel(whiten=False), "needs a bandwidth"),
        (lambda: VonMisesFisherKernel(-1.0), "positive"),
        (lambda: KDE(memory=-1), "memory"),
    ],
)
def test_bad_settings(make, words):
    with pytest.raises(ValueError, match=words):
        make()
