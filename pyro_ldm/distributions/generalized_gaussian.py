r"""The generalized Gaussian (exponential power, Subbotin): one shape parameter from Laplace through normal to uniform.

.. math:: p(x) = \frac{p}{2 \sigma \Gamma(1/p)} \exp \left( - \left| \frac{x - \mu}{\sigma} \right|^p \right)
"""

import math

import torch
from pyro.distributions import constraints
from pyro.distributions.torch_distribution import TorchDistribution
from torch import Tensor
from torch.distributions.utils import broadcast_all


class GeneralizedGaussian(TorchDistribution):
    r"""Distribution of a real number with tails :math:`e^{-|x|^p}`.

    .. math:: \log p(x) = \log \frac{p}{2 \sigma \Gamma(1/p)} - \left| \frac{x - \mu}{\sigma} \right|^p

    Power 1 is Laplace with this scale; power 2 is normal with standard deviation :math:`\sigma / \sqrt 2`; large powers
    approach the uniform on :math:`\mu \pm \sigma`. Below 1 the density has a cusp at its mode: its slope there is
    reported as 0, so that gradients stay finite. Samples are reparameterised, also with respect to the power.

    Args:
        loc: Mode, mean and median :math:`\mu`, in units of x.
        scale: :math:`\sigma > 0`, in units of x.
        power: Shape p > 0.

    Shape:
        loc, scale and power broadcast to batch_shape (...); event_shape (). log_prob of x (...) is (...), nats.

    Raises:
        ValueError: If scale or power is not positive, when validating.

    References:
        Nadarajah (2005), A generalized normal distribution. https://doi.org/10.1080/02664760500079464
        Devroye (1986), Non-Uniform Random Variate Generation, chapter IV.6, on scale mixtures of uniforms.

    Example:
        >>> heavy = GeneralizedGaussian(torch.tensor(0.0), torch.tensor(1.0), torch.tensor(0.7))
        >>> bool(heavy.log_prob(torch.tensor(5.0)) > GeneralizedGaussian(0.0, 1.0, 2.0).log_prob(torch.tensor(5.0)))
        True
    """

    arg_constraints = {  # noqa: RUF012
        "loc": constraints.real,
        "scale": constraints.positive,
        "power": constraints.positive,
    }
    support = constraints.real
    has_rsample = True

    def __init__(
        self,
        loc: Tensor | float,
        scale: Tensor | float,
        power: Tensor | float,
        *,
        validate_args: bool | None = None,
    ):
        self.loc, self.scale, self.power = broadcast_all(loc, scale, power)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape, _instance=None) -> "GeneralizedGaussian":
        """The same distribution with a larger batch shape."""
        new = self._get_checked_instance(GeneralizedGaussian, _instance)
        batch_shape = torch.Size(batch_shape)
        for name in self.arg_constraints:
            setattr(new, name, getattr(self, name).expand(batch_shape))
        super(GeneralizedGaussian, new).__init__(batch_shape, validate_args=False)
        new._validate_args = self._validate_args
        return new

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density, nats; its gradient is finite everywhere, and 0 in the value at ``value == loc``."""
        if self._validate_args:
            self._validate_sample(value)
        return -self._log_partition() - self._energy(value)

    def rsample(self, sample_shape=torch.Size()) -> Tensor:  # noqa: B008
        r"""Reparameterised samples, :math:`x = \mu + \sigma V G^{1/p}`, V ~ U(-1, 1), G ~ Gamma(1 + 1/p).

        In law this is :math:`\pm \Gamma(1/p)^{1/p}`, as a uniform carries a Gamma's shape from 1 + 1/p down to 1/p; a
        Gamma of small shape, which a large power needs, would underflow.
        """
        shape = self._extended_shape(sample_shape)
        inverse = self.power.reciprocal().expand(shape)
        gamma = torch.distributions.Gamma(1 + inverse, torch.ones_like(inverse), validate_args=False).rsample()
        uniform = 2 * torch.rand(shape, dtype=self.loc.dtype, device=self.loc.device) - 1
        return self.loc + self.scale * uniform * gamma**inverse

    def cdf(self, value: Tensor) -> Tensor:
        """Probability of a smaller value. Differentiable but for the power, where torch raises in the backward pass."""
        if self._validate_args:
            self._validate_sample(value)
        half = torch.special.gammainc(self.power.reciprocal(), self._energy(value))
        return 0.5 + 0.5 * torch.sign(value - self.loc) * half

    @property
    def mean(self) -> Tensor:
        """The mode."""
        return self.loc

    @property
    def mode(self) -> Tensor:
        """The mean."""
        return self.loc

    @property
    def variance(self) -> Tensor:
        r""":math:`\sigma^2 \, \Gamma(3/p) / \Gamma(1/p)`."""
        return self.scale.square() * (torch.lgamma(3 / self.power) - torch.lgamma(1 / self.power)).exp()

    def entropy(self) -> Tensor:
        r""":math:`1/p + \log 2 \sigma \Gamma(1/p) / p`, nats."""
        return self.power.reciprocal() + self._log_partition()

    def _log_partition(self) -> Tensor:
        # Gamma(1/p) / p = Gamma(1 + 1/p), without the pole that a large power comes near to.
        return math.log(2) + self.scale.log() + torch.lgamma(1 + self.power.reciprocal())

    def _energy(self, value: Tensor) -> Tensor:
        r""":math:`|x - \mu|^p / \sigma^p`; where x is the mode, a constant, as |u|^(p-1) and log |u| are not finite."""
        distance = ((value - self.loc) / self.scale).abs()
        at_mode = distance < torch.finfo(distance.dtype).tiny
        return torch.where(at_mode, 0.0, torch.where(at_mode, 1.0, distance) ** self.power)
