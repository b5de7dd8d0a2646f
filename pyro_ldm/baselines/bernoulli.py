"""Binary data."""

from pyro import distributions as dist
from torch import Tensor

from pyro_ldm.baselines.likelihood import Likelihood, refuse_outside_unit_interval


class Bernoulli(Likelihood):
    r"""Binary data, or by common usage grey values in [0, 1] read as probabilities.

    .. math:: \log p(x_j \mid z) = x_j \log \sigma(o_j) + (1 - x_j) \log (1 - \sigma(o_j))

    On grey values this is no normalised density, so that an ELBO is neither a bound on an evidence nor to be compared
    with those of other likelihoods; :class:`DiscretizedLogistic` is one that is.

    Shape:
        The decoder's output (..., *event), logits, to a distribution of that batch shape.

    Raises:
        ValueError: If data are outside [0, 1].

    References:
        Loaiza-Ganem and Cunningham (2019), The continuous Bernoulli, section 3, https://arxiv.org/abs/1907.06845

    Example:
        >>> Bernoulli()(torch.zeros(5, 64)).log_prob(torch.ones(5, 64)).sum(-1) / 64
        tensor([-0.6931, -0.6931, -0.6931, -0.6931, -0.6931])
    """

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        """Bernoulli with the output as logits."""
        return dist.Bernoulli(logits=output, validate_args=False)  # which would refuse grey values

    def check(self, x: Tensor) -> None:
        """Refuse data outside [0, 1]."""
        super().check(x)
        refuse_outside_unit_interval(x, "Bernoulli", "use baselines.Gaussian")
