"""A prior and latents that fit together: what the posterior's parts share when they run a program."""

import copy
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from functools import partial
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions import Delta, ExpandedDistribution, ImproperUniform, MaskedDistribution
from pyro.infer import config_enumerate
from pyro.poutine.condition_messenger import ConditionMessenger
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from torch.distributions import Independent, transform_to

from pyro_ldm.diagnostics.arviz.programs import in_batch
from pyro_ldm.objective import cuda_devices, keep_local_parameters

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


def prepare(prior: Callable, z: Mapping[str, Tensor], batch: tuple) -> Given:
    """Copy a prior and the latents that it is given to the CPU, in double precision, and check that they fit.

    Accelerators are slow in double precision, or have none. A program that computes in single precision whatever it is
    given, such as a function around a network, is left so.

    Raises:
        ValueError: If they do not fit, or a parameter is discrete.
    """
    if z and len(batch[0]) != len(next(iter(z.values()))):
        raise ValueError(
            f"the batch has {len(batch[0])} rows and the latents {len(next(iter(z.values())))}: "
            "pass the batch that the latents are of"
        )
    floating = [t.dtype for t in (*z.values(), *batch) if torch.is_tensor(t) and t.is_floating_point()]
    z, batch = {name: _on_cpu(value) for name, value in z.items()}, tuple(map(_on_cpu, batch))
    given = Given(_copied(prior), z, batch, (*floating, torch.get_default_dtype())[0], {})
    double = Given(
        _copied(prior), {n: _double(v) for n, v in z.items()}, tuple(_double(t) for t in batch), torch.float64, {}
    )
    module = poutine.unwrap(double.prior)
    if isinstance(module, nn.Module):
        module.double()
    with given.seeded(0):
        try:
            trace = double.first()
            given = double
        except RuntimeError as error:
            if "dtype" not in str(error) and "scalar type" not in str(error):
                raise
            trace = given.first()
    sites = sample_sites(trace)
    missing = sorted(set(z) - set(sites))
    if missing:
        names = sorted(name for name, site in sites.items() if in_batch(site))
        raise ValueError(f"the prior has no site {missing}: its latent sites, in plate 'batch', are {names}")
    for name, site in sites.items():
        if in_batch(site) or name in z:
            _check_local(name, site, z)
        elif not site["is_observed"] and site["fn"].has_enumerate_support:
            raise ValueError(
                f"parameter {name!r} of the prior is discrete, and posteriors are over continuous parameters: "
                'move it into plate "batch", where it is summed out, or sum it out in the program'
            )
    return given._replace(sites=sites)


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


def _check_local(name: str, site: Any, z: Mapping[str, Tensor]) -> None:
    plates = [frame.name for frame in site["cond_indep_stack"]]
    if plates != ["batch"] or site["cond_indep_stack"][0].dim != -1:
        raise ValueError(
            f'site {name!r} of the prior is in plates {plates}: sample it within pyro.plate("batch", len(x)) alone, '
            "with further dims as event dims, by .to_event"
        )
    shape = tuple(site["fn"].shape())
    if name in z and tuple(z[name].shape) != shape:
        raise ValueError(f"site {name!r} has shape {shape} in the prior, and its latents {tuple(z[name].shape)}")
    if z and not site["is_observed"] and not site["fn"].has_enumerate_support:
        raise ValueError(f"the prior samples {name!r} for each datum: pass its latents too, z={{{name!r}: ...}}")


class FillFlat(Messenger):
    """Gives flat sites, which cannot be drawn, some value."""

    def _pyro_sample(self, msg) -> None:
        if msg["value"] is None and is_flat(msg):
            msg["value"] = transform_to(msg["fn"].support)(torch.zeros(msg["fn"].shape()))


def _copied(prior: Callable) -> Callable:
    """A copy, its parameters held fixed; handlers around a module are put around its copy."""
    if isinstance(prior, nn.Module):
        return copy.deepcopy(prior).requires_grad_(False).cpu().eval()
    wrapped = getattr(prior, "func", None)
    if isinstance(wrapped, partial) and len(wrapped.args) == 2 and isinstance(wrapped.args[0], Messenger):
        handler, program = wrapped.args
        if isinstance(handler, ConditionMessenger) and isinstance(handler.data, dict):
            handler = ConditionMessenger({name: _on_cpu(value) for name, value in handler.data.items()})
        return handler(_copied(program))
    return prior


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu() if torch.is_tensor(value) else value


def _double(value: Any) -> Any:
    return value.double() if torch.is_tensor(value) and value.is_floating_point() else value
