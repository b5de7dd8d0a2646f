r"""Principal components, to go before an invertible encoder."""

import torch
from torch import Tensor, nn


class PCA(nn.Module):
    r"""Principal components, whitened by default: they make ``Jacobian`` usable where the data lie in a subspace.

    .. math:: y = \Lambda^{-1/2} V^\top (x - \mu)

    Fixed once fitted; mean and components are buffers, which a state holds.

    Args:
        in_features: Numbers in a datum.
        out_features: Components kept.
        whiten: Whether to scale them to variance 1.

    Shape:
        x (N, ...) to y (N, out_features).

    Raises:
        ValueError: If ``out_features`` is below 1 or above ``in_features``. From ``fit``: if the data are not finite,
            have too few rows, or have too low a rank to be whitened.

    Example:
        >>> x = torch.randn(100, 5)
        >>> y = PCA(5, 3).fit(x)(x)
        >>> torch.allclose(y.T.cov(), torch.eye(3), atol=1e-6)
        True
    """

    mean: Tensor
    components: Tensor
    scale: Tensor

    def __init__(self, in_features: int, out_features: int, *, whiten: bool = True):
        super().__init__()
        if not 1 <= out_features <= in_features:
            raise ValueError(f"PCA keeps between 1 and {in_features} components, got {out_features}")
        self.whiten = whiten
        self.register_buffer("mean", torch.zeros(in_features))
        self.register_buffer("components", torch.eye(out_features, in_features))
        self.register_buffer("scale", torch.ones(out_features))

    @torch.no_grad()
    def fit(self, x: Tensor) -> "PCA":
        """Take mean, components and scale from data (N, ...), by the eigenvectors of the covariance in float64."""
        rows = x.flatten(1).double()
        out_features = len(self.scale)
        if len(rows) <= out_features:
            raise ValueError(f"PCA needs more rows than components, got N = {len(rows)} for {out_features}")
        centered = rows - rows.mean(0)
        if not torch.isfinite(rows).all():
            raise ValueError("PCA takes finite data, got NaN or Inf: drop or fill in those rows first")
        variance, vectors = torch.linalg.eigh(centered.T @ centered / (len(rows) - 1))
        variance, vectors = variance.flip(0)[:out_features], vectors.flip(1)[:, :out_features]
        if self.whiten and variance[-1] <= 1e-10 * variance[0]:
            rank = int((variance > 1e-10 * variance[0]).sum())
            raise ValueError(
                f"the data have rank {rank}, PCA was asked for {out_features} components: keep {rank} or fewer"
            )
        # A sign convention, so that a fit is reproducible: the largest entry of each component is positive.
        sign = vectors.gather(0, vectors.abs().argmax(0, keepdim=True)).sign()
        self.mean.copy_(rows.mean(0))
        self.components.copy_((vectors * sign).T)
        if self.whiten:
            self.scale.copy_(variance.sqrt())
        return self

    def forward(self, x: Tensor) -> Tensor:
        """Components of the data."""
        return (x.flatten(1) - self.mean) @ self.components.T / self.scale

    def inverse(self, y: Tensor) -> Tensor:
        """The data (N, in_features) with these components, and none of the others."""
        return (y * self.scale) @ self.components + self.mean
