r"""Nearest neighbours: each row is scored by the volume that holds its k nearest."""

import warnings

import torch
from torch import Tensor

from pyro_ldm.entropy.base import SampleEntropy
from pyro_ldm.entropy.pairwise import nearest
from pyro_ldm.entropy.space import Plane, Space, Sphere


class KNN(SampleEntropy):
    r"""Kozachenko-Leonenko estimate of the log-density, from the distance to the k-th nearest row.

    .. math:: \log \hat R(z_i) = \psi(k) - \psi(N) - \log V_D(\epsilon_i)

    with :math:`\epsilon_i` the distance from row i to its k-th nearest neighbour and :math:`V_D(\epsilon)` the volume
    of a ball (a cap on the sphere).

    Bias: consistent; vanishing where the density is flat over a neighbourhood, of either sign elsewhere, and growing
    with the dimension. Bound: none. Exploited by: rows of a series, whose neighbours are near by dynamics and not by
    density (form groups of rows from different series), and by repeated rows, whose distance is zero. Those get a
    tiny distance, relative to the rows' scale: value and gradient stay finite, and a warning is given when they are
    more than 5 % of the rows.

    Args:
        num_neighbors: k.
        space: Where distances are measured: :class:`Plane` (whitened) or :class:`Sphere`.

    Shape:
        z (..., N, D), N > k, to (..., N), nats.

    Raises:
        ValueError: If N < k + 1 or z is not finite; if N < D + 1 where the space whitens.

    References:
        Kozachenko and Leonenko (1987), Sample estimate of the entropy of a random vector.
        Kraskov, Stoegbauer and Grassberger (2004), eq. 20. https://arxiv.org/abs/cond-mat/0305641

    Example:
        >>> entropy = -KNN()(torch.randn(1000, 2)).mean()      # true value log(2 pi e) = 2.838
        >>> bool(abs(entropy - 2.838) < 0.15)
        True
    """

    def __init__(self, num_neighbors: int = 3, *, space: Space | None = None):
        super().__init__()
        if num_neighbors < 1:
            raise ValueError(f"num_neighbors must be at least 1, got {num_neighbors}")
        self.num_neighbors = num_neighbors
        self.space = Plane() if space is None else space
        self.on_sphere = isinstance(self.space, Sphere)

    def extra_repr(self) -> str:
        """The number of neighbours."""
        return f"num_neighbors={self.num_neighbors}"

    def log_prob(self, z: Tensor, support: Tensor, start: int) -> Tensor:
        """Log-density from neighbour distances, (..., N), nats."""
        m, dim = support.shape[-2:]
        if m <= self.num_neighbors:
            raise ValueError(
                f"KNN needs more rows than neighbours, got N = {m} and num_neighbors = {self.num_neighbors}: "
                "enlarge the batch or ask for fewer neighbours"
            )
        z, support, log_density = self.space(z, support)
        parts = self.space.num_spheres
        index = nearest(z, support, self.num_neighbors, skip=start, parts=parts)
        neighbor = torch.take_along_dim(support, index.unsqueeze(-1), dim=-2)
        squared = (z - neighbor).square().unflatten(-1, (parts, -1)).sum(-1).amax(-1)
        exact = squared.detach()
        if float((exact == 0).double().mean()) > 0.05:
            warnings.warn(
                f"{float((exact == 0).double().mean()):.0%} of the rows repeat {self.num_neighbors} or more others "
                "exactly: the nearest-neighbour entropy is not to be trusted. Are rows collapsed, or frames repeated?",
                stacklevel=2,
            )
        floor = (torch.finfo(z.dtype).eps ** 2) * z.detach().square().sum(-1).mean(-1, keepdim=True)
        squared = squared + (floor + torch.finfo(z.dtype).tiny)
        constant = torch.digamma(torch.tensor([float(self.num_neighbors), float(m)], dtype=torch.float64))
        return log_density.unsqueeze(-1) + float(constant[0] - constant[1]) - self.space.log_volume(squared, dim)
