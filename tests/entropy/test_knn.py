"""KNN: against a naive search, on the plane and on the sphere; ties."""

import math

import pytest
import torch
import torch.nn.functional as F
from scipy.spatial import cKDTree
from scipy.special import digamma, gammaln

from pyro_ldm.distributions import VonMisesFisher
from pyro_ldm.entropy import KNN, Plane, Sphere


@pytest.mark.parametrize("k", [1, 3, 7])
def test_against_a_naive_search(k):
    z = torch.randn(60, 3)
    distance = torch.from_numpy(cKDTree(z.numpy()).query(z.numpy(), k + 1)[0][:, -1])
    log_volume = 3 * distance.log() + 1.5 * math.log(math.pi) - gammaln(2.5)
    torch.testing.assert_close(KNN(k, space=Plane(whiten=False))(z), digamma(k) - digamma(60) - log_volume)


def test_whitening_is_the_estimate_in_whitened_coordinates():
    z = torch.randn(60, 3) @ torch.randn(3, 3)
    root = torch.linalg.cholesky(torch.linalg.inv(z.T.cov()))
    expected = KNN(space=Plane(whiten=False))(z @ root) - 0.5 * torch.logdet(z.T.cov())
    torch.testing.assert_close(KNN()(z), expected)


@pytest.mark.parametrize("dim", [2, 3, 8])
def test_uniform_on_the_sphere(dim):
    true = math.log(2) + dim / 2 * math.log(math.pi) - math.lgamma(dim / 2)
    z = F.normalize(torch.randn(4000, dim), dim=-1)
    assert float(-KNN(space=Sphere())(z).mean()) == pytest.approx(true, abs=0.05)


@pytest.mark.parametrize("concentration", [1.0, 20.0])
def test_von_mises_fisher_rows_against_their_entropy(concentration):
    source = VonMisesFisher(torch.tensor([1.0, 0.0, 0.0, 0.0]), torch.tensor(concentration))
    measured = -KNN(space=Sphere())(source.sample((4000,))).mean()
    assert float(measured) == pytest.approx(float(source.entropy()), abs=0.06)


def test_gradient_on_the_sphere():
    z = torch.randn(12, 3, requires_grad=True)
    assert torch.autograd.gradcheck(lambda z: KNN(2, space=Sphere())(F.normalize(z, dim=-1)), z)


def test_opposite_points_are_finite():
    z = torch.tensor([[1.0, 0.0], [-1.0, 0.0]], requires_grad=True)
    scores = KNN(1, space=Sphere())(z)
    (grad,) = torch.autograd.grad(scores.sum(), z)
    assert torch.isfinite(scores).all() and torch.isfinite(grad).all()


def test_uniform_in_a_box_is_biased_by_its_edge_only():
    z = torch.rand(4000, 2)
    assert float(-KNN()(z).mean()) == pytest.approx(0.0, abs=0.06)


def test_ties_warn_above_five_per_cent():
    z = torch.randn(100, 2)
    few, many = z.clone(), z.clone()
    few[:4], many[:8] = z[50], z[50]
    KNN(3)(few)
    with pytest.warns(UserWarning, match="9% of the rows repeat"):
        KNN(3)(many)


def test_too_many_neighbours():
    with pytest.raises(ValueError, match="more rows than neighbours"):
        KNN(9)(torch.randn(9, 2))
    with pytest.raises(ValueError, match="at least 1"):
        KNN(0)
    with pytest.raises(ValueError, match="unit norm"):
        KNN(space=Sphere())(torch.randn(9, 2))
