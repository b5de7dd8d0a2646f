"""Markov chains of NUTS over a prior's parameters: one after another, or each in a process of its own."""

import pickle
import tempfile
import threading
import time
import warnings
from collections.abc import Callable, Iterator
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NamedTuple

import numpy
import pyro
import torch
from pyro import poutine
from pyro.infer import NUTS
from pyro.infer.autoguide.initialization import InitMessenger, init_to_sample, init_to_uniform
from pyro.infer.mcmc.util import initialize_model
from pyro.ops.integrator import potential_grad
from torch import Tensor

from pyro_ldm.posterior.coordinates import coordinates
from pyro_ldm.posterior.given import Given, is_flat
from pyro_ldm.posterior.progress import progress_bar
from pyro_ldm.posterior.unexpanded import Unexpanded, can_be_unexpanded

STARTS = 10  # draws from the prior, of which a chain starts at the likeliest: dispersed, but not lost in a heavy tail
TRIES = 100
GRADIENTS = 10  # of a step, about: what a chain will take is guessed by it
WORTH = 20.0  # seconds of sampling above which processes are worth starting
FOR_A_COVARIANCE = 10  # steps of warm-up for each parameter: with fewer its estimate is worse than none
MAX_TREE_DEPTH = 10


class Settings(NamedTuple):
    """How a chain is run."""

    num_samples: int
    warmup_steps: int
    target_accept: float
    seed: int


class Chain(NamedTuple):
    """Draws by parameter, and the sampler's statistics under ArviZ's names, (num_samples, ...) each, on the CPU."""

    draws: dict[str, Tensor]
    stats: dict[str, Tensor]


def run_chains(given: Given, settings: Settings, *, num_chains: int, progress: bool) -> list[Chain]:
    """Run chains, each on one thread and on random numbers of its own: how they are run makes no difference.

    Args:
        given: A prior with parameters, and latents.
        settings: Of each chain.
        num_chains: How many.
        progress: Whether to show a bar over all steps of all chains, on stderr.

    Raises:
        ValueError: If no start with a finite density is found.
    """
    jobs = _jobs(given, settings, num_chains)
    steps = settings.warmup_steps + settings.num_samples
    with progress_bar("NUTS", num_chains * steps, show=progress) as bar:
        if jobs > 1:
            try:
                return _in_processes(given, settings, num_chains, jobs, bar)
            except (pickle.PicklingError, BrokenProcessPool) as error:
                warnings.warn(
                    f"the chains run one after another, since other processes cannot take the prior ({error}): "
                    "define it in the script, a notebook or an installed module",
                    stacklevel=3,
                )
        bar.reset()
        return [run_chain(given, settings, chain, lambda _: bar.update()) for chain in range(num_chains)]


def run_chain(given: Given, settings: Settings, chain: int, tick: Callable[[int], Any]) -> Chain:
    """One chain of NUTS, in coordinates in which the posterior is round where it has a mode.

    There the mass matrix is diagonal; elsewhere dense, if the warm-up is long enough to learn one.

    Args:
        given: A prior with parameters, and latents.
        settings: Of the chain.
        chain: Its number: with the seed, what its random numbers depend on.
        tick: Called with the number of steps done, after each.
    """
    draws: list[dict[str, Tensor]] = []
    stats: list[dict[str, float]] = []
    seed = settings.seed * 1_000_003 + chain
    with _one_thread(), given.running(), pyro.validation_enabled(False), given.seeded(seed):
        potential, transforms, start = _start(given)
        space = coordinates(potential, start)
        evaluations = 0

        def counted(state: dict[str, Tensor]) -> Tensor:
            nonlocal evaluations
            evaluations += 1
            try:
                return potential(space.parameters(state["u"]))
            except ValueError as error:
                # A step too long, and a parameter is 0 or infinite: distributions made before the program ran check
                # their values even where validation is off. The sampler turns back at what is not a number.
                if "within the support" not in str(error) and "satisfy the constraint" not in str(error):
                    raise
                return 0.0 * state["u"].sum() + torch.nan

        kernel: Any = NUTS(
            potential_fn=counted,
            target_accept_prob=settings.target_accept,
            max_tree_depth=MAX_TREE_DEPTH,
            full_mass=space.factor is None and settings.warmup_steps >= FOR_A_COVARIANCE * len(space.centre),
        )
        state = kernel.initial_params = {"u": space.begin()}
        kernel.setup(settings.warmup_steps)
        for step in range(settings.warmup_steps + settings.num_samples):
            evaluations = 0
            state = kernel.sample(state)
            tick(step + 1)
            if step < settings.warmup_steps:
                continue
            found = space.parameters(state["u"].detach())
            draws.append({name: transforms[name].inv(value).cpu() for name, value in found.items()})
            stats.append(
                {
                    "diverging": step - settings.warmup_steps in kernel.diagnostics()["divergences"],
                    "lp": -float(kernel._potential_energy_last),
                    "n_steps": evaluations,
                    "tree_depth": evaluations.bit_length(),
                    "step_size": float(kernel.step_size),
                }
            )
    return Chain(
        {name: torch.stack([draw[name] for draw in draws]) for name in given.parameters},
        {name: torch.from_numpy(numpy.array([stat[name] for stat in stats])) for name in stats[0]},
    )


