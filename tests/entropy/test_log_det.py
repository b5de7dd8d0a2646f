"""LogDet: exact bias correction, shrinkage against scikit-learn, both ways round, and VICReg's expansion."""

import math

import pytest
import torch
from sklearn.covariance import ledoit_wolf_shrinkage

from pyro_ldm.entropy import LogDet


def gaussian_entropy(covariance):
    return 0.5 * float(torch.logdet(2 * math.pi * math.e * covariance))


def test_entropy_is_that_of_the_fitted_gaussian():
    z = torch.randn(50, 4) @ torch.randn(4, 4)
    assert float(-LogDet(correct=False)(z).mean()) == pytest.approx(gaussian_entropy(z.T.cov()))


def test_row_values_are_the_gaussian_log_density():
    """Up to the constant between the unbiased and the maximum-likelihood covariance."""
    z = torch.randn(50, 4)
    gaussian = torch.distributions.MultivariateNormal(z.mean(0), z.T.cov(correction=0)).log_prob(z)
    values = LogDet(correct=False)(z)
    torch.testing.assert_close(values - values.mean(), gaussian - gaussian.mean())


@pytest.mark.parametrize(("n", "dim"), [(10, 8), (40, 8), (256, 64)])
def test_correction_removes_the_bias(n, dim):
    """Mean of 400 batches of N(0, I): without the correction it is off by nats, with it by less than its noise."""
    z = torch.randn(400, n, dim)
    true = gaussian_entropy(torch.eye(dim))
    raw, corrected = (-LogDet(correct=c)(z).mean() - true for c in (False, True))
    noise = 4 * float(LogDet()(z).mean(-1).std()) / 20
    assert abs(float(corrected)) < max(noise, 0.02) < abs(float(raw))


def test_a_known_value_of_the_correction():
    """D = 1, N = 3: -1/2 [psi(1) - log(1)] = gamma / 2 = 0.288608 (Euler's constant 0.577216)."""
    z = torch.randn(3, 1)
    difference = -(LogDet()(z) - LogDet(correct=False)(z)).mean()
    assert float(difference) == pytest.approx(0.5772156649 / 2)


def test_upper_bound_for_heavy_tails():
    """The entropy of Laplace(0, 1) is 1 + log 2 = 1.693; a Gaussian of variance 2 has 1.766."""
    z = torch.distributions.Laplace(0.0, 1.0).sample((200_000, 1))
    assert float(-LogDet()(z).mean()) == pytest.approx(0.5 * math.log(2 * math.pi * math.e * 2), abs=0.01)


class TestShrinkage:
    def test_ledoit_wolf_weight_is_scikit_learn_s(self):
        z = torch.randn(30, 5) @ torch.randn(5, 5)
        weight = ledoit_wolf_shrinkage(z.numpy())
        torch.testing.assert_close(LogDet(shrinkage="ledoit-wolf")(z), LogDet(shrinkage=weight)(z))

    def test_oas_weight_is_the_published_one(self):
        """Chen et al. (2010), eq. 23, written out."""
        z = torch.randn(12, 5)
        n, p, s = 12, 5, z.T.cov(correction=0)
        trace, square = s.trace(), (s @ s).trace()
        weight = ((1 - 2 / p) * square + trace**2) / ((n + 1 - 2 / p) * (square - trace**2 / p))
        torch.testing.assert_close(LogDet(shrinkage="oas")(z), LogDet(shrinkage=min(1.0, float(weight)))(z))

    @pytest.mark.parametrize("n", [4, 9, 30])
    def test_either_way_round_is_the_dense_formula(self, n):
        z = torch.randn(n, 9, requires_grad=True)
        s = z.T.cov()
        shrunk = 0.7 * s + 0.3 * s.trace() / 9 * torch.eye(9)
        dense = 0.5 * torch.logdet(2 * math.pi * math.e * shrunk)
        value = -LogDet(shrinkage=0.3)(z)
        torch.testing.assert_close(value.mean(), dense)
        torch.testing.assert_close(torch.autograd.grad(value.mean(), z), torch.autograd.grad(dense, z))
        centered = (z - z.mean(0)).detach()
        squared = (centered @ torch.linalg.inv(shrunk.detach()) * centered).sum(-1)
        torch.testing.assert_close(value.detach() - value.detach().mean(), 0.5 * (squared - squared.mean()))


class TestSecondOrder:
    def test_is_the_taylor_expansion_about_the_identity(self):
        white = torch.linalg.qr(torch.randn(400, 3))[0] * math.sqrt(399)
        white = white - white.mean(0)
        for size in (1e-2, 1e-3):
            z = (
                white
                @ torch.linalg.cholesky(torch.linalg.inv(white.T.cov()))
                @ (torch.eye(3) + size * torch.randn(3, 3))
            )
            exact, expanded = -LogDet(correct=False)(z).mean(), -LogDet(order=2)(z).mean()
            assert abs(float(exact - expanded)) < 30 * size**3

    def test_its_off_diagonal_part_is_vicreg_s_covariance_penalty(self):
        """VICReg: c(Z) = sum over i != j of C_ij^2 / D. Here it enters with weight D / 4."""
        z = torch.randn(50, 4, requires_grad=True)
        c = z.T.cov()
        off_diagonal = (c - torch.diag(c.diagonal())).square().sum() / 4
        variance = (c.diagonal() - 1) - 0.5 * (c.diagonal() - 1).square()
        expected = 2 * math.log(2 * math.pi * math.e) + 0.5 * variance.sum() - 0.25 * 4 * off_diagonal
        value = -LogDet(order=2)(z).mean()
        torch.testing.assert_close(value, expected)
        torch.testing.assert_close(torch.autograd.grad(value, z), torch.autograd.grad(expected, z))

    def test_needs_no_more_rows_than_dims(self):
        assert torch.isfinite(LogDet(order=2)(torch.randn(4, 9))).all()


@pytest.mark.parametrize(
    ("settings", "words"),
    [
        ({"order": 3}, "order must be"),
        ({"shrinkage": "lw"}, "shrinkage must be"),
        ({"shrinkage": 0.0}, "must lie in"),
        ({"shrinkage": 0.5, "order": 2}, "exclude each other"),
    ],
)
def test_bad_settings(settings, words):
    with pytest.raises(ValueError, match=words):
        LogDet(**settings)
