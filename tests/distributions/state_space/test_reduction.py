"""Odd-even reduction against the dense matrix."""

import pytest
import torch

from pyro_ldm.distributions.state_space import reduction
from pyro_ldm.distributions.state_space.reduction import Chain, solve


def chain(length, size, batch=(), series=(3,)):
    """Random blocks, positive definite together, as each block outweighs those beside it."""
    upper = torch.randn(length - 1, *batch, size, size)
    factor = torch.randn(length, *batch, size, size)
    weight = torch.zeros(length, *batch)
    weight[:-1] += torch.linalg.matrix_norm(upper, 2)
    weight[1:] += torch.linalg.matrix_norm(upper, 2)
    return Chain(
        factor @ factor.mT + weight[..., None, None] * torch.eye(size), upper, torch.randn(length, *series, size)
    )


def dense(chain):
    """One matrix (*batch, n S, n S)."""
    length, size = len(chain.diagonal), chain.diagonal.shape[-1]
    matrix = torch.zeros(*chain.diagonal.shape[1:-2], length * size, length * size)
    places = [slice(k * size, (k + 1) * size) for k in range(length)]
    for k, place in enumerate(places):
        matrix[..., place, place] = chain.diagonal[k]
        if k + 1 < length:
            matrix[..., place, places[k + 1]] = chain.upper[k]
            matrix[..., places[k + 1], place] = chain.upper[k].mT
    return matrix, places


@pytest.mark.parametrize("limit", [0, 200, reduction.DENSE["cpu"]])
@pytest.mark.parametrize("batch", [(), (1,), (3,)])
@pytest.mark.parametrize("size", [1, 2, 3])
@pytest.mark.parametrize("length", [1, 2, 3, 4, 5, 8, 9, 33])
def test_moments(length, size, batch, limit, monkeypatch):
    monkeypatch.setitem(reduction.DENSE, "cpu", limit)
    given = chain(length, size, batch, () if batch == () else (3,))
    found, (matrix, places) = solve(given), dense(given)
    inverse = torch.linalg.inv(matrix)
    flat = given.information.movedim(0, -2).flatten(-2)
    expected = (inverse @ flat.unsqueeze(-1)).squeeze(-1).unflatten(-1, (length, size)).movedim(-2, 0)
    assert found.good
    torch.testing.assert_close(found.loc, expected)
    torch.testing.assert_close(found.log_det, torch.logdet(matrix))
    torch.testing.assert_close(found.covariance, torch.stack([inverse[..., p, p] for p in places]))
    for k in range(length - 1):
        torch.testing.assert_close(found.lag[k], inverse[..., places[k], places[k + 1]])


@pytest.mark.parametrize("limit", [0, reduction.DENSE["cpu"]])
@pytest.mark.parametrize("place", [0, 3, 4, 8])
@pytest.mark.parametrize("entry", [-1.0, 0.0, torch.nan])
def test_what_is_not_positive_definite_is_refused(entry, place, limit, monkeypatch):
    monkeypatch.setitem(reduction.DENSE, "cpu", limit)
    given = chain(9, 2)
    given.diagonal[place, 1, 1] = entry
    assert not solve(given).good


@pytest.mark.parametrize("limit", [0, reduction.DENSE["cpu"]])
@pytest.mark.parametrize("place", [0, 3])
def test_so_is_a_block_whose_inverse_looks_as_if_it_were(place, limit, monkeypatch):
    monkeypatch.setitem(reduction.DENSE, "cpu", limit)
    given = chain(9, 2)
    given.diagonal[place] = torch.tensor([[-1.0, 2.0], [2.0, -1.0]])  # the inverse's diagonal is positive
    assert not solve(given).good


@pytest.mark.parametrize("limit", [0, reduction.DENSE["cpu"]])
def test_what_loses_digits_is_refused(limit, monkeypatch):
    monkeypatch.setitem(reduction.DENSE, "cpu", limit)
    for twist, refused in ((1e-3, False), (1e-6, True)):  # two dims that are nearly one
        given = chain(9, 2)
        given.diagonal[3] = 1e8 * torch.tensor([[1.0, 1 - twist], [1 - twist, 1.0]]) + given.diagonal[3]
        assert bool(solve(given).good) != refused
