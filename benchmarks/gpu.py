"""What a GPU makes of it: steps through the ELBO beside the bare encoder, sums over pairs, the Kalman filter.

Each row is alternated with its floor, synchronised; medians of times, and of the ratios of neighbours. Floors: the bare
encoder, forward and backward; the Gram matrix with one exponential, or cdist with topk, in plain PyTorch; a filter that
loops over the steps. The CPU of the same machine beside it, where it is quick.
"""

import platform
import statistics
import time
from functools import partial

import pyro
import torch
from torch import nn

import pyro_ldm as ldm

GPU, CPU = torch.device("cuda"), torch.device("cpu")


def milliseconds(device: torch.device, repetitions: int, *steps) -> list[list[float]]:
    """Times of each step, all of them in turn."""
    times: list[list[float]] = [[] for _ in steps]
    for repetition in range(repetitions + 3):
        for step, found in zip(steps, times, strict=True):
            if device.type == "cuda":
                torch.cuda.synchronize()
            start = time.perf_counter()
            step()
            if device.type == "cuda":
                torch.cuda.synchronize()
            if repetition >= 3:
                found.append(1e3 * (time.perf_counter() - start))
    return times


def row(*cells) -> None:
    print("| " + " | ".join(f"{c:.2f}" if isinstance(c, float) else str(c) for c in cells) + " |", flush=True)


def head(*names) -> None:
    print()
    row(*names)
    print("|---" * len(names) + "|")


def against(device: torch.device, repetitions: int, ours, floor) -> tuple[float, float, float]:
    """Median of ours, of the floor, and of their ratios."""
    times = milliseconds(device, repetitions, ours, floor)
    return *map(statistics.median, times), statistics.median(a / b for a, b in zip(*times, strict=True))


def steps_of_training() -> None:
    head("ELBO step", "device", "objective, ms", "bare encoder, ms", "ratio", "difference, ms")
    mlp = partial(ldm.encoders.MLP, 784, 64, hidden=(512, 512), batch_norm=False)
    resnet = partial(ldm.encoders.ResNet18, (3, 32, 32), 64)
    for name, make, shape in (("MLP", mlp, (784,)), ("ResNet-18", resnet, (3, 32, 32))):
        for entropy in (ldm.entropy.LogDet(), ldm.entropy.KDE(), ldm.entropy.KNN()):
            for device, n in ((GPU, 1024), (GPU, 4096), (CPU, 1024)):
                if name == "ResNet-18" and (device is CPU or n > 1024):
                    continue
                encoder, x = make().to(device), torch.randn(n, *shape, device=device)
                guide = ldm.guides.Deterministic(encoder, entropy)
                objective = ldm.Objective(ldm.priors.Gaussian(64), guide).to(device)
                optimizer = torch.optim.Adam(objective.parameters(), lr=1e-4)

                def step(loss, x=x, optimizer=optimizer):
                    optimizer.zero_grad()
                    loss(x).backward()
                    optimizer.step()

                objective.check(x)
                with pyro.validation_enabled(False):
                    ours, floor, ratio = against(
                        device,
                        30 if device is GPU else 5,
                        lambda step=step, objective=objective: step(objective),
                        lambda step=step, encoder=encoder: step(lambda rows: encoder(rows).square().mean()),
                    )
                row(f"{name}, {type(entropy).__name__}, N = {n}", device.type, ours, floor, ratio, ours - floor)


def gram(z: torch.Tensor) -> torch.Tensor:
    """The Gaussian kernel's log-sum in plain PyTorch."""
    return (z @ z.T - 0.5 * z.square().sum(-1)).fill_diagonal_(-torch.inf).logsumexp(-1)


def neighbours(z: torch.Tensor) -> torch.Tensor:
    """The distance to the third neighbour in plain PyTorch."""
    with torch.no_grad():
        index = torch.cdist(z, z).topk(4, largest=False).indices[:, 3]
    return (z - z[index]).square().sum(-1).log()


def sums_over_pairs() -> None:
    head("estimator, D = 64", "device", "ours, ms", "plain PyTorch, ms", "ratio", "peak, MiB", "plain, MiB")
    for entropy, plain in ((ldm.entropy.KDE(), gram), (ldm.entropy.KNN(), neighbours)):
        for device, n in ((GPU, 4096), (GPU, 16384), (CPU, 4096)):
            z = torch.randn(n, 64, device=device, requires_grad=True)
            calls = [lambda f=f, z=z: torch.autograd.grad(f(z).mean(), z) for f in (entropy, plain)]
            found = against(device, 15 if device is GPU else 2, *calls)
            peaks = []
            for call in calls if device is GPU else ():
                torch.cuda.reset_peak_memory_stats()
                call()
                peaks.append(torch.cuda.max_memory_allocated() / 2**20)
            row(f"{type(entropy).__name__}, N = {n}", device.type, *found, *(peaks or ("", "")))


def loop_over_steps(a, q, c, r, z):
    """Log-likelihood by a filter that goes from step to step, with PyTorch's own gradient."""
    mean, cov = z.new_zeros(len(z), len(a)), torch.eye(len(a), device=z.device)
    total = z.new_zeros(len(z))
    for t in range(z.shape[1]):
        mean, cov = mean @ a, a.T @ cov @ a + q
        spread = c.T @ cov @ c + r
        error = z[:, t] - mean @ c
        total = total + torch.distributions.MultivariateNormal(torch.zeros_like(error), spread).log_prob(error)
        gain = torch.linalg.solve(spread, c.T @ cov)
        mean, cov = mean + error @ gain, cov - cov @ c @ gain
    return total


def kalman_filter() -> None:
    head("Kalman log_prob and gradient, N = 256", "device", "ours, ms", "loop over steps, ms", "speed-up")
    for states, observed in ((4, 2), (16, 8)):
        for device, steps in ((GPU, 100), (GPU, 1000), (CPU, 100), (CPU, 1000)):
            noise = {"transition_noise": nn.Parameter(torch.full((states,), 0.3))}
            rotation = nn.Parameter(0.95 * torch.linalg.qr(torch.randn(states, states)).Q)
            prior = ldm.priors.Kalman(observed, states, transition_matrix=rotation, **noise).to(device)
            z = torch.randn(256, steps, observed, device=device)
            q, r = (torch.diag(getattr(prior, f"{n}_noise").detach() ** 2) for n in ("transition", "observation"))
            leaves = [t.detach().requires_grad_() for t in (prior.transition_matrix, q, prior.observation_matrix, r)]

            def scan(prior=prior, z=z):
                with pyro.validation_enabled(False):
                    torch.autograd.grad(prior.distribution(z).log_prob(z).mean(), list(prior.parameters()))

            def loop(leaves=leaves, z=z):
                torch.autograd.grad(loop_over_steps(*leaves, z).mean(), leaves)

            ours, floor, ratio = against(device, 5 if steps == 100 else 2, scan, loop)
            row(f"S = {states}, L = {observed}, T = {steps}", device.type, ours, floor, 1 / ratio)


def main() -> None:
    """Print the tables."""
    if not torch.cuda.is_available():
        print("there is no CUDA GPU to measure")
        return
    torch.manual_seed(0)
    versions = (
        f"Python {platform.python_version()}, torch {torch.__version__}, pyro {pyro.__version__}, float32, seed 0"
    )
    print(f"{torch.cuda.get_device_name()}, {torch.get_num_threads()} threads of a CPU, {versions}")
    steps_of_training()
    sums_over_pairs()
    kalman_filter()


if __name__ == "__main__":
    main()
