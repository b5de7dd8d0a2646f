"""Several sites under one joint estimate of their density: the views of a pair."""

from typing import Any

import pyro
import torch
from pyro.distributions import Delta, Unit
from torch import Tensor

from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.entropy import Arrangement, Entropy, SampleEntropy, Zero


class Views:
    """The conditionals of several sites as one, which estimators see: independent given x.

    Attributes:
        views: The conditionals, one per site.
        batch_shape: Theirs.
        event_dim: Of the stacked value, views included.
    """

    def __init__(self, views: list):
        self.views = views
        self.batch_shape = views[0].batch_shape
        self.event_dim = views[0].event_dim + 1

    def log_prob(self, value: Tensor) -> Tensor:
        """Sum of the views' log-densities at a stacked value (..., N, V, *event)."""
        values = value.unbind(value.dim() - self.event_dim)
        return sum(q.log_prob(v) for q, v in zip(self.views, values, strict=True))


def sample_views(sites: dict, entropy: Entropy, *, mask: Tensor | None = None, infer: dict | None = None) -> dict:
    r"""Sample each site, and score all of them by one estimate of their joint density.

    Call it in a guide, inside the plate. The sites score zero; one auxiliary factor carries log R.

    .. math:: \log \hat R(z_1, \dots, z_V)

    Args:
        sites: Name of each site to the encoder's outputs (N, D) there, or to its conditional of batch shape (N,).
        entropy: An arrangement: :class:`~pyro_ldm.entropy.Joint`, :class:`~pyro_ldm.entropy.Separate` or
            :class:`~pyro_ldm.entropy.Pooled` around an estimator; or :class:`~pyro_ldm.entropy.Zero`.
        mask: Boolean (N, V): views that are there.
        infer: Pyro's inference options for the sites, such as ``{"enumerate": "parallel"}`` for discrete views.

    Returns:
        Name of each site to its value.

    Raises:
        ValueError: If the estimator is not arranged, the views differ in shape, there is one row of them to estimate
            from, or discrete views are not enumerated.

    Example:
        >>> def guide(z, z_prime):
        ...     with pyro.plate("batch", len(z)):
        ...         return ldm.sample_views({"z": z, "z_prime": z_prime}, ldm.entropy.Joint(ldm.entropy.LogDet()))
        >>> sorted(guide(torch.randn(20, 2), torch.randn(20, 2)))
        ['z', 'z_prime']
    """
    if not isinstance(entropy, Arrangement | Zero):
        raise ValueError(
            f"several sites need an arrangement of their axis, got {type(entropy).__name__}: "
            "wrap it as Joint(...), Separate(...) or Pooled(...)"
        )
    # A tensor becomes its pushforward's conditional, in float32 or better.
    views = [Pushforward(z, Zero()).conditional if torch.is_tensor(z) else z for z in sites.values()]
    shapes = {(tuple(q.batch_shape), tuple(q.event_shape)) for q in views}
    if len(shapes) != 1:
        raise ValueError(f"views must agree in shape, got (batch, event) = {sorted(shapes)} for sites {list(sites)}")
    enumerated = bool(infer and infer.get("enumerate"))
    if not (enumerated or all(q.has_rsample for q in views)):
        raise ValueError(
            "discrete views need enumeration: pass infer={'enumerate': 'parallel'} and use TraceEnum_ELBO "
            "(the score-function gradient would miss the joint estimate)"
        )
    if views[0].batch_shape[-1:] == (1,) and isinstance(getattr(entropy, "entropy", None), SampleEntropy):
        raise ValueError(
            "a batch of one row of views tells nothing of how they are distributed (pooled, they would be each other's "
            "only neighbours): enlarge the batch or drop its last, short one"
        )
    if entropy.reads_conditional and any(isinstance(q, Delta) for q in views):
        raise ValueError(f"{type(entropy.entropy).__name__} needs stochastic encoders: pass distributions q(z | x)")
    options: Any = {**(infer or {}), "views": True}
    values = {
        name: pyro.sample(name, Pushforward(q, Zero()), infer=options) for name, q in zip(sites, views, strict=True)
    }
    stacked = torch.stack(torch.broadcast_tensors(*values.values()), dim=-1 - views[0].event_dim)
    log_prob = entropy(stacked, Views(views), mask)
    log_prob = log_prob.expand(torch.broadcast_shapes(log_prob.shape, views[0].batch_shape))
    # A factor that names its estimator, so that an objective can say what it is.
    factor = Unit(log_prob, has_rsample=True)
    options = {"is_auxiliary": True, "entropy": entropy, "sites": tuple(sites)}
    pyro.sample("_".join([*sites, "entropy"]), factor, obs=factor.sample(), infer=options)
    return values
