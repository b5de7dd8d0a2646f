"""What a training step through the ELBO costs beside the same loss written by hand in PyTorch, same encoder.

Floor: the bare encoder, forward and backward. Steps alternate within one run; medians of times, and of the ratios and
differences of neighbours. Bars: at most 1.05 x the hand-written step at N = 1024, D = 64 (MLP 784-512-512-64), at most
1.5 ms more for a tiny encoder, and at most 1.03 x for two views of images through a small ConvNet.
"""

import os
import platform
import statistics
import time

import pyro
import torch
from torch import nn

import pyro_ldm as ldm


def alternate(steps: dict, repetitions: int) -> dict[str, list[float]]:
    """Seconds of each step, all of them in turn, so that drift hits them alike."""
    times: dict[str, list[float]] = {name: [] for name in steps}
    for repetition in range(repetitions + 5):
        for name, step in steps.items():
            start = time.perf_counter()
            step()
            if repetition >= 5:
                times[name].append(time.perf_counter() - start)
    return times


def compare(encoder: nn.Module, x: torch.Tensor, entropy: ldm.entropy.Entropy, repetitions: int) -> dict:
    """A step of the bare encoder, of the hand-written loss, and of the objective."""
    dim = encoder(x).shape[-1]
    objective = ldm.Objective(ldm.priors.Gaussian(dim), ldm.guides.Deterministic(encoder, entropy))
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-4)
    constant = 0.5 * dim * torch.log(torch.tensor(2 * torch.pi))

    def by_hand():
        z = encoder(x)
        return (0.5 * z.square().sum(-1) + constant + entropy(z)).mean()

    def step(loss):
        def run():
            optimizer.zero_grad()
            loss().backward()
            optimizer.step()

        return run

    steps = {
        "encoder": step(lambda: encoder(x).square().mean()),
        "by hand": step(by_hand),
        "objective": step(lambda: objective(x)),
    }
    torch.testing.assert_close(objective(x), by_hand())
    with pyro.validation_enabled(False):
        return alternate(steps, repetitions)


def two_views(repetitions: int) -> None:
    """A step of NT-Xent with a small ConvNet, images augmented, beside the loop one would write for it."""
    temperature, x = 0.2, torch.rand(256, 1, 28, 28)
    encoder = nn.Sequential(ldm.encoders.ConvNet((1, 28, 28), 64), ldm.encoders.Normalize())
    kernel = ldm.entropy.VonMisesFisherKernel(1 / temperature)
    guide = ldm.guides.Views(encoder, ldm.entropy.Pooled(ldm.entropy.KDE(kernel)))
    objective = ldm.Objective(ldm.priors.VonMisesFisherViews(64, concentration=2 / temperature), guide)
    augment = nn.Sequential(ldm.encoders.Crop(scale=(0.3, 1.0)), ldm.encoders.Flip())
    optimizer = torch.optim.Adam(objective.parameters(), lr=1e-4)
    partner = torch.arange(2 * len(x)).roll(len(x))

    def nt_xent() -> torch.Tensor:
        z = encoder(torch.cat([augment(x), augment(x)]))
        return nn.functional.cross_entropy((z @ z.T / temperature).fill_diagonal_(-torch.inf), partner)

    def step(loss) -> None:
        optimizer.zero_grad()
        loss().backward()
        optimizer.step()

    steps = {
        "by hand": lambda: step(nt_xent),
        "objective": lambda: step(lambda: objective(augment(x), augment(x))),
    }
    with pyro.validation_enabled(False):
        times = alternate(steps, repetitions)
    ratio = statistics.median(a / b for a, b in zip(times["objective"], times["by hand"], strict=True))
    medians = " and ".join(f"{1e3 * statistics.median(each):.1f} ms {name}" for name, each in times.items())
    print(f"\nNT-Xent, ConvNet, two augmented views of 256 images of 28 x 28: {medians}, ratio {ratio:.3f} (bar 1.03)")


def main() -> None:
    """Print the tables."""
    torch.manual_seed(0)
    versions = f"Python {platform.python_version()}, torch {torch.__version__}, pyro {pyro.__version__}"
    print(f"{os.cpu_count()} cores, {versions}, seed 0")
    mlp = nn.Sequential(nn.Linear(784, 512), nn.ReLU(), nn.Linear(512, 512), nn.ReLU(), nn.Linear(512, 64))
    print("| encoder | entropy | bare encoder | by hand | objective | ratio | difference |")
    print("|---|---|---|---|---|---|---|")
    for name, encoder, x, repetitions in (
        ("MLP 784-512-512-64, N = 1024", mlp, torch.randn(1024, 784), 200),
        ("linear 8-2, N = 64", nn.Linear(8, 2), torch.randn(64, 8), 300),
    ):
        for entropy in (ldm.entropy.LogDet(), ldm.entropy.KDE(), ldm.entropy.KNN()):
            times = compare(encoder, x, entropy, repetitions)
            pairs = list(zip(times["objective"], times["by hand"], strict=True))
            ratio = statistics.median(ours / by_hand for ours, by_hand in pairs)
            difference = statistics.median(ours - by_hand for ours, by_hand in pairs)
            medians = " | ".join(f"{1e3 * statistics.median(each):.2f} ms" for each in times.values())
            print(f"| {name} | {type(entropy).__name__} | {medians} | {ratio:.3f} | {1e3 * difference:+.2f} ms |")
    two_views(repetitions=30)


if __name__ == "__main__":
    main()