def _start(given: Given) -> tuple[Callable, dict[str, Any], dict[str, Tensor]]:
    """The potential energy, the maps to unconstrained parameters, and where a chain starts."""
    program = Unexpanded(can_be_unexpanded(given.sites, given.z))(poutine.condition(given.prior, data=given.z))
    _, potential, transforms, _ = initialize_model(
        program, given.batch, init_strategy=_from_the_prior, initial_params={}
    )
    start = InitMessenger(_from_the_prior)(program)
    best, lowest, found = {}, float("inf"), 0
    for _ in range(TRIES):
        nodes: dict[str, Any] = dict(poutine.trace(start).get_trace(*given.batch).nodes)
        values = {name: nodes[name]["value"].detach().to(given.dtype) for name in given.parameters}
        values = {name: transforms[name](value) for name, value in values.items()}
        gradient, energy = potential_grad(potential, values)
        if all(bool(torch.isfinite(each).all()) for each in (energy, *gradient.values(), *values.values())):
            found += 1
            if float(energy) < lowest:
                best, lowest = values, float(energy)
        if found == STARTS:
            break
    if not found:
        raise ValueError(
            f"the log-density of the latents is not finite at any of {TRIES} draws of the parameters from their prior: "
            "look for latents outside the prior's support, or give the parameters a narrower prior"
        )
    return potential, transforms, best


def _from_the_prior(site: Any = None) -> Any:
    if site is None:
        return _from_the_prior
    return init_to_uniform(site) if is_flat(site) else init_to_sample(site)


def _jobs(given: Given, settings: Settings, num_chains: int) -> int:
    """How many processes are worth it."""
    from joblib import cpu_count

    jobs = min(num_chains, cpu_count())
    if jobs == 1:
        return 1
    with _one_thread(), given.running(), pyro.validation_enabled(False), given.seeded(settings.seed):
        potential, _, start = _start(given)
        before = time.perf_counter()
        potential_grad(potential, start)
        seconds = time.perf_counter() - before
    steps = num_chains * (settings.warmup_steps + settings.num_samples)
    return jobs if seconds * steps * GRADIENTS > WORTH else 1


def _in_processes(given: Given, settings: Settings, num_chains: int, jobs: int, bar: Any) -> list[Chain]:
    from joblib import Parallel, delayed, parallel_config

    with tempfile.TemporaryDirectory() as folder, _watching(Path(folder), bar):
        with parallel_config(backend="loky", inner_max_num_threads=1):
            run = delayed(_reporting)
            return Parallel(n_jobs=jobs)(run(given, settings, c, Path(folder, str(c))) for c in range(num_chains))


def _reporting(given: Given, settings: Settings, chain: int, file: Path) -> Chain:
    """A chain in a process of its own: the number of its steps goes to a file."""
    last = 0.0

    def tick(step: int) -> None:
        nonlocal last
        if time.monotonic() - last > 0.2:
            last = time.monotonic()
            file.write_text(str(step))

    return run_chain(given, settings, chain, tick)


@contextmanager
def _watching(folder: Path, bar: Any) -> Iterator[None]:
    """Moves the bar as the files say."""
    done = threading.Event()

    def watch() -> None:
        while not done.wait(0.2):
            bar.update(sum(int(file.read_text() or 0) for file in folder.iterdir()) - bar.n)

    thread = threading.Thread(target=watch, daemon=True)
    thread.start()
    try:
        yield
        bar.update(bar.total - bar.n)
    finally:
        done.set()
        thread.join()


@contextmanager
def _one_thread() -> Iterator[None]:
    """Sums in the same order wherever a chain runs; the second core has a chain of its own."""
    before = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        yield
    finally:
        torch.set_num_threads(before)
