"""Our state space against a loop over steps, Pyro's GaussianHMM and dynamax: value and gradient, and the values.

dynamax (JAX) is no dependency of the project, so this runs in an environment of its own. In a clone:

    python -m venv peers
    peers/bin/pip install torch==2.14.1 "jax[cpu]" dynamax .
    peers/bin/python benchmarks/state_space_speed.py

The objective is the mean log-density of B series of T steps, S states and L observations under one linear-Gaussian
model; gradients are those of the series and of all the model's matrices. All methods of a row alternate within one run,
in float32 (of ours, the covariances in float64). Medians of times, and of the ratios of neighbours. The loop is the
usual filter, written step by step with batched algebra on matrices of each series; dynamax's is ``lgssm_filter`` under
``vmap``, ``value_and_grad`` and ``jit``, its compilation not counted. Bars: 40, 15 and 60 times faster than the loop,
and at most 1.0 x dynamax's time.

``--own`` gives each series noise of its own at each step, which the filter's covariances then are as well.
"""

import argparse
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import jax
import jax.numpy as jnp
import pyro
import torch
from dynamax.linear_gaussian_ssm import lgssm_filter
from dynamax.linear_gaussian_ssm.inference import (
    ParamsLGSSM,
    ParamsLGSSMDynamics,
    ParamsLGSSMEmissions,
    ParamsLGSSMInitial,
)
from pyro import distributions as dist
from torch import Tensor

import pyro_ldm as ldm

SIZES = {(32, 100, 2, 2): 40, (128, 100, 8, 8): 15, (32, 1000, 2, 2): 60}
BAR = 1.0


def parameters(size: tuple[int, int, int, int], *, own: bool) -> dict[str, Tensor]:
    """A stable model, and series drawn from it; with ``own``, a scale of the noise for each step of each series."""
    batch, steps, states, observed = size
    rotation = torch.linalg.qr(torch.randn(states, states)).Q
    given = {
        "A": 0.95 * rotation,
        "C": torch.randn(states, observed) / states**0.5,
        "q": torch.full((states,), 0.3),
        "r": 0.3 + torch.rand(batch, steps, 1).expand(-1, -1, observed).clone()
        if own
        else torch.full((observed,), 0.5),
    }
    with torch.no_grad():
        given["z"] = state_space(given, steps).expand((batch,)).sample()
    return {name: value.requires_grad_() for name, value in given.items()}


def state_space(given: dict[str, Tensor], steps: int) -> ldm.distributions.LinearGaussianSSM:
    """Ours."""
    zero = torch.zeros(len(given["A"]))
    return ldm.distributions.LinearGaussianSSM(
        dist.Normal(zero, 1.0).to_event(1),
        given["A"],
        dist.Normal(zero, given["q"]).to_event(1),
        given["C"],
        dist.Normal(torch.zeros(given["C"].shape[1]), given["r"]).to_event(1),
        duration=steps,
    )


def ours(given: dict[str, Tensor]) -> Tensor:
    """Mean log-density under our state space."""
    return state_space(given, given["z"].shape[1]).log_prob(given["z"]).mean()


def hmm(given: dict[str, Tensor]) -> Tensor:
    """Mean log-density under Pyro's."""
    zero = torch.zeros(len(given["A"]))
    fn = dist.GaussianHMM(
        dist.Normal(zero, 1.0).to_event(1),
        given["A"],
        dist.Normal(zero, given["q"]).to_event(1),
        given["C"],
        dist.Normal(torch.zeros(given["C"].shape[1]), given["r"]).to_event(1),
        duration=given["z"].shape[1],
    )
    return fn.log_prob(given["z"]).mean()


def loop(given: dict[str, Tensor]) -> Tensor:
    """Mean log-density by a plain filter: one step after the other, matrices for each series."""
    a, c, z = given["A"], given["C"], given["z"]
    batch, steps, _ = z.shape
    mean, cov = torch.zeros(batch, len(a)), torch.eye(len(a)).expand(batch, -1, -1)
    process, total = torch.diag(given["q"] ** 2), torch.zeros(batch)
    noise = torch.diag_embed(given["r"] ** 2).expand(batch, steps, -1, -1)
    eye = torch.eye(len(a))
    for t in range(steps):
        mean, cov = mean @ a, a.T @ cov @ a + process
        spread = c.T @ cov @ c + noise[:, t]
        error = z[:, t] - mean @ c
        total = total + torch.distributions.MultivariateNormal(torch.zeros_like(error), spread).log_prob(error)
        gain = torch.linalg.solve(spread, c.T @ cov)
        mean = mean + (error.unsqueeze(1) @ gain).squeeze(1)
        kept = eye - c @ gain
        cov = kept.mT @ cov @ kept + gain.mT @ noise[:, t] @ gain
    return total.mean()


