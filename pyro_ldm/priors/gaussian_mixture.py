"""A mixture of Gaussians: latents in clusters."""

import pyro
import torch
from pyro import distributions as dist
from pyro.distributions import constraints
from pyro.ops.indexing import Vindex
from torch import Tensor, nn

from pyro_ldm.priors.base import Prior


class GaussianMixture(Prior):
    r"""Latents in K clusters.

    .. math:: P(z) = \sum_{k=1}^{K} \pi_k \, \mathcal N(z; \mu_k, \mathrm{diag}\, s^2)

    The component is summed out in closed form, for any ELBO; or it is a site of its own, ``component``, which
    ``TraceEnum_ELBO(max_plate_nesting=1)`` sums out to the same value, and which Pyro's ``infer_discrete`` then infers.

    Args:
        latent_dim: D.
        num_components: K.
        loc: mu, in units of z, (K, D): a tensor (fixed), an ``nn.Parameter`` (learned) or a distribution
            (Bayesian), such as ``Normal(torch.zeros(K, D), 3.0).to_event(2)``. By default fixed draws from N(0, 4 I).
        scale: s, in units of z, () or (D,), likewise.
        weights: pi, (K,), likewise; uniform by default.
        enumerate: Whether the component is a site, to be enumerated.

    Shape:
        z (N, D), N the length of the batch; component (N,).

    Raises:
        ValueError: If K < 1, or a hyperparameter has the wrong shape.

    Example:
        >>> GaussianMixture(2, num_components=5)(range(7)).shape
        torch.Size([7, 2])
    """

    def __init__(
        self,
        latent_dim: int,
        num_components: int = 10,
        *,
        loc: Tensor | nn.Parameter | dist.Distribution | None = None,
        scale: float | Tensor | nn.Parameter | dist.Distribution = 1.0,
        weights: Tensor | nn.Parameter | dist.Distribution | None = None,
        enumerate: bool = False,
    ):
        super().__init__(latent_dim)
        if num_components < 1:
            raise ValueError(f"num_components must be at least 1, got {num_components}")
        self.num_components, self.enumerate = num_components, enumerate
        shape = (num_components, latent_dim)
        if loc is None:
            loc = 2.0 * torch.randn(shape, generator=torch.Generator().manual_seed(0))
        weights = torch.full((num_components,), 1 / num_components) if weights is None else weights
        self.hyperparameter("scale", scale)
        self.hyperparameter("loc", loc, constraints.real, shape=shape)
        self.hyperparameter("weights", weights, constraints.simplex, shape=(num_components,))

    def forward(self, *batch) -> Tensor:
        """Sample z (N, D); the first tensor of the batch gives N."""
        loc, scale, weights = self.read("loc"), self.read("scale"), self.read("weights")
        if not self.enumerate:
            components = dist.Normal(loc, scale.unsqueeze(-2) if scale.dim() else scale).to_event(1)
            shape = torch.broadcast_shapes(components.batch_shape, weights.shape)
            mixture = dist.MixtureSameFamily(dist.Categorical(weights.expand(shape)), components.expand(shape))
            with pyro.plate("batch", len(batch[0])):
                return pyro.sample("z", mixture)
        with pyro.plate("batch", len(batch[0])):
            component = pyro.sample("component", dist.Categorical(weights), infer={"enumerate": "parallel"})
            return pyro.sample("z", dist.Normal(Vindex(loc)[..., component, :], scale).to_event(1))
