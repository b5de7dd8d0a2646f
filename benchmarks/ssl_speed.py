"""Our NT-Xent and VICReg against lightly's: time of a forward and backward pass on given embeddings, and the value.

lightly needs torchvision, so this runs in an environment of its own. In a clone:

    python -m venv peers
    peers/bin/pip install torch==2.14.1 torchvision==0.29.1 lightly==1.6.0 .
    peers/bin/python benchmarks/ssl_speed.py

Ours is the whole ``ldm.Objective``: prior, guide and Pyro's ELBO. All steps of a row alternate within one run, on two
threads unless ``--threads`` says otherwise. Medians of times, and of the ratios of neighbours; beside them the ratio of
the fastest times, which a busy machine disturbs less. Floor: the matrix product, forward and backward: z z' of all 2N
rows for NT-Xent, z'z of each view for VICReg. Bars: at most 0.5 x lightly's time for NT-Xent, 1.0 x for VICReg. Pyro's
validation is off, as in ``ldm.fit``. Where N <= D the covariance has no determinant: there it is shrunk.

The values are compared in float32, relative to the terms that the constants are a part of: on the sphere of many dims
those are of hundreds of nats and cancel, and a float32 knows each of them to 7 digits.
"""

import argparse
import math
import os
import platform
import statistics
import time
from collections.abc import Callable
from importlib.metadata import version

import pyro
import torch
from lightly.loss import NTXentLoss, VICRegLoss
from torch import Tensor, nn

import pyro_ldm as ldm

TEMPERATURE, NOISE = 0.5, 0.2
BARS = {"NT-Xent": 0.5, "VICReg": 1.0}


def nt_xent(dim: int) -> ldm.Objective:
    """SimCLR's loss: twice NT-Xent, less 2 log(2N - 1), and the constants of prior and kernel."""
    kernel = ldm.entropy.VonMisesFisherKernel(1 / TEMPERATURE)
    prior = ldm.priors.VonMisesFisherViews(dim, concentration=2 / TEMPERATURE)
    return ldm.Objective(prior, ldm.guides.Views(ldm.encoders.Normalize(), ldm.entropy.Pooled(ldm.entropy.KDE(kernel))))


def vicreg(dim: int, log_det: ldm.entropy.LogDet) -> ldm.Objective:
    """VICReg's: invariance from a flat prior's coupling, variance and covariance from the log-determinant."""
    prior = ldm.priors.GaussianViews(dim, noise=NOISE, scale=None)
    return ldm.Objective(prior, ldm.guides.Views(nn.Identity(), ldm.entropy.Separate(log_det)))


@torch.no_grad()
def check_values(views: tuple[Tensor, Tensor]) -> tuple[float, float]:
    """Relative differences in float32 between our losses and lightly's with the stated constants."""
    n, dim = views[0].shape
    north, equator = torch.eye(dim, dtype=torch.float64)[:2]  # at a right angle exp(kappa z.y) is 1
    kernel, second, first = (
        float(ldm.distributions.VonMisesFisher(north, kappa).log_prob(equator))
        for kappa in (1 / TEMPERATURE, 2 / TEMPERATURE, 0.0)
    )
    theirs = 2 * float(NTXentLoss(TEMPERATURE)(*views)) - 2 * math.log(2 * n - 1) + 2 * kernel - second - first
    contrastive = abs(float(nt_xent(dim)(*views)) - theirs) / (abs(theirs) + abs(second + first))

    # Invariance and covariance are VICReg's; in place of its hinge stands [(v - 2)^2 - 1] / 4 for each variance v.
    diagonal = sum(float(((v.double().var(0) - 2).square() - 1).sum()) / 4 for v in views)
    constants = 0.5 * dim * math.log(2 * math.pi * NOISE**2) - dim * math.log(2 * math.pi * math.e)
    theirs = float(VICRegLoss(lambda_param=0.5 * dim / NOISE**2, mu_param=0.0, nu_param=0.25 * dim)(*views))
    theirs += diagonal + constants
    return contrastive, abs(float(vicreg(dim, ldm.entropy.LogDet(order=2))(*views)) / theirs - 1)


def alternate(steps: dict[str, Callable[[], Tensor]], leaves: list[Tensor], seconds: float) -> dict[str, list[float]]:
    """Seconds of each step, forward and backward, all of them in turn, so that drift hits them alike."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    end = time.perf_counter() + seconds
    repetition = 0
    while repetition < 12 or (time.perf_counter() < end and repetition < 203):
        for name, step in steps.items():
            for leaf in leaves:
                leaf.grad = None
            start = time.perf_counter()
            step().backward()
            if repetition >= 3:
                times[name].append(time.perf_counter() - start)
        repetition += 1
    return times


def ratio(ours: list[float], theirs: list[float]) -> float:
    """Median of the ratios of neighbours."""
    return statistics.median(a / b for a, b in zip(ours, theirs, strict=True))


def main() -> None:
    """Print the table."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--threads", type=int, default=2)
    torch.set_num_threads(parser.parse_args().threads)
    torch.manual_seed(0)
    pyro.enable_validation(False)
    packages = ", ".join(f"{name} {version(name)}" for name in ("torch", "pyro-ppl", "lightly"))
    print(f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, Python {platform.python_version()}, {packages}")
    print("| loss | N | D | floor, ms | lightly, ms | ours, ms | x lightly | fastest, x lightly | x floor | bar |")
    print("|" + "---|" * 10)
    values = []
    for n in (256, 1024, 4096):
        for dim in (128, 512):
            x = torch.randn(n, dim)
            leaves = [(x + NOISE * torch.randn(n, dim)).requires_grad_() for _ in range(2)]
            views = (leaves[0], leaves[1])
            values.append(check_values(views))
            exact = ldm.entropy.LogDet() if n > dim else ldm.entropy.LogDet(shrinkage="oas")
            ours = {
                "NT-Xent": nt_xent(dim),
                f"VICReg, {exact!r}": vicreg(dim, exact),
                "VICReg, LogDet(order=2)": vicreg(dim, ldm.entropy.LogDet(order=2)),
            }
            rows = torch.cat(views).detach().requires_grad_()
            theirs = {"NT-Xent": NTXentLoss(TEMPERATURE), "VICReg": VICRegLoss()}
            steps = {
                "floor, NT-Xent": lambda rows=rows: (rows @ rows.T).sum(),
                "floor, VICReg": lambda views=views: sum((v.T @ v).sum() for v in views),
            }
            steps |= {f"lightly, {name}": (lambda e=e, views=views: e(*views)) for name, e in theirs.items()}
            steps |= {name: (lambda e=e, views=views: e(*views)) for name, e in ours.items()}
            times = alternate(steps, [*leaves, rows], seconds=8.0)
            for name in ours:
                kind = name.split(",")[0]
                floor, peer = times[f"floor, {kind}"], times[f"lightly, {kind}"]
                medians = " | ".join(f"{1e3 * statistics.median(t):.2f}" for t in (floor, peer, times[name]))
                fastest = min(times[name]) / min(peer)
                ratios = f"{ratio(times[name], peer):.2f} | {fastest:.2f} | {ratio(times[name], floor):.2f}"
                print(f"| {name} | {n} | {dim} | {medians} | {ratios} | {BARS[kind]} |", flush=True)
    worst = [max(column) for column in zip(*values, strict=True)]
    print(
        f"\nLargest relative difference of the losses, float32: NT-Xent {worst[0]:.1e}, VICReg {worst[1]:.1e}; bar 1e-5"
    )


if __name__ == "__main__":
    main()
