"""A prior and latents that fit together: what the posterior's parts share when they run a program."""

from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta, ExpandedDistribution, ImproperUniform, MaskedDistribution
from pyro.infer import config_enumerate
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor
from torch.distributions import Independent, transform_to

from pyro_ldm.devices import cuda_devices
from pyro_ldm.diagnostics.arviz.programs import in_batch
from pyro_ldm.objective import keep_local_parameters

DRAWS = "_pyro_ldm_draws"  # the plate over draws: no program has one of this name


class Given(NamedTuple):
    """A prior that is given latents.

    Attributes:
        prior: A copy, its learned parameters held fixed.
        z: Latents by site.
        batch: What the prior is called with.
        dtype: Double precision where the program takes it, else that of what it was given.
        sites: All its sample sites, as a trace holds them, by name.
    """

    prior: Callable
    z: dict[str, Tensor]
    batch: tuple
    dtype: torch.dtype
    sites: dict[str, Any]

    @property
    def num_data(self) -> int:
        """N."""
        return len(self.batch[0])

    @property
    def parameters(self) -> dict[str, Any]:
        """Sample sites outside plate "batch" that are not observed."""
        return {n: site for n, site in self.sites.items() if not in_batch(site) and not site["is_observed"]}

    @property
    def computed_sites(self) -> dict[str, Any]:
        """What the program computes of its parameters: ``pyro.deterministic``, or what is reparameterised."""
        return {
            n: site for n, site in self.sites.items() if isinstance(_base(site["fn"]), Delta) and not in_batch(site)
        }

    @property
    def nesting(self) -> int:
        """How many dims the program's plates take."""
        return max([1, *(-frame.dim for site in self.sites.values() for frame in site["cond_indep_stack"])])

    @contextmanager
    def running(self) -> Iterator[None]:
        """Parameters of modules stay theirs, and numbers a program writes are of its precision."""
        before = torch.get_default_dtype()
        keep_local_parameters(poutine.unwrap(self.prior))
        torch.set_default_dtype(self.dtype)
        try:
            with pyro.settings.context(module_local_params=True):
                yield
        finally:
            torch.set_default_dtype(before)

    @contextmanager
    def seeded(self, seed: int) -> Iterator[None]:
        """Random numbers from a seed; the global random state is put back."""
        with torch.random.fork_rng(cuda_devices()):
            torch.manual_seed(seed)
            yield

    def trace(self, values: Mapping[str, Tensor], *, num: int | None = None, enumerate: bool = False) -> Any:
        """Run the prior with sites at these values.

        Args:
            values: Of latents, and of parameters; with ``num``, of so many draws, by :meth:`over_draws`.
            num: How many draws of the parameters there are at once, in a plate left of the program's own.
            enumerate: Whether discrete sites that have no value take all of them, in dims further left.
        """
        program = poutine.condition(self.prior, data=dict(values))
        if enumerate:
            program = poutine.enum(config_enumerate(program), first_available_dim=-1 - self.nesting - (num is not None))
        if num is not None:
            program = pyro.plate(DRAWS, num, dim=-1 - self.nesting)(program)
        return poutine.trace(program).get_trace(*self.batch)

    def datum_log_prob(self, trace: Any, *, num: int | None = None) -> Tensor:
        """Log-density of each datum in a scored trace, all its sites together, summed over what is enumerated.

        Shape:
            (N,), with ``num`` (num, N).
        """
        trace.compute_log_prob()
        total = sum(site["log_prob"] for site in sample_sites(trace).values() if in_batch(site))
        shape = (self.num_data,) if num is None else (num, *[1] * (self.nesting - 1), self.num_data)
        total = total.broadcast_to(torch.broadcast_shapes(total.shape, shape))
        return total.reshape(-1, *shape[:1], *shape[-1:] * (num is not None)).logsumexp(0)

    def first(self, draw: Mapping[str, Tensor] | None = None) -> Any:
        """Run the prior on its latents; parameters are as drawn, or come from their own prior, flat ones anyhow."""
        values = {**self.z, **(draw or {})}
        with self.running(), torch.no_grad():
            return poutine.trace(FillFlat()(poutine.condition(self.prior, data=values))).get_trace(*self.batch)

    def over_draws(self, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """Draws (S, ...) of parameters as values in the plate over draws, left of the program's own plates."""
        values = {}
        for name, value in draws.items():
            before = value.dim() - 1 - self.parameters[name]["fn"].event_dim
            values[name] = value.reshape(len(value), *[1] * (self.nesting - before), *value.shape[1:])
        return values

    def checked(self, draws: Mapping[str, Tensor], *, num: int = 1) -> tuple[dict[str, Tensor], int]:
        """Draws of all parameters, without what is computed of them, and how many; ``num`` if there are none.

        Raises:
            ValueError: If a parameter is missing, unknown, or of another shape.
        """
        missing, unknown = set(self.parameters) - set(draws), set(draws) - set(self.sites)
        if missing or unknown:
            raise ValueError(
                f"draws are of {sorted(draws)}, and the prior's parameters are {sorted(self.parameters)}: "
                "pass the posterior of this prior"
            )
        result = {}
        for name, site in self.parameters.items():
            value, shape = draws[name], site["value"].shape
            if value.shape[1:] != shape:
                raise ValueError(
                    f"draws of {name!r} have shape {tuple(value.shape)}, where {('S', *shape)} is wanted: "
                    "one value for each draw, chains and draws flattened"
                )
            result[name] = value.detach().to(site["value"].device, self.dtype)
        lengths = {name: len(value) for name, value in result.items()} or {"": num}
        if len(set(lengths.values())) > 1:
            raise ValueError(f"there must be equally many draws of each parameter, got {lengths}")
        return result, min(lengths.values())

    def short(self) -> "Given":
        """The same on two rows of the batch, unless rows are observed: enough to draw the parameters."""
        if any(in_batch(site) and site["is_observed"] and name not in self.z for name, site in self.sites.items()):
            return self._replace(z={})
        return self._replace(z={}, batch=rows_of(self.batch, torch.arange(2)))

    def computed(self, draws: Mapping[str, Tensor]) -> dict[str, Tensor]:
        """What the program computes of its parameters, at draws (S, ...) of them."""
        short, num = self.short(), len(next(iter(draws.values()))) if self.computed_sites else 0
        with self.seeded(0):
            traces = [short.first({name: value[draw] for name, value in draws.items()}) for draw in range(num)]
        return {name: torch.stack([trace.nodes[name]["value"] for trace in traces]) for name in self.computed_sites}


def parameters_of(given: Given) -> list[str]:
    """Names of the parameters.

    Raises:
        ValueError: If there are none.
    """
    if not given.parameters:
        raise ValueError(
            "nothing to infer: the prior has no parameters with a prior of their own; pass a distribution for a "
            'hyperparameter, such as scale=dist.LogNormal(0.0, 1.0), or pyro.sample it outside plate "batch"'
        )
    return list(given.parameters)


def rows_of(batch: tuple, which: Tensor) -> tuple:
    """These rows of what a prior is called with: of a tensor its own, of a range as many, ``None`` is nothing still.

    Args:
        batch: Tensors, ranges, or ``None`` for what is left out, such as a mask.
        which: Positions, (M,).
    """
    return tuple(
        each[which.to(each.device)] if torch.is_tensor(each) else None if each is None else range(len(which))
        for each in batch
    )


def sample_sites(trace: Any) -> dict[str, Any]:
    """A trace's sample sites."""
    return {n: s for n, s in trace.nodes.items() if s["type"] == "sample" and not site_is_subsample(s)}


def is_flat(site: Any) -> bool:
    """Whether a site cannot be drawn."""
    return isinstance(_base(site["fn"]), ImproperUniform)


def _base(fn: Any) -> Any:
    while isinstance(fn, MaskedDistribution | ExpandedDistribution | Independent):
        fn = fn.base_dist
    return fn


class FillFlat(Messenger):
    """Gives flat sites, which cannot be drawn, some value."""

    def _pyro_sample(self, msg) -> None:
        if msg["value"] is None and is_flat(msg):
            msg["value"] = transform_to(msg["fn"].support)(torch.zeros(msg["fn"].shape()))