def dynamax(given: dict[str, Tensor]) -> tuple[Callable, dict]:
    """dynamax's value and gradient, compiled, and its parameters (column vectors; its first state is h_1)."""
    own = given["r"].dim() > 1

    def value(p: dict) -> jax.Array:
        size = len(p["A"])
        process = jnp.diag(p["q"] ** 2)
        start = ParamsLGSSMInitial(mean=jnp.zeros(size), cov=p["A"].T @ p["A"] + process)
        dynamics = ParamsLGSSMDynamics(
            weights=p["A"].T, bias=jnp.zeros(size), input_weights=jnp.zeros((size, 0)), cov=process
        )

        def one(z: jax.Array, r: jax.Array) -> jax.Array:
            seen = z.shape[-1]
            cov = jax.vmap(jnp.diag)(r**2) if own else jnp.diag(r**2)
            emissions = ParamsLGSSMEmissions(
                weights=p["C"].T, bias=jnp.zeros(seen), input_weights=jnp.zeros((seen, 0)), cov=cov
            )
            return lgssm_filter(ParamsLGSSM(start, dynamics, emissions), z).marginal_loglik

        return jax.vmap(one, in_axes=(0, 0 if own else None))(p["z"], p["r"]).mean()

    arrays = {name: jnp.asarray(t.detach().numpy()) for name, t in given.items()}
    return jax.jit(jax.value_and_grad(value)), arrays


def check(given: dict[str, Tensor], peers: dict[str, Callable]) -> float:
    """Largest difference of a peer's value and gradients from ours, relative to the largest entry."""
    step, arrays = dynamax(given)
    value, gradients = step(arrays)
    leaves = list(given.values())
    answers = {name: (float(f(given).detach()), torch.autograd.grad(f(given), leaves)) for name, f in peers.items()}
    answers["dynamax"] = (float(value), [torch.from_numpy(jax.device_get(gradients[name]).copy()) for name in given])
    reference, slopes = answers["ours"]
    worst = 0.0
    for other, theirs in answers.values():
        worst = max(worst, abs(other - reference) / abs(reference))
        for a, b in zip(slopes, theirs, strict=True):
            worst = max(worst, float((a - b).abs().max() / a.abs().max()))
    return worst


def kept(steps: int) -> float:
    """Bytes per step that the value of 32 series keeps for its gradient."""
    given, total = parameters((32, steps, 2, 2), own=False), 0

    def count(tensor: Tensor) -> Tensor:
        nonlocal total
        total += tensor.untyped_storage().nbytes()
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(count, lambda tensor: tensor):
        ours(given)
    return total / steps


def alternate(steps: dict[str, Callable[[], object]], seconds: float) -> dict[str, list[float]]:
    """Seconds of each, all in turn; the slow ones as often as the fast."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    end, repetition = time.perf_counter() + seconds, 0
    while repetition < 6 or (time.perf_counter() < end and repetition < 60):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repetition >= 2:
                times[name].append(time.perf_counter() - start)
        repetition += 1
    return times


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--own", action="store_true", help="noise of each step and series of its own")
    parser.add_argument("--seconds", type=float, default=40.0, help="per row")
    options = parser.parse_args()
    torch.manual_seed(0)
    pyro.enable_validation(False)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "pyro-ppl", "jax", "dynamax"))
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, Python {platform.python_version()}, {packages}")
    print("| B, T, S, L | ours, ms | loop, ms | HMM, ms | dynamax, ms | x faster than loop | bar | x HMM | x dynamax |")
    print("|" + "---|" * 9)
    worst = 0.0
    for size, bar in SIZES.items():
        given = parameters(size, own=options.own)
        peers = {"ours": ours, "loop": loop, "HMM": hmm}
        if size[1] <= 100:
            worst = max(worst, check(given, peers))
        leaves = list(given.values())
        steps: dict[str, Callable[[], object]] = {
            name: (lambda f=f, given=given, leaves=leaves: torch.autograd.grad(f(given), leaves))
            for name, f in peers.items()
        }
        step, arrays = dynamax(given)
        steps["dynamax"] = lambda step=step, arrays=arrays: jax.block_until_ready(step(arrays))
        times = alternate(steps, options.seconds)
        ratio = {n: statistics.median(a / b for a, b in zip(times["ours"], times[n], strict=True)) for n in times}
        medians = " | ".join(f"{1e3 * statistics.median(times[n]):.1f}" for n in ("ours", "loop", "HMM", "dynamax"))
        print(
            f"| {', '.join(map(str, size))} | {medians} | {1 / ratio['loop']:.0f} | {bar} | {ratio['HMM']:.2f} "
            f"| {ratio['dynamax']:.2f} |",
            flush=True,
        )
    memory = ", ".join(f"{kept(steps):.0f} at T = {steps}" for steps in (100, 1000, 10_000))
    print(f"\nKept for the gradient, 32 series, S = L = 2: bytes per step {memory} (z itself: {32 * 2 * 4}).")
    print(f"Largest relative difference of a value or gradient, T = 100, float32: {worst:.1e}; bar of x dynamax: {BAR}")


if __name__ == "__main__":
    main()
