"""Priors to compare where one has none in mind: independent sources, from light to heavy tails, and two clusters."""

import math
from collections.abc import Callable

import pyro
import torch
from pyro import distributions as dist
from torch import Tensor

from pyro_ldm.distributions.generalized_gaussian import GeneralizedGaussian
from pyro_ldm.posterior.sites import as_sites


def default_priors(z: Tensor) -> dict[str, Callable]:
    r"""Five priors with a location, a scale and a shape for every dim, all Bayesian.

    .. math:: p(z_d) = f\Bigl(\tfrac{z_d - \mu_d}{s_d};\, \text{shape}_d\Bigr) / s_d, \qquad
        \mu_d \sim \mathcal N(m_d, (2.5\, u_d)^2), \quad s_d \sim \mathrm{LogNormal}(\log u_d, 1)

    with m the median and u the interquartile range of dim d, over 1.35 as of a Gaussian: the hyperpriors are as wide as
    the latents, whatever their units, and say next to nothing about N latents. The built-in sources have no
    location; here there is one, or tails would have to make up for a shifted centre.

    ===================== ============================================================================
    Gaussian
    Laplace
    Student-t             degrees of freedom ``df`` ~ Gamma(2, 0.1): 95 % within 2.4 and 56
    generalized Gaussian  exponent ``power`` ~ LogNormal(log 1.5, 0.7): 95 % within 0.4 and 6
    mixture               two Gaussian clusters about their mean ``loc``, ``gap`` ~ HalfNormal(2.5 u) apart,
                          the upper one of ``weight`` ~ Beta(2, 2)
    ===================== ============================================================================

    Args:
        z: Latents, of which medians and interquartile ranges are taken.

    Shape:
        z (N, D).

    Raises:
        ValueError: If z is not (N, D), not finite, or constant in a dim.

    Example:
        >>> from pyro_ldm.posterior.default_priors import default_priors
        >>> list(default_priors(torch.randn(100, 2)))
        ['Gaussian', 'Laplace', 'Student-t', 'generalized Gaussian', 'mixture']
    """
    if not torch.is_tensor(z) or z.dim() != 2:
        shape = tuple(z.shape) if torch.is_tensor(z) else type(z).__name__
        raise ValueError(f"the default priors are of latents (N, D), got {shape}: pass priors of your own by name")
    rows = as_sites(z)["z"].double()
    lower, centre, upper = rows.quantile(torch.tensor([0.25, 0.5, 0.75]).to(rows), dim=0)
    # Where over half of the rows are equal, as of a sparse code, there is no interquartile range.
    unit = torch.maximum((upper - lower) / 1.35, 0.01 * rows.std(0))

    def per_dim(distribution: dist.TorchDistribution) -> dist.TorchDistribution:
        return distribution.expand(unit.shape).to_event(1)

    zero = torch.zeros_like(unit)
    loc = per_dim(dist.Normal(centre, 2.5 * unit))
    scale = per_dim(dist.LogNormal(unit.log(), zero + 1.0))
    return {
        "Gaussian": _sources(dist.Normal, loc=loc, scale=scale),
        "Laplace": _sources(dist.Laplace, loc=loc, scale=scale),
        "Student-t": _sources(dist.StudentT, loc=loc, scale=scale, df=per_dim(dist.Gamma(zero + 2.0, zero + 0.1))),
        "generalized Gaussian": _sources(
            GeneralizedGaussian, loc=loc, scale=scale, power=per_dim(dist.LogNormal(zero + math.log(1.5), zero + 0.7))
        ),
        "mixture": _sources(
            _two_clusters,
            loc=loc,
            scale=scale,
            gap=per_dim(dist.HalfNormal(2.5 * unit)),
            weight=per_dim(dist.Beta(zero + 2.0, zero + 2.0)),
        ),
    }


def _sources(source: Callable[..., dist.TorchDistribution], **parameters: dist.TorchDistribution) -> Callable:
    """A program of independent sources, its parameters drawn outside the plate."""

    def prior(*batch):
        values = {name: pyro.sample(name, distribution) for name, distribution in parameters.items()}
        with pyro.plate("batch", len(batch[0])):
            return pyro.sample("z", source(**values).to_event(1))

    return prior


def _two_clusters(loc: Tensor, scale: Tensor, gap: Tensor, weight: Tensor) -> dist.TorchDistribution:
    # By their mean and distance, which the latents determine even where the clusters merge: NUTS takes half the steps.
    locs = torch.stack([loc - weight * gap, loc + (1 - weight) * gap], -1)
    shares = torch.stack([1 - weight, weight], -1)
    return dist.MixtureSameFamily(dist.Categorical(shares), dist.Normal(locs, scale.unsqueeze(-1)))
