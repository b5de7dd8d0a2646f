"""Algebra of many small matrices, whose cost is the calls: closed forms up to 2 x 2, LAPACK above."""

import torch
from torch import Tensor


def transpose(matrix: Tensor) -> Tensor:
    """Of the last two dims."""
    return matrix.transpose(-1, -2)


def symmetric(matrix: Tensor) -> Tensor:
    """The symmetric part: rounding leaves another."""
    return 0.5 * (matrix + matrix.transpose(-1, -2))


def inverse(matrix: Tensor) -> Tensor:
    """Inverse of each matrix (..., n, n).

    Example:
        >>> inverse(torch.tensor([[4.0, 0.0], [0.0, 2.0]])).diagonal()
        tensor([0.2500, 0.5000])
    """
    size = matrix.shape[-1]
    if size == 1:
        return matrix.reciprocal()
    if size == 2:
        adjugate, det = _adjugate(matrix)
        return adjugate / det
    return torch.linalg.inv_ex(matrix).inverse


def inverse_and_log_det(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Inverse (..., n, n) and log-determinant (...) of positive definite matrices; NaN or inf of others of n > 2."""
    size = matrix.shape[-1]
    if size == 1:
        return matrix.reciprocal(), matrix[..., 0, 0].log()
    if size == 2:
        adjugate, det = _adjugate(matrix)
        return adjugate / det, det[..., 0, 0].log()
    factor, info = torch.linalg.cholesky_ex(matrix)
    log_det = 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
    return torch.cholesky_inverse(factor), torch.where(info == 0, log_det, torch.nan)


def rows(vectors: Tensor, matrix: Tensor) -> Tensor:
    """Each row vector (T, *batch, n) times its matrix (T or 1, *batch or ones, n, m)."""
    shape = matrix.shape
    if shape[:-2].numel() == 1:
        return vectors @ matrix.reshape(shape[-2:])
    if shape[:-2].numel() == shape[0]:  # one for all series: a few large products in place of many small ones
        flat = vectors.reshape(len(vectors), -1, vectors.shape[-1])
        matrix = matrix.reshape(shape[0], *shape[-2:])
        return (flat @ matrix).reshape(*vectors.shape[:-1], shape[-1])
    return (vectors.unsqueeze(-2) @ matrix).squeeze(-2)


def quadratic_form(vectors: Tensor, matrix: Tensor) -> Tensor:
    """The quadratic form of each row vector (..., n) in its matrix (..., n, n)."""
    return (rows(vectors, matrix) * vectors).sum(-1)


def _adjugate(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Adjugate and determinant (..., 1, 1) of 2 x 2 matrices."""
    a, b, c, d = matrix.flatten(-2).unbind(-1)
    return torch.stack([d, -b, -c, a], -1).unflatten(-1, (2, 2)), (a * d - b * c)[..., None, None]
