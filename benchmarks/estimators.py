"""Entropy estimators: accuracy, equivariance, bias, speed and memory. Sections by name, or all of them:

    python benchmarks/estimators.py [accuracy] [scale] [sphere] [bias] [speed] [memory]

Bars: on 4000 draws of N(0, I_8), mean of 20 repetitions, LogDet within 0.05 nats, KNN 0.1, KDE 0.45; H[aZ] - H[Z] =
8 log a to 1e-3; forward and backward of KDE and KNN at N = 1024, D = 256 within 3 x `(z @ z.T).sum()`; under 1.5 GB at
N = 32768.
"""

import math
import os
import platform
import statistics
import subprocess
import sys
import time
import warnings

import torch
import torch.nn.functional as F

import pyro_ldm as ldm

KDE, KNN, LogDet = ldm.entropy.KDE, ldm.entropy.KNN, ldm.entropy.LogDet
GaussianKernel, VonMisesFisherKernel = ldm.entropy.GaussianKernel, ldm.entropy.VonMisesFisherKernel
Plane, Sphere = ldm.entropy.Plane, ldm.entropy.Sphere


def gaussian_entropy(dim: int) -> float:
    """Of N(0, I), nats."""
    return 0.5 * dim * math.log(2 * math.pi * math.e)


def accuracy() -> None:
    """N(0, I_8) at N = 4000."""
    true = gaussian_entropy(8)
    print(f"N(0, I_8), 4000 draws, mean of 20 repetitions; true entropy {true:.3f} nats")
    print("| estimator | mean | error | bar |\n|---|---|---|---|")
    torch.manual_seed(0)
    draws = [torch.randn(4000, 8) for _ in range(20)]
    for estimator, bar in ((LogDet(), 0.05), (KNN(), 0.1), (KDE(), 0.45)):
        mean = statistics.mean(float(-estimator(z).mean()) for z in draws)
        print(f"| {type(estimator).__name__} | {mean:.3f} | {mean - true:+.3f} | {bar} |")


def scale() -> None:
    """Equivariance to scale."""
    print("H[aZ] - H[Z] - 8 log a, largest over a in (1e-3, 7, 1e3); 1000 draws of N(0, I_8); bar 1e-3")
    print("| estimator | float64 | float32 |\n|---|---|---|")
    torch.manual_seed(0)
    z = torch.randn(1000, 8, dtype=torch.float64)
    raw = Plane(whiten=False)
    estimators = {
        "LogDet()": LogDet(),
        "LogDet(shrinkage='oas')": LogDet(shrinkage="oas"),
        "LogDet(shrinkage='ledoit-wolf')": LogDet(shrinkage="ledoit-wolf"),
        "KDE()": KDE(),
        "KDE(GaussianKernel(0.5))": KDE(GaussianKernel(0.5)),
        "KNN()": KNN(),
        "KNN(space=Plane(whiten=False))": KNN(space=raw),
    }
    for name, estimator in estimators.items():
        worst = []
        for dtype in (torch.float64, torch.float32):
            rows = z.to(dtype)
            base = -estimator(rows).double().mean()
            errors = [-estimator(a * rows).double().mean() - base - 8 * math.log(a) for a in (1e-3, 7.0, 1e3)]
            worst.append(max(abs(float(e)) for e in errors))
        print(f"| {name} | {worst[0]:.1e} | {worst[1]:.1e} |")


def sphere() -> None:
    """Uniform and von Mises-Fisher rows."""
    print("On the unit sphere, 4000 draws, mean of 5 repetitions; error in nats")
    print("| rows | D | true entropy | KNN(space=Sphere()) | KDE(VonMisesFisherKernel) | its concentration |")
    print("|---|---|---|---|---|---|")
    torch.manual_seed(0)
    for dim in (3, 8, 32):
        loc = torch.eye(dim, dtype=torch.float64)[0]
        for kappa in (0.0, 10.0):
            source = ldm.distributions.VonMisesFisher(loc, torch.tensor(kappa, dtype=torch.float64))
            true, kernel = float(source.entropy()), 5.0 if kappa == 0 else 60.0
            draws = [source.sample((4000,)) for _ in range(5)]
            errors = [
                statistics.mean(float(-e(z).mean()) for z in draws) - true
                for e in (KNN(space=Sphere()), KDE(VonMisesFisherKernel(kernel)))
            ]
            name = "uniform" if kappa == 0 else f"vMF, kappa {kappa:.0f}"
            print(f"| {name} | {dim} | {true:.3f} | {errors[0]:+.3f} | {errors[1]:+.3f} | {kernel:.0f} |")


