r"""Block tridiagonal systems by odd-even reduction: every second block is eliminated, all of them at once.

.. math:: \Lambda'_{k,k} = \Lambda_{k,k} - \sum_{i = k \pm 1} \Lambda_{k,i} \Lambda_{i,i}^{-1} \Lambda_{i,k}, \qquad
    \Lambda'_{k,k+2} = - \Lambda_{k,k+1} \Lambda_{k+1,k+1}^{-1} \Lambda_{k+1,k+2}

Half as many blocks are left, and again a tridiagonal system; the last few are one dense matrix.
"""

from typing import NamedTuple

import torch
from torch import Tensor

from pyro_ldm.distributions.state_space.scan import interleave
from pyro_ldm.distributions.state_space.small import inverse_and_log_det, rows, symmetric, transpose

# Multiplications of a dense factor that cost less than the calls of a reduction, by measurement.
DENSE = {"cpu": 1.2e6, "cuda": 2e7}
SMALLEST = 1e-4  # of a pivot, in units of the diagonal entry that it is left of: digits are lost by that factor


class Chain(NamedTuple):
    r"""Gaussian vectors, each tied to the next, by precision.

    Attributes:
        diagonal: Blocks (n, \*batch or ones, S, S), float64.
        upper: Blocks beside it, of each vector and the next (n - 1, \*batch or ones, S, S).
        information: Precision times mean (n, \*batch, S).
    """

    diagonal: Tensor
    upper: Tensor
    information: Tensor


class Solved(NamedTuple):
    r"""Moments of a chain.

    Attributes:
        loc: Means (n, \*batch, S).
        covariance: Covariances (n, \*batch or ones, S, S).
        lag: Covariances of each vector with the next (n - 1, \*batch or ones, S, S).
        log_det: Of the precision matrix (\*batch or ones).
        good: Whether the matrix is positive definite, and no digits have been lost.
    """

    loc: Tensor
    covariance: Tensor
    lag: Tensor
    log_det: Tensor
    good: Tensor


def solve(chain: Chain) -> Solved:
    """Means, covariances and log-determinant; not to be used unless ``good``.

    Args:
        chain: The vectors.

    References:
        Heller (1976), Some aspects of the cyclic reduction algorithm for block tridiagonal linear systems,
        https://doi.org/10.1137/0713042.
    """
    solved = _reduce(chain, SMALLEST * chain.diagonal.diagonal(dim1=-2, dim2=-1))
    return solved._replace(good=solved.good & torch.isfinite(solved.log_det).all())


def _reduce(chain: Chain, least: Tensor) -> Solved:
    diagonal, upper, information = chain
    length, size = len(diagonal), diagonal.shape[-1]
    if length < 3 or diagonal.shape[1:-2].numel() * (length * size) ** 3 <= DENSE[diagonal.device.type]:
        return _dense(chain, least)
    odd = information[1::2]
    inverse, log_det = inverse_and_log_det(diagonal[1::2])
    before, after = upper[::2], upper[1::2]  # of each odd vector with the even ones beside it; the last may have one
    ends = len(after)
    from_before, from_after = before @ inverse, transpose(after) @ inverse[:ends]
    even, rest = diagonal[::2].clone(), information[::2].clone()
    even[: len(before)] -= from_before @ transpose(before)
    even[1 : 1 + ends] -= from_after @ after
    rest[: len(before)] -= rows(odd, transpose(from_before))
    rest[1 : 1 + ends] -= rows(odd[:ends], transpose(from_after))
    left = _reduce(Chain(even, -from_before[:ends] @ after, rest), least[::2])
    loc = rows(odd, inverse) - rows(left.loc[: len(before)], from_before)
    loc[:ends] -= rows(left.loc[1 : 1 + ends], from_after)
    with_before = -left.covariance[: len(before)] @ from_before
    with_before[:ends] -= left.lag @ from_after
    with_after = -transpose(from_before[:ends]) @ left.lag - transpose(from_after) @ left.covariance[1 : 1 + ends]
    covariance = inverse - transpose(from_before) @ with_before
    covariance[:ends] -= with_after @ from_after
    return Solved(
        interleave(left.loc, loc),
        interleave(left.covariance, symmetric(covariance)),
        interleave(with_before, with_after),
        log_det.sum(0) + left.log_det,
        left.good & (inverse.diagonal(dim1=-2, dim2=-1).reciprocal() >= least[1::2]).all(),
    )


def _dense(chain: Chain, least: Tensor) -> Solved:
    """All blocks in one matrix."""
    diagonal, upper, information = chain
    (length, *batch), size = diagonal.shape[:-2], diagonal.shape[-1]
    matrix = diagonal.new_zeros(*batch, length, size, length, size)
    matrix.diagonal(dim1=-4, dim2=-2).copy_(diagonal.movedim(0, -1))
    if length > 1:  # the lower triangle, which alone is read
        matrix.diagonal(-1, dim1=-4, dim2=-2).copy_(transpose(upper).movedim(0, -1))
    factor, info = torch.linalg.cholesky_ex(matrix.flatten(-2).flatten(-3, -2))
    pivots = factor.diagonal(dim1=-2, dim2=-1)
    good = (info == 0).all() & (pivots.square() >= least.movedim(0, -2).flatten(-2)).all()
    inverse = torch.cholesky_inverse(factor).unflatten(-1, (length, size)).unflatten(-3, (length, size))
    covariance, lag = (inverse.diagonal(offset, dim1=-4, dim2=-2).movedim(-1, 0) for offset in (0, 1))
    return Solved(_solutions(factor, information), covariance, lag, 2 * pivots.log().sum(-1), good)


def _solutions(factor: Tensor, information: Tensor) -> Tensor:
    """Means (n, *batch, S): many right-hand sides of one matrix where it is shared."""
    length, size = len(information), information.shape[-1]
    if factor.shape[:-2].numel() == 1:
        columns = transpose(information.reshape(length, -1, size)).flatten(0, 1)
        solutions = torch.cholesky_solve(columns, factor.reshape(factor.shape[-2:]))
        return transpose(solutions.unflatten(0, (length, size))).reshape(information.shape)
    columns = information.movedim(0, -2).flatten(-2).unsqueeze(-1)
    return torch.cholesky_solve(columns, factor).unflatten(-2, (length, size)).squeeze(-1).movedim(-2, 0)
