"""Round coordinates: the curvature at a mode, and nothing where there is none."""

import torch

from pyro_ldm.posterior.coordinates import coordinates


def correlated(parameters):
    a, b = parameters["a"], parameters["b"].sum()
    return 0.5 * (100 * (a - 1) ** 2 + 0.01 * (a + b) ** 2)


def test_a_gaussian_becomes_a_standard_one():
    space = coordinates(correlated, {"a": torch.tensor(5.0), "b": torch.tensor([3.0])})
    hessian = torch.tensor([[100.01, 0.01], [0.01, 0.01]])  # by hand
    assert torch.allclose(space.factor.T @ hessian @ space.factor, torch.eye(2), atol=1e-8)
    assert torch.allclose(space.centre, torch.tensor([1.0, -1.0]), atol=1e-3)
    u = torch.tensor([0.3, -2.0])
    found = space.parameters(u)
    assert found["a"].shape == () and found["b"].shape == (1,)
    assert torch.isclose(correlated(found), 0.5 * (u**2).sum(), atol=1e-4)
    assert space.begin().shape == (2,) and space.begin().abs().sum() > 0


def test_a_slope_and_a_saddle_are_left_as_they_are():
    start = {"a": torch.tensor(0.5), "b": torch.tensor([0.25])}
    slope, saddle = (lambda p: p["a"] + p["b"].sum() ** 2), (lambda p: p["b"].sum() ** 2 - 0.0 * p["a"])
    for potential in (slope, saddle):
        space = coordinates(potential, start)
        assert space.factor is None and space.centre.tolist() == [0.5, 0.25]
        assert space.parameters(space.begin())["b"].tolist() == [0.25]


def test_kinks_whose_curvature_says_nothing_are_left_as_they_are():
    # The location of a Laplace: a kink at each datum, no curvature between them, and a wide prior's at the mode.
    data = torch.linspace(-1, 1, 201)

    def energy(parameters):
        return (data - parameters["a"]).abs().sum() + 0.5 * (parameters["a"] / 10) ** 2

    assert coordinates(energy, {"a": torch.tensor(0.3)}).factor is None


def test_an_energy_that_fails_is_left_as_it_is():
    def fragile(parameters):
        if float(parameters["a"].detach()) > 1:
            raise ValueError("outside the support")
        return -10 * parameters["a"]

    assert coordinates(fragile, {"a": torch.tensor(0.0)}).factor is None
