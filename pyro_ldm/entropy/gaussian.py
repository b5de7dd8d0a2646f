"""Covariance, its Cholesky factor, and whitening of a batch, with gradients, in float32 or better."""

import torch
from torch import Tensor
from torch.autograd.function import once_differentiable


def covariance(centered: Tensor) -> Tensor:
    """Unbiased covariance (..., D, D) of centred rows (..., N, D)."""
    return self_product(centered) / (centered.shape[-2] - 1)


def self_product(x: Tensor) -> Tensor:
    """x'x (..., D, D) of x (..., N, D): with half the backward of a product that does not know itself symmetric."""
    return _SelfProduct.apply(x)


class _SelfProduct(torch.autograd.Function):
    @staticmethod
    def forward(ctx, x):
        ctx.save_for_backward(x)
        return x.mT @ x

    @staticmethod
    def backward(ctx, grad):
        (x,) = ctx.saved_tensors
        return x @ (grad + grad.mT)


def log_det_and_inverse(matrix: Tensor) -> tuple[Tensor, Tensor]:
    """Log-determinant (...) and inverse (..., D, D) of a covariance, by Cholesky; the gradient of one is the other."""
    return _LogDetAndInverse.apply(matrix)


class _LogDetAndInverse(torch.autograd.Function):
    @staticmethod
    def forward(ctx, matrix):
        ctx.set_materialize_grads(False)  # often only the log-determinant is wanted, and then nothing is to be done
        factor = cholesky(matrix)
        inverse = torch.cholesky_inverse(factor)
        ctx.save_for_backward(inverse)
        return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1), inverse

    @staticmethod
    def backward(ctx, grad_log_det, grad_inverse):
        (inverse,) = ctx.saved_tensors
        grad = None if grad_log_det is None else grad_log_det[..., None, None] * inverse
        if grad_inverse is None:
            return grad
        through_inverse = inverse @ grad_inverse @ inverse
        return -through_inverse if grad is None else grad - through_inverse


def log_det_and_distances(centered: Tensor) -> tuple[Tensor, Tensor]:
    """Of the covariance S of centred rows X (..., N, D): log-determinant (...) and x' inv(S) x of each row (..., N)."""
    return _LogDetAndDistances.apply(centered)


class _LogDetAndDistances(torch.autograd.Function):
    """X inv(S), which the distances need, is the log-determinant's gradient too: no product in its backward."""

    @staticmethod
    def forward(ctx, centered):
        ctx.set_materialize_grads(False)
        factor = cholesky(covariance(centered))
        scaled = centered @ torch.cholesky_inverse(factor)
        ctx.save_for_backward(centered, scaled)
        return 2 * factor.diagonal(dim1=-2, dim2=-1).log().sum(-1), (scaled * centered).sum(-1)

    @staticmethod
    @once_differentiable
    def backward(ctx, grad_log_det, grad_distances):
        centered, scaled = ctx.saved_tensors
        grad, half_free = torch.zeros_like(centered), (centered.shape[-2] - 1) / 2
        if grad_log_det is not None:
            grad = scaled * (grad_log_det[..., None, None] / half_free)
        if grad_distances is not None:
            weighted = grad_distances.unsqueeze(-1) * scaled
            grad = grad + 2 * weighted - centered @ (weighted.mT @ scaled) / half_free
        return grad


def less_their_mean(values: Tensor) -> Tensor:
    """Values (..., N), less their mean; where all have one weight in a loss no gradient goes back, not even zeros."""
    return _LessTheirMean.apply(values)


class _LessTheirMean(torch.autograd.Function):
    @staticmethod
    def forward(ctx, values):
        return values - values.mean(-1, keepdim=True)

    @staticmethod
    def backward(ctx, grad):
        return None if bool((grad == grad[..., :1]).all()) else grad - grad.mean(-1, keepdim=True)


def cholesky(matrix: Tensor) -> Tensor:
    """Cholesky factor of a covariance; one that has lost rank gets a relative jitter, so that the result is finite.

    A collapsed batch then has a very low, finite log-determinant with a finite gradient.
    """
    factor, info = torch.linalg.cholesky_ex(matrix)
    pivots = factor.diagonal(dim1=-2, dim2=-1).detach()
    eps = torch.finfo(matrix.dtype).eps
    if not bool(((info == 0) & (pivots.amin(-1) > eps * pivots.amax(-1)) & (pivots.amin(-1) > 0)).all()):
        scale = matrix.detach().diagonal(dim1=-2, dim2=-1).mean(-1).clamp_min(torch.finfo(matrix.dtype).tiny / eps)
        jitter = 10 * matrix.shape[-1] * eps * scale
        eye = torch.eye(matrix.shape[-1], dtype=matrix.dtype, device=matrix.device)
        factor, info = torch.linalg.cholesky_ex(matrix + jitter[..., None, None] * eye)
        if bool((info != 0).any()):
            raise ValueError(
                "the covariance of the rows is not finite, or not positive definite at this precision: "
                "lower the learning rate or clip gradients if training diverged, or use float64"
            )
    return factor


def whiten(z: Tensor, support: Tensor, name: str) -> tuple[Tensor, Tensor, Tensor]:
    r"""Rows in the coordinates in which the support has mean zero and covariance I; differentiable throughout.

    .. math:: H[z] = \tfrac12 \log\det \mathrm{Cov}(z) + H[\text{whitened } z]

    Args:
        z: Rows (..., N, D).
        support: Rows (..., M, D) that give mean and covariance.
        name: Who asks, for the error.

    Returns:
        Whitened z, whitened support, and the log-density lost, :math:`-\tfrac12 \log\det \mathrm{Cov}`, shape (...).

    Raises:
        ValueError: If M < D + 1.
    """
    m, dim = support.shape[-2:]
    if m < dim + 1:
        raise ValueError(
            f"{name} whitens the batch and needs N >= D + 1 rows, got N = {m} and D = {dim}: "
            "enlarge the batch, use fewer latent dimensions, or pass an unwhitened space"
        )
    mean = support.mean(-2, keepdim=True)
    centered = support - mean
    factor = cholesky(covariance(centered))
    white = torch.linalg.solve_triangular(factor, centered.mT, upper=False).mT
    own = white if z is support else torch.linalg.solve_triangular(factor, (z - mean).mT, upper=False).mT
    return own, white, -factor.diagonal(dim1=-2, dim2=-1).log().sum(-1)
