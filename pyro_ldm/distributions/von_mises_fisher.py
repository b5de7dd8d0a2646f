r"""The von Mises-Fisher distribution: unit vectors of any dimension, concentrated around a direction.

.. math:: p(z) = C_D(\kappa) \, e^{\kappa \, \mu^\top z}, \qquad \|z\| = \|\mu\| = 1
"""

import math

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.nn.functional import normalize

from pyro_ldm.entropy.sphere import unexpanded, von_mises_fisher_log_normalizer


class VonMisesFisher(TorchDistribution):
    r"""Distribution of unit vectors in :math:`\mathbb R^D`, D >= 2, with a density with respect to surface measure.

    .. math:: \log p(z) = \log C_D(\kappa) + \kappa \, \mu^\top z, \qquad
        C_D(\kappa) = \frac{\kappa^{D/2-1}}{(2\pi)^{D/2} I_{D/2-1}(\kappa)}

    The log-density is differentiable in the direction, the concentration and the value; samples are not
    (``has_rsample`` is False).

    Args:
        loc: Mean direction :math:`\mu`, of unit norm: ``torch.nn.functional.normalize(loc, dim=-1)`` makes it so.
        concentration: :math:`\kappa \ge 0`; 0 is uniform on the sphere.

    Shape:
        loc (..., D) and concentration (...) broadcast to batch_shape (...); event_shape (D,).
        log_prob of z (..., D) is (...), nats.

    Raises:
        ValueError: If D < 2, or, when validating, if loc is not of unit norm or concentration is negative.

    References:
        Mardia and Jupp (2000), Directional Statistics, section 9.3.
        Wood (1994), Simulation of the von Mises Fisher distribution, algorithm VM*.
        https://doi.org/10.1080/03610919408813161. We place the sample around ``loc`` by a Householder reflection.

    Example:
        >>> _ = torch.manual_seed(0)
        >>> north = VonMisesFisher(torch.tensor([0.0, 0.0, 1.0]), torch.tensor(50.0))
        >>> z = north.sample((1000,))
        >>> z.shape, bool((z.mean(0) - north.mean).norm() < 0.02)
        (torch.Size([1000, 3]), True)
    """

    arg_constraints = {"loc": constraints.sphere, "concentration": constraints.nonnegative}  # noqa: RUF012
    support = constraints.sphere
    has_rsample = False

    def __init__(self, loc: Tensor, concentration: Tensor | float, *, validate_args: bool | None = None):
        concentration = torch.as_tensor(concentration, dtype=loc.dtype, device=loc.device)
        if loc.dim() < 1 or loc.shape[-1] < 2:
            raise ValueError(f"loc must be a vector (..., D) with D >= 2, got shape {tuple(loc.shape)}")
        if self._validate_args if validate_args is None else validate_args:
            # The generic message of a violated constraint does not say what to do about it.
            if not bool(constraints.sphere.check(loc).all()):
                raise ValueError("loc must have unit norm: pass torch.nn.functional.normalize(loc, dim=-1)")
        batch_shape = torch.broadcast_shapes(loc.shape[:-1], concentration.shape)
        self.loc = loc.expand(*batch_shape, -1)
        self.concentration = concentration.expand(batch_shape)
        super().__init__(batch_shape, loc.shape[-1:], validate_args=validate_args)

    def expand(self, batch_shape, _instance=None) -> "VonMisesFisher":
        """The same distribution with a larger batch shape."""
        new = self._get_checked_instance(VonMisesFisher, _instance)
        batch_shape = torch.Size(batch_shape)
        new.loc = self.loc.expand(*batch_shape, -1)
        new.concentration = self.concentration.expand(batch_shape)
        super(VonMisesFisher, new).__init__(batch_shape, self.event_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density with respect to surface measure, nats."""
        if self._validate_args:
            self._validate_sample(value)
        # kappa mu'z = kappa - kappa |z - mu|^2 / 2 on the sphere. The two terms that grow as kappa, log C and kappa
        # itself, cancel in float64, and rounded norms count for little near mu: it matters in float32, kappa large.
        kappa = unexpanded(self.concentration).double()  # one for the batch, most often: one series of Bessel's
        peak = (von_mises_fisher_log_normalizer(self.event_shape[0], kappa) + kappa).to(self.loc.dtype)
        return peak - 0.5 * self.concentration * (value - self.loc).square().sum(-1)

    @torch.no_grad()
    def sample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008
        """Exact samples of shape sample_shape + batch_shape + (D,), by rejection in the direction of loc alone."""
        shape = self._extended_shape(sample_shape)
        descent = self._sample_descent(self.concentration.expand(shape[:-1])).unsqueeze(-1)
        normal = torch.randn((*shape[:-1], shape[-1] - 1), dtype=self.loc.dtype, device=self.loc.device)
        tangent = (descent * (2 - descent)).sqrt() * normalize(normal, dim=-1)
        # Drawn around the first axis, on the side away from loc; a reflection takes that side to loc. The two are at
        # least a right angle apart, so that the mirror's normal never vanishes.
        side = torch.where(self.loc[..., :1] < 0, 1.0, -1.0).to(self.loc.dtype)
        z = torch.cat([side * (1 - descent), tangent], -1)
        mirror = normalize(torch.cat([self.loc[..., :1] - side, self.loc[..., 1:]], -1), dim=-1)
        z = z - 2 * (z * mirror).sum(-1, keepdim=True) * mirror
        return normalize(z, dim=-1)  # takes away rounding only

    def _sample_descent(self, concentration: Tensor) -> Tensor:
        r""":math:`1 - \mu^\top z`, of the shape of the concentration, by Wood's rejection with a Beta envelope."""
        kappa = concentration.double().flatten()
        m = self.event_shape[0] - 1.0
        # Wood's b, x_0 and w, written for 1 - w: nothing cancels when kappa is large and w next to 1.
        b = m / (2 * kappa + (4 * kappa.square() + m * m).sqrt())
        envelope = torch.distributions.Beta(kappa.new_tensor(m / 2), kappa.new_tensor(m / 2), validate_args=False)
        descent = torch.empty_like(kappa)
        pending = torch.arange(len(kappa), device=kappa.device)
        while len(pending):
            beta, k = b[pending], kappa[pending]
            x0, floor = (1 - beta) / (1 + beta), 2 * beta / (1 + beta)  # floor = 1 - x0
            e = envelope.sample(pending.shape)
            t = 2 * beta * e / (1 - (1 - beta) * e)
            log_accept = k * (floor - t) + m * ((floor + x0 * t) / (floor * (1 + x0))).log()
            rejected = torch.rand_like(t).log() > log_accept  # False for NaN, so that the loop ends
            descent[pending[~rejected]] = t[~rejected]
            pending = pending[rejected]
        return descent.reshape(concentration.shape).to(concentration.dtype)

    @property
    def mean_resultant_length(self) -> Tensor:
        r""":math:`A_D(\kappa) = I_{D/2}(\kappa) / I_{D/2-1}(\kappa)`, the norm of the mean, in [0, 1)."""
        return self._mean_resultant_length().to(self.loc.dtype)

    @property
    def mean(self) -> Tensor:
        r"""Mean in :math:`\mathbb R^D`, :math:`A_D(\kappa) \mu`: inside the sphere, not on it."""
        return self.mean_resultant_length.unsqueeze(-1) * self.loc

    @property
    def mode(self) -> Tensor:
        """The mean direction."""
        return self.loc

    def entropy(self) -> Tensor:
        r"""Entropy with respect to surface measure, :math:`-\log C_D(\kappa) - \kappa A_D(\kappa)`, nats."""
        kappa = self.concentration.double()  # the two terms cancel
        log_normalizer = von_mises_fisher_log_normalizer(self.event_shape[0], kappa)
        return (-log_normalizer - kappa * self._mean_resultant_length()).to(self.loc.dtype)

    def _mean_resultant_length(self) -> Tensor:
        dim, kappa = self.event_shape[0], self.concentration.double()
        # A ratio of two normalizers: unlike that of the Bessel functions, it is no 0 / 0 at kappa = 0.
        log_ratio = von_mises_fisher_log_normalizer(dim, kappa) - von_mises_fisher_log_normalizer(dim + 2, kappa)
        return kappa / (2 * math.pi) * log_ratio.exp()
