"""Rows of a trained encoder, and the prior that they are to match: its log-density at rows, and rows of its own."""

import math
from collections.abc import Callable, Mapping
from itertools import pairwise
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta
from pyro.poutine.util import site_is_subsample
from torch import Tensor

from pyro_ldm.compatibility import on_sphere
from pyro_ldm.devices import device_of, on_device_of
from pyro_ldm.diagnostics.arviz.programs import in_batch
from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.entropy import Zero
from pyro_ldm.training.loader import tensors_of

CHUNK = 256  # rows encoded, or scored against as many conditionals, at once
DRAWS = 20  # draws of the prior's parameters that its density is averaged over

Values = dict[str, Tensor]


class Encoded:
    r"""Rows z ~ R of a guide, their density under the prior, and rows of the prior itself, for the same batch.

    Where the prior has parameters with a posterior, P is its mean over draws of them,
    :math:`P(z) = \tfrac1S \sum_s P(z \mid \theta_s)`.

    Args:
        prior: The assumed latent model.
        guide: The trained encoder as a guide; ``None`` where the data are latents themselves, (N, D) or (N, T, D).
        data: As :func:`pyro_ldm.fit` takes it. Rows with masked steps are left out.
        parameters: Values of the prior's parameters, by site; or a tree with a posterior of them. By default draws from
            the guide, where it samples them.
        views: From x to a tuple of views, as :func:`pyro_ldm.fit` takes it.
        num_rows: Rows used at most, drawn at random.

    Attributes:
        values: z of each site, (N, *event).
        spherical: Whether the prior's sites are unit vectors.
        stochastic: Whether the encoder has a density q(z | x).

    Raises:
        ValueError: If data are too few, a latent is discrete, not finite or constant, the prior is flat, or a parameter
            of the prior is not given.
    """

    def __init__(
        self,
        prior: Callable,
        guide: Callable | None,
        data: Any,
        *,
        parameters: Any = None,
        views: Callable | None = None,
        num_rows: int = 4000,
    ):
        guide = _as_it_is if guide is None else guide
        self.batch = _batch(data, views, num_rows, guide, prior)
        self.prior = on_device_of(prior, self.batch)
        # Equal parts: a short last one might be too few rows for the guide's own estimator.
        edges = torch.linspace(0, self.num_rows, 1 + -(-self.num_rows // CHUNK)).round().long().tolist()
        self._parts = [slice(start, stop) for start, stop in pairwise(edges)]
        traces: list[Any] = [poutine.trace(guide).get_trace(*self._rows(part)) for part in self._parts]
        sites = {name: site for name, site in traces[0].nodes.items() if _is_latent(site) and in_batch(site)}
        self.values = {name: torch.cat([trace.nodes[name]["value"] for trace in traces]) for name in sites}
        self._check(sites)
        self.conditionals: list[dict[str, Any]] = [
            {name: fn.conditional if isinstance(fn := trace.nodes[name]["fn"], Pushforward) else fn for name in sites}
            for trace in traces
        ]
        self.stochastic = not any(isinstance(fn, Delta) for fn in self.conditionals[0].values())
        self.parameters = self._parameters(guide, parameters)
        self.spherical = all(
            on_sphere(self._trace(self.parameters[0], self._parts[0]).nodes[name]["fn"]) for name in sites
        )

    @property
    def num_rows(self) -> int:
        """N."""
        return len(self.batch[0])

    def log_prob(self, values: Values) -> Tensor:
        """Log P at each row, (N,), nats."""
        scores = [torch.cat([self._score(p, part, values) for part in self._parts]) for p in self.parameters]
        return torch.stack(scores).double().logsumexp(0).cpu() - math.log(len(scores))

    def draw(self) -> Values:
        """N rows of the prior, each at one of the draws of its parameters."""
        which = torch.randint(len(self.parameters), (self.num_rows,))
        rows: Values = {name: torch.empty_like(value) for name, value in self.values.items()}
        for number, parameters in enumerate(self.parameters):
            traces = [self._trace(parameters, part) for part in self._parts]
            own = (which == number).to(self.batch[0].device)
            for name, value in rows.items():
                drawn = torch.cat([trace.nodes[name]["value"] for trace in traces])
                value[own] = drawn[own].to(value.dtype)
        return rows

    def log_mixture(self, values: Values, *, include_self: bool) -> Tensor:
        r"""Log-density :math:`\log \tfrac1N \sum_j q(z_i \mid x_j)` of the encoder's own mixture, (N,), nats."""
        parts = []
        for part in self._parts:
            rows = {name: value[part] for name, value in values.items()}
            blocks = []
            for other, conditional in zip(self._parts, self.conditionals, strict=True):
                scores = [fn.log_prob(rows[name].unsqueeze(1)) for name, fn in conditional.items()]
                log_q = torch.stack(scores).sum(0)
                if other == part and not include_self:
                    log_q = log_q.clone().fill_diagonal_(-torch.inf)
                blocks.append(log_q.double())
            parts.append(torch.cat(blocks, dim=-1).logsumexp(-1))
        return torch.cat(parts).cpu() - math.log(self.num_rows - (not include_self))

    def _rows(self, part: slice) -> tuple:
        return tuple(tensor[part] for tensor in self.batch)

    def _trace(self, parameters: Values, part: slice, values: Values | None = None) -> Any:
        """The prior on a part of the batch, its discrete sites enumerated where it asks for it."""
        given = {name: value[part] for name, value in (values or {}).items()}
        program = poutine.condition(self.prior, data={**parameters, **given})
        if values is not None:
            program = poutine.enum(program, first_available_dim=-2)
        try:
            return poutine.trace(program).get_trace(*self._rows(part))
        except NotImplementedError as error:
            raise ValueError(
                f"the prior is flat over a site, so that there is no KL(R || P) to bound: pass a proper prior ({error})"
            ) from error

    def _score(self, parameters: Values, part: slice, values: Values) -> Tensor:
        trace = self._trace(parameters, part, values)
        local = {name: site for name, site in trace.nodes.items() if site["type"] == "sample" and in_batch(site)}
        unseen = [
            n for n, s in local.items() if n not in values and _is_latent(s) and not s["infer"].get("_enumerate_dim")
        ]
        if unseen:
            raise ValueError(
                f"the prior draws {unseen} for each datum, and the guide does not: sum them out "
                '(infer={"enumerate": "parallel"} for discrete ones), or let the guide sample them'
            )
        trace.compute_log_prob()
        total = sum(site["log_prob"] for site in local.values())
        return total.flatten(0, -2).logsumexp(0) if total.dim() > 1 else total  # the dims to the left are enumerated

    def _parameters(self, guide: Callable, given: Any) -> list[Values]:
        """What the prior is conditioned on, one dict per draw; one empty dict if it has no parameters."""
        part = self._rows(self._parts[0])
        trace = poutine.trace(poutine.condition(self.prior, data=self._first(part))).get_trace(*part)
        names = [n for n, s in trace.nodes.items() if _is_latent(s) and not in_batch(s)]
        if not names:
            return [{}]
        if given is None:
            traces: list[Any] = [poutine.trace(guide).get_trace(*part) for _ in range(DRAWS)]
            draws = [{n: t.nodes[n]["value"] for n in names if n in t.nodes} for t in traces]
        elif isinstance(given, dict):  # trees are mappings as well
            draws = [{n: torch.as_tensor(given[n]) for n in names if n in given}]
        else:
            from pyro_ldm.diagnostics.arviz import draws as draws_of

            found = {n: value for n, value in draws_of(given).items() if n in names}
            every = torch.linspace(0, len(next(iter(found.values()))) - 1, DRAWS).long().unique() if found else []
            draws = [{n: value[i] for n, value in found.items()} for i in every] or [{}]
        missing = sorted(set(names) - set(draws[0]))
        if missing:
            raise ValueError(
                f"the prior has parameters {missing} without a value: pass parameters=, a dict of values or a tree "
                "with their posterior"
            )
        like = next(iter(self.values.values()))
        return [{n: v.to(like) if v.is_floating_point() else v.to(like.device) for n, v in d.items()} for d in draws]

    def _first(self, part: tuple) -> Values:
        return {name: value[: len(part[0])] for name, value in self.values.items()}

    def _check(self, sites: Mapping[str, Any]) -> None:
        if not sites:
            raise ValueError('the guide samples nothing in plate "batch": there are no latents to look at')
        for name, value in self.values.items():
            if not value.is_floating_point():
                raise ValueError(
                    f"site {name!r} is discrete, and these are bounds for densities: Objective.terms has the exact KL "
                    "of categories"
                )
            rows = value.reshape(len(value), -1)
            bad = int((~torch.isfinite(rows)).any(-1).sum())
            if bad:
                raise ValueError(f"site {name!r} has NaN or Inf in {bad} of {len(rows)} rows: look at data and encoder")
            constant = (rows.amax(0) == rows.amin(0)).nonzero().flatten().tolist()
            if constant:
                raise ValueError(
                    f"site {name!r} is constant in coordinates {constant[:10]}: the encoder has collapsed there, and "
                    "KL(R || P) is infinite; train with an entropy in place of Zero"
                )


def _batch(data: Any, views: Callable | None, num_rows: int, *programs: Callable) -> tuple[Tensor, ...]:
    tensors = tensors_of(data)
    mask = next((t for t in tensors[1:] if t.dtype == torch.bool), None)
    if mask is not None:
        whole = mask.reshape(len(mask), -1).all(1)
        tensors = tuple(t[whole] for t in tensors)
    if len(tensors[0]) < 2:
        raise ValueError(f"at least two rows without masked steps are needed, got {len(tensors[0])}: pass more data")
    chosen = torch.randperm(len(tensors[0]))[:num_rows].sort().values
    # Where the guide is; latents that are encoded already, where the prior is.
    device = device_of(*programs, default=tensors[0].device)
    tensors = tuple(t[chosen.to(t.device)].to(device) for t in tensors)
    return tensors if views is None else (*views(tensors[0]), *tensors[1:])


def _as_it_is(z: Tensor, *others: Tensor) -> Tensor:
    """The guide of latents that are encoded already."""
    if z.dim() not in (2, 3):
        raise ValueError(
            f"latents are (N, D), or series (N, T, D), got shape {tuple(z.shape)}: make one coordinate a column by "
            "reshape(-1, 1)"
        )
    with pyro.plate("batch", len(z)):
        return pyro.sample("z", Pushforward(z, Zero(), event_dim=z.dim() - 1))


def _is_latent(site: Any) -> bool:
    return (
        site["type"] == "sample"
        and not site["is_observed"]
        and not site_is_subsample(site)
        and not site["infer"].get("is_auxiliary")
    )
