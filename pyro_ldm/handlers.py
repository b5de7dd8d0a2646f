"""Stop-gradient as an effect handler on the prior."""

from collections.abc import Callable, Collection
from typing import ClassVar

from pyro.distributions import ExpandedDistribution, MaskedDistribution, TorchDistribution
from pyro.distributions.util import scale_and_mask
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyro_ldm.distributions.autoregressive import filled


def stop_gradient(prior: Callable, *, sites: Collection[str]) -> Callable:
    r"""The prior, with the value of these sites detached where they are scored: BYOL, SimSiam, JEPA.

    Stop-gradient is a plug-in for the conditional entropy: the target is scored at its detached value, under the
    undetached context, and the guide's site gets :class:`~pyro_ldm.entropy.Zero`.

    .. math:: \log P(\mathrm{sg}(z') \mid z)

    A site whose distribution is over a whole sequence (event_dim 2) is scored through its ``predictive(context)``,
    the distribution of each step given those before it, of batch shape (..., N, T): targets detached, context not.

    Args:
        prior: A Pyro program.
        sites: Names of the target sites.

    Returns:
        The wrapped program; a module stays a module.

    Raises:
        ValueError: While running, if a sequence's distribution has no ``predictive``, which would silently detach
            everything, or if the prior has no such site.

    References:
        Grill et al. (2020), BYOL, https://arxiv.org/abs/2006.07733; Chen and He (2021), SimSiam,
        https://arxiv.org/abs/2011.10566.

    Example:
        >>> def prior(x):
        ...     with pyro.plate("batch", len(x)):
        ...         z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        ...         pyro.sample("z_prime", dist.Normal(z, 0.1).to_event(1))
        >>> predictor = ldm.stop_gradient(prior, sites=["z_prime"])
    """
    if isinstance(sites, str):
        raise TypeError(f"sites is a collection of names: pass sites=[{sites!r}]")
    if isinstance(prior, nn.Module):
        return _StopGradientModule(prior, sites)

    def stopped(*batch):
        with _StopGradient(sites):
            return prior(*batch)

    return stopped


class _StopGradientModule(nn.Module):
    """A prior with parameters, under the handler: its parameters stay visible."""

    def __init__(self, prior: nn.Module, sites: Collection[str]):
        super().__init__()
        self.prior, self.sites = prior, tuple(sites)

    def forward(self, *batch):
        with _StopGradient(self.sites):
            return self.prior(*batch)


class _StopGradient(Messenger):
    def __init__(self, sites: Collection[str]):
        super().__init__()
        self.missing, self.sites = set(sites), set(sites)

    def __exit__(self, exc_type, exc_value, traceback):
        super().__exit__(exc_type, exc_value, traceback)
        if exc_type is None and self.missing:
            raise ValueError(f"stop_gradient found no site {sorted(self.missing)} in the prior: check the names")

    def _pyro_sample(self, msg) -> None:
        if msg["name"] in self.sites:
            self.missing.discard(msg["name"])
            msg["fn"] = _Detached(msg["fn"], msg["name"])


class _Detached(TorchDistribution):
    """A distribution that scores the detached value."""

    arg_constraints: ClassVar[dict] = {}

    def __init__(self, base_dist: TorchDistribution, name: str):
        if base_dist.event_dim >= 2 and not hasattr(_unwrap(base_dist), "predictive"):
            kind = type(_unwrap(base_dist)).__name__
            raise ValueError(
                f"stop_gradient cannot score site {name!r}: {kind} is over a whole sequence "
                "and has no predictive(context): targets cannot be told from context. "
                "Use a sequence distribution that has one, or write the steps as sites"
            )
        self.base_dist, self.name = base_dist, name
        super().__init__(base_dist.batch_shape, base_dist.event_shape, validate_args=False)

    @property
    def support(self):
        return self.base_dist.support

    @property
    def has_rsample(self):  # type: ignore[override]
        return self.base_dist.has_rsample

    def sample(self, sample_shape=()):
        return self.base_dist.sample(sample_shape)

    def rsample(self, sample_shape=()):
        return self.base_dist.rsample(sample_shape)

    def expand(self, batch_shape, _instance=None):
        return _Detached(self.base_dist.expand(batch_shape), self.name)

    def log_prob(self, value: Tensor) -> Tensor:
        if self.event_dim < 2:
            return self.base_dist.log_prob(value.detach())
        return _sequence_log_prob(self.base_dist, value)


def _unwrap(fn: TorchDistribution) -> TorchDistribution:
    while isinstance(fn, MaskedDistribution | ExpandedDistribution):
        fn = fn.base_dist
    return fn


def _sequence_log_prob(fn: TorchDistribution, value: Tensor) -> Tensor:
    """Sum over steps of the detached target's log-density under its undetached context, with fn's masks."""
    if isinstance(fn, MaskedDistribution):
        return scale_and_mask(_sequence_log_prob(fn.base_dist, value), mask=fn._mask)
    if isinstance(fn, ExpandedDistribution):
        return _sequence_log_prob(fn.base_dist, value)
    step = fn.predictive(value)
    return step.log_prob(filled(step, value.detach())).sum(-1)
