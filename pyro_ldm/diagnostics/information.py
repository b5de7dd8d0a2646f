r"""How much do latents tell of the data? Bounds on I(x; z) of a stochastic encoder, in nats."""

import math
from collections.abc import Callable
from typing import Any, NamedTuple

import torch
from pyro import poutine
from pyro.distributions import Delta
from torch import Tensor

from pyro_ldm.devices import device_of
from pyro_ldm.diagnostics.arviz.programs import in_batch, running, sample_sites
from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.training.loader import tensors_of

CHUNK = 256  # rows scored against as many conditionals at once
SATURATED = 0.1  # nats below log N: the lower bound cannot be more, and says no more than that


class Information(NamedTuple):
    """What :func:`mutual_information` found.

    Attributes:
        lower: Lower bound on I(x; z) in expectation, nats; at most log N.
        upper: Upper bound in expectation, nats.
        standard_error: Of either, from the spread over rows, nats.
        num_rows: N.
    """

    lower: float
    upper: float
    standard_error: float
    num_rows: int

    @property
    def saturated(self) -> bool:
        """Whether the lower bound is all that so many rows can show."""
        return self.lower > math.log(self.num_rows) - SATURATED


def mutual_information(
    guide: Callable, data: Any, *, views: Callable | None = None, num_rows: int = 4000, seed: int = 0
) -> Information:
    r"""Bounds on the mutual information of data and latents, from the encoder's own conditionals.

    .. math:: I(x; z) = \mathbb{E} \log \frac{q(z \mid x)}{R(z)}, \qquad
        R(z_i) \approx \tfrac1N \sum_{j} q(z_i \mid x_j) \;\text{(lower)}, \qquad
        \tfrac{1}{N-1} \sum_{j \ne i} q(z_i \mid x_j) \;\text{(upper)}

    It is what scoring a guide by its conditional costs beyond scoring it by its marginal, KL(R || P): the KL of a VAE
    is the sum of both. All sites of the guide's batch plate count together as z.

    Args:
        guide: The trained encoder as a guide, its sites distributions q(z | x).
        data: A tensor (N, ...), a tuple of such, or a :class:`pyro_ldm.datasets.Data`; held out, at best.
        views: From x to a tuple of views, as for :func:`pyro_ldm.fit`.
        num_rows: Rows used at most, drawn at random. The lower bound cannot exceed the logarithm of their number.
        seed: Of everything random; the global random state is left as it was.

    Raises:
        ValueError: If the encoder is deterministic (of continuous latents, I is infinite then), steps are masked, or
            there are fewer than two rows.

    References:
        Poole et al. (2019), On variational bounds of mutual information, eq. 12 and 13. https://arxiv.org/abs/1905.06922
        Hoffman and Johnson (2016), ELBO surgery (the split of a VAE's KL).

    Example:
        >>> x = torch.randn(2000, 1)
        >>> def guide(x):  # z = x + noise of half its scale: I = log(5) / 2 = 0.80 nats
        ...     with pyro.plate("batch", len(x)):
        ...         return pyro.sample("z", dist.Normal(x, 0.5).to_event(1))
        >>> found = mutual_information(guide, x)
        >>> round(found.lower, 1), round(found.upper, 1)
        (0.8, 0.8)
    """
    with running(guide, seed=seed):
        batch = _batch(guide, data, views, num_rows)
        # Equal parts: a guide of views estimates an entropy of each, which takes more than a row.
        parts = zip(*(tensor.tensor_split(-(-len(tensor) // CHUNK)) for tensor in batch), strict=True)
        traces = [poutine.trace(guide).get_trace(*part) for part in parts]
        names = [name for name, site in sample_sites(traces[0]).items() if in_batch(site)]
        if not names:
            raise ValueError('the guide samples nothing in plate "batch": there are no latents to look at')
        values: list[Any] = [{name: trace.nodes[name]["value"] for name in names} for trace in traces]
        conditionals = [{name: _conditional(trace.nodes[name]["fn"]) for name in names} for trace in traces]
        own, with_self, others = [], [], []
        for i, rows in enumerate(values):
            blocks = [_pairs(rows, conditional) for conditional in conditionals]
            own.append(blocks[i].diagonal())
            with_self.append(torch.cat(blocks, 1).logsumexp(1))
            blocks[i] = blocks[i].clone().fill_diagonal_(-torch.inf)
            others.append(torch.cat(blocks, 1).logsumexp(1))
    n = len(batch[0])
    lower = torch.cat(own) - torch.cat(with_self) + math.log(n)
    upper = torch.cat(own) - torch.cat(others) + math.log(n - 1)
    error = max(float(bound.std()) for bound in (lower, upper)) / n**0.5
    return Information(float(lower.mean()), float(upper.mean()), error, n)


def _pairs(rows: dict[str, Tensor], conditionals: dict[str, Any]) -> Tensor:
    """Log q(z_i | x_j) of all sites together, (rows, conditionals), float64 on the CPU."""
    return sum(  # type: ignore[return-value]
        (q.log_prob(rows[name].unsqueeze(1)).double().cpu() for name, q in conditionals.items()), torch.zeros(())
    )


def _conditional(fn: Any) -> Any:
    fn = fn.conditional if isinstance(fn, Pushforward) else fn
    if isinstance(fn, Delta):
        raise ValueError(
            "the encoder is deterministic, and I(x; z) of continuous latents is infinite then: there is none to bound"
        )
    return fn


def _batch(guide: Callable, data: Any, views: Callable | None, num_rows: int) -> tuple[Tensor, ...]:
    tensors = tensors_of(data)
    if any(tensor.dtype == torch.bool and not bool(tensor.all()) for tensor in tensors):
        raise ValueError("series with masked steps tell different amounts: pass those that are whole")
    if len(tensors[0]) < 2:
        raise ValueError(f"at least two rows are needed, got {len(tensors[0])}: pass more data")
    chosen = torch.randperm(len(tensors[0]))[:num_rows].sort().values
    device = device_of(guide, default=tensors[0].device)
    tensors = tuple(tensor[chosen.to(tensor.device)].to(device) for tensor in tensors)
    return tensors if views is None else (*views(tensors[0]), *tensors[1:])
