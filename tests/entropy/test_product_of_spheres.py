"""Two views on the sphere under Joint: densities with respect to the product of their surfaces, in nats."""

import pytest
import torch
import torch.nn.functional as F

import pyro_ldm as ldm
from pyro_ldm.entropy import KDE, KNN, GaussianKernel, Joint, LogDet, Pooled, Separate, Sphere, VonMisesFisherKernel


def pair(num, dim, concentration):
    """Views (N, 2, D), and their joint entropy: that of the first, uniform one, and of the second given the first."""
    first = F.normalize(torch.randn(num, dim), dim=-1)
    second = ldm.distributions.VonMisesFisher(first, torch.tensor(concentration))
    uniform = ldm.distributions.VonMisesFisher(first[0], torch.tensor(0.0))
    return torch.stack([first, second.sample()], 1), float(uniform.entropy() + second.entropy()[0])


@pytest.mark.parametrize("concentration", [0.0, 5.0])
@pytest.mark.parametrize("dim", [2, 3])
def test_joint_entropy(dim, concentration):
    z, expected = pair(4000, dim, concentration)
    for entropy, tolerance in (
        (KNN(space=Sphere(num_spheres=2)), 0.1),
        (KDE(VonMisesFisherKernel(40.0, num_spheres=2)), 0.25),
    ):
        assert float(-Joint(entropy)(z).mean()) == pytest.approx(expected, abs=tolerance)


def test_kernel_is_the_product_of_the_views_kernels():
    z, _ = pair(20, 4, 3.0)
    single = VonMisesFisherKernel(3.0)
    log_kernel = torch.zeros(20, 20)
    for view in z.unbind(1):
        q, k, scale, _, constant = single(view, view)
        log_kernel = log_kernel + scale * q @ k.T + constant
    log_kernel.fill_diagonal_(-torch.inf)
    expected = log_kernel.logsumexp(-1) - torch.tensor(19.0).log()
    torch.testing.assert_close(Joint(KDE(VonMisesFisherKernel(3.0, num_spheres=2)))(z), expected)


def test_neighbours_are_by_the_most_distant_view():
    z, _ = pair(30, 3, 3.0)
    distance = torch.stack([torch.cdist(view, view) for view in z.unbind(1)]).amax(0)
    k = 2
    chord = distance.sort(-1).values[:, k]
    height = chord.square() / 2  # of the cap: its area is 2 pi times that
    expected = torch.digamma(torch.tensor(float(k))) - torch.digamma(torch.tensor(30.0))
    expected = expected - 2 * (2 * torch.pi * height).log()
    torch.testing.assert_close(Joint(KNN(k, space=Sphere(num_spheres=2)))(z), expected)


def test_gradient():
    z = pair(8, 3, 3.0)[0].flatten(1)
    for entropy in (KNN(2, space=Sphere(num_spheres=2)), KDE(VonMisesFisherKernel(3.0, num_spheres=2))):
        unit = lambda x, e=entropy: e(F.normalize(x.unflatten(-1, (2, 3)), dim=-1).flatten(1))  # noqa: E731
        assert torch.autograd.gradcheck(unit, z.clone().requires_grad_())


@pytest.mark.parametrize("entropy", [KNN(space=Sphere()), KDE(VonMisesFisherKernel(3.0))])
def test_joint_of_single_spheres_is_refused(entropy):
    with pytest.raises(ValueError, match="under Joint say num_spheres=2"):
        Joint(entropy)(pair(20, 3, 3.0)[0])


def test_rows_that_do_not_divide():
    with pytest.raises(ValueError, match="rows of 5 numbers are not 2 vectors"):
        KNN(space=Sphere(num_spheres=2))(torch.randn(20, 5))
    with pytest.raises(ValueError, match="num_spheres must be at least 1"):
        Sphere(num_spheres=0)


@pytest.mark.filterwarnings("error")
@pytest.mark.parametrize(
    ("entropy", "expected"),
    [
        (Joint(KNN(space=Sphere(num_spheres=2))), "KL"),
        (Pooled(KDE(VonMisesFisherKernel(3.0))), "KL - I"),
        (Separate(LogDet()), "score"),
        (Joint(KNN()), "score"),
        (Joint(KDE(GaussianKernel())), "score"),
    ],
)
def test_what_the_objective_is_under_a_prior_on_the_sphere(entropy, expected):
    encoder = torch.nn.Sequential(torch.nn.Linear(5, 3), ldm.encoders.Normalize())
    x = torch.randn(2, 50, 5)
    objective = ldm.Objective(ldm.priors.VonMisesFisherViews(3), ldm.guides.Views(encoder, entropy))
    assert objective.terms(*x).divergence == expected


def test_an_estimate_on_the_sphere_under_a_prior_on_the_plane_is_a_score():
    encoder = torch.nn.Sequential(torch.nn.Linear(5, 3), ldm.encoders.Normalize())
    guide = ldm.guides.Deterministic(encoder, KNN(space=Sphere()))
    assert ldm.Objective(ldm.priors.Gaussian(3), guide).terms(torch.randn(50, 5)).divergence == "score"