def bias() -> None:
    """Bias over N and D."""
    print("Bias on N(0, I_D), nats, mean of 20 repetitions (4 at N = 4000)")
    columns = {
        "LogDet": LogDet(),
        "LogDet, uncorrected": LogDet(correct=False),
        "LogDet, OAS": LogDet(shrinkage="oas"),
        "KNN": KNN(),
        "KDE": KDE(),
        "KDE, self included": KDE(include_self=True),
    }
    print("| D | N | " + " | ".join(columns) + " |\n|" + "---|" * (len(columns) + 2))
    torch.manual_seed(0)
    for dim in (2, 8, 32, 64):
        for n in (256, 1024, 4000):
            draws = [torch.randn(n, dim) for _ in range(20 if n < 4000 else 4)]
            true = gaussian_entropy(dim)
            cells = [f"{statistics.mean(float(-e(z).mean()) for z in draws) - true:+.2f}" for e in columns.values()]
            print(f"| {dim} | {n} | " + " | ".join(cells) + " |")


def plain_kde(z: torch.Tensor) -> torch.Tensor:
    """The whitened KDE by plain autograd, for comparison."""
    centered = z - z.mean(0)
    factor = torch.linalg.cholesky(centered.T @ centered / (len(z) - 1))
    white = torch.linalg.solve_triangular(factor, centered.T, upper=False).T
    h = len(z) ** (-1 / (z.shape[1] + 4))
    squared = white.square().sum(-1)
    scores = -(squared[:, None] + squared - 2 * white @ white.T) / (2 * h * h)
    return scores.masked_fill(torch.eye(len(z), dtype=torch.bool), -torch.inf).logsumexp(-1)


def speed() -> None:
    """Time of forward and backward, against the matrix product."""
    torch.manual_seed(0)
    z = torch.randn(1024, 256, requires_grad=True)
    unit = F.normalize(z.detach(), dim=-1).requires_grad_()
    estimators = {
        "KDE()": (KDE(), z),
        "KNN()": (KNN(), z),
        "KDE, not whitened": (KDE(GaussianKernel(1.0, whiten=False)), z),
        "KNN, not whitened": (KNN(space=Plane(whiten=False)), z),
        "KDE(VonMisesFisherKernel(5))": (KDE(VonMisesFisherKernel(5.0)), unit),
        "KNN(space=Sphere())": (KNN(space=Sphere()), unit),
        "LogDet()": (LogDet(), z),
        "KDE by plain autograd": (plain_kde, z),
    }
    steps = {"(z @ z.T).sum()": lambda: (z @ z.T).sum().backward()}
    steps |= {name: (lambda e=e, x=x: e(x).mean().backward()) for name, (e, x) in estimators.items()}
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repetition in range(45):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repetition >= 5:
                times[name].append(time.perf_counter() - start)
    floor = statistics.median(times["(z @ z.T).sum()"])
    print("Forward and backward at N = 1024, D = 256, float32, alternating, median of 40; bar 3 x")
    print("| what | milliseconds | ratio |\n|---|---|---|")
    for name, values in times.items():
        print(f"| {name} | {1e3 * statistics.median(values):.1f} | {statistics.median(values) / floor:.2f} |")


MEMORY_PROBE = """
import resource, sys, torch
from pyro_ldm.entropy import *
peak = lambda: resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**20
z = torch.randn(32768, int(sys.argv[2]), requires_grad=True)
{"KDE": KDE, "KNN": KNN}[sys.argv[1]]()(z[:512]).mean().backward()
before = peak()
{"KDE": KDE, "KNN": KNN}[sys.argv[1]]()(z).mean().backward()
print(peak() - before, peak())
"""


def memory() -> None:
    """Peak memory at N = 32768, each in a process of its own."""
    print("Peak memory of forward and backward at N = 32768, float32; bar 1.5 GB")
    print("| estimator | D | beyond the process before | whole process |\n|---|---|---|---|")
    for name in ("KDE", "KNN"):
        for dim in (64, 256):
            command = [sys.executable, "-c", MEMORY_PROBE, name, str(dim)]
            added, whole = subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()
            print(f"| {name}() | {dim} | {float(added):.2f} GB | {float(whole):.2f} GB |")


def main() -> None:
    """Run the sections named, or all."""
    warnings.simplefilter("error")
    sections = {f.__name__: f for f in (accuracy, scale, sphere, bias, speed, memory)}
    print(f"{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}, seed 0")
    for name in sys.argv[1:] or sections:
        print(f"\n## {name}\n")
        sections[name]()


if __name__ == "__main__":
    main()
