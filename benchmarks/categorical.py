"""Categories from pairs of same-class images: the joint entropy, the marginals, and mutual information alone.

    PYRO_LDM_DATA=folder python benchmarks/categorical.py [--seeds 5] [--out confusion.png] [--tune] [--only digits]

Pairs are two different images of one class, of the digits and of Fashion-MNIST (5000 training images); ten categories;
a softmax MLP. LDM: KL(R || P) of the pair, `Joint(Mixture())`. +MI: the marginals in its place, `Separate(Mixture())`.
MI only: maximise I(k; k'), no prior. Scored once on the test images: share of them in the category matched to their
class (Hungarian matching), over seeds. I is that of the training pairs, at most log 10 = 2.303 nats; KL is to the prior
at the end of training. LDM and +MI stand with a warm-up of p and without, so that its part is seen.

MI only was tuned on a fifth of the training images held out (`--tune` prints the search): learning rate and epochs at
LDM's batch size, and then the batch size too. LDM has one setting, but for epochs. An LDM run that is stuck (on digits,
KL above 0.1 nats) begins anew, three starts at most, where p warms up from .3; the number of starts is printed. Bars,
on digits: LDM at least 0.95, and at least 0.1 above MI only.
"""

import argparse
import itertools
import math
import os
import platform
import statistics
import time
from dataclasses import dataclass, replace
from pathlib import Path

import pyro
import torch
from pyro.infer import TraceEnum_ELBO
from scipy.optimize import linear_sum_assignment
from torch import Tensor

import pyro_ldm as ldm

K = 10


class MutualInformation(ldm.entropy.Arrangement):
    """The marginals less the joint: with independent uniform views as prior, the loss is 2 log K - I(k; k')."""

    def __init__(self):
        super().__init__(ldm.entropy.Mixture())
        self.separate, self.joint = (arrange(self.entropy) for arrange in (ldm.entropy.Separate, ldm.entropy.Joint))
        self.divergence = "score"

    def forward(self, z: Tensor, conditional=None, mask: Tensor | None = None) -> Tensor:
        """Its mean is minus I, nats."""
        return self.separate(z, conditional, mask) - self.joint(z, conditional, mask)


@dataclass(frozen=True)
class Method:
    """An objective and its settings; p grows from ``start`` to ``end`` over 70 % of the steps."""

    entropy: type
    start: float
    end: float
    batch_size: int = 256
    lr: float = 1e-3
    epochs: int = 40

    def make_entropy(self) -> ldm.entropy.Arrangement:
        """The arrangement, of the batch's mixture."""
        return self.entropy() if self.entropy is MutualInformation else self.entropy(ldm.entropy.Mixture())


JOINT, MARGINAL = ldm.entropy.Joint, ldm.entropy.Separate
METHODS = {
    "digits": {
        "LDM, p .3 to .992": Method(JOINT, 0.3, 0.992),
        "LDM, p .8 to .992": Method(JOINT, 0.8, 0.992),
        "LDM, p .99": Method(JOINT, 0.99, 0.99),
        "+MI, p .3 to .992": Method(MARGINAL, 0.3, 0.992),
        "+MI, p .99": Method(MARGINAL, 0.99, 0.99),
        "+MI, p .8": Method(MARGINAL, 0.8, 0.8),
        "MI only": Method(MutualInformation, 1 / K, 1 / K, lr=1e-2, epochs=40),
        "MI only, batch tuned too": Method(MutualInformation, 1 / K, 1 / K, batch_size=16, lr=3e-3, epochs=40),
    },
    "Fashion-MNIST": {
        "LDM, p .3 to .992": Method(JOINT, 0.3, 0.992, epochs=20),
        "+MI, p .3 to .992": Method(MARGINAL, 0.3, 0.992, epochs=20),
        "+MI, p .99": Method(MARGINAL, 0.99, 0.99, epochs=20),
        "+MI, p .8": Method(MARGINAL, 0.8, 0.8, epochs=20),
        "MI only": Method(MutualInformation, 1 / K, 1 / K, lr=3e-3, epochs=20),
        "MI only, batch tuned too": Method(MutualInformation, 1 / K, 1 / K, batch_size=64, lr=1e-2, epochs=20),
    },
}
HIDDEN = {"digits": (256, 256), "Fashion-MNIST": (256,)}
# MI only's batch sizes, learning rates and epochs.
SEARCH = {
    "digits": ((256, 64, 16), (1e-3, 3e-3, 1e-2), (20, 40)),
    "Fashion-MNIST": ((256, 64, 16), (1e-3, 3e-3, 1e-2), (20,)),
}
STARTS = {"digits": 3, "Fashion-MNIST": 1}


def data_sets(only: str | None) -> dict[str, tuple[ldm.datasets.Data, ldm.datasets.Data]]:
    """Name of each to its training and test images."""
    found = {}
    if only in (None, "digits"):
        found["digits"] = ldm.datasets.digits().split()
    if only in (None, "Fashion-MNIST"):
        train, _ = ldm.datasets.fashion_mnist().split((5000 / 60000, 55000 / 60000))
        found["Fashion-MNIST"] = train, ldm.datasets.fashion_mnist(train=False)
    return found


def same_class(data: ldm.datasets.Data):
    """From row numbers to these images, and for each another one of its class."""
    order, count = data.y.argsort(), data.y.bincount()
    place, first = order.argsort(), count.cumsum(0) - count

    def views(rows: Tensor) -> tuple[Tensor, Tensor]:
        start, size = first[data.y[rows]], count[data.y[rows]]
        shift = 1 + (torch.rand(len(rows)) * (size - 1)).long()
        return data.x[rows], data.x[order[start + (place[rows] - start + shift) % size]]

    return views


@dataclass(frozen=True)
class Run:
    """What a run reached: on training pairs I and KL in nats, on held-out images the accuracy and the confusions."""

    information: float
    kl: float
    accuracy: float
    confusion: Tensor
    seconds: float


def learn(name: str, train: ldm.datasets.Data, test: ldm.datasets.Data, method: Method, seed: int) -> Run:
    """Train once, and score."""
    torch.manual_seed(seed)
    start = time.perf_counter()
    prior = ldm.priors.CategoricalViews(K, method.start)
    encoder = ldm.encoders.MLP(train.x[0].numel(), K, hidden=HIDDEN[name])
    guide = ldm.guides.Categorical(encoder, K, method.make_entropy())
    objective = ldm.Objective(prior, guide, TraceEnum_ELBO(max_plate_nesting=1))
    optimizer = torch.optim.Adam(objective.parameters(), lr=method.lr)
    rows, views = torch.arange(len(train)), same_class(train)
    per_epoch = len(train) // method.batch_size
    with pyro.validation_enabled(False):
        for step in range(method.epochs * per_epoch):
            if step % per_epoch == 0:
                batches = torch.randperm(len(train)).split(method.batch_size)
            done = min(1.0, step / (0.7 * method.epochs * per_epoch))
            prior.set_stay(method.start + (method.end - method.start) * done)
            optimizer.zero_grad()
            objective(*views(batches[step % per_epoch])).backward()
            optimizer.step()
    seconds = time.perf_counter() - start
    with torch.no_grad():
        q, q_prime = (ldm.training.latents(guide, view).double() for view in views(rows))
        r = q.T @ q_prime / len(rows) + 1e-300
        p = torch.exp(prior.log_transition(prior.stay)).double() / K
        information = (r * (r / torch.outer(r.sum(1), r.sum(0))).log()).sum()
        kl = (r * (r / p).log()).sum()
    found = ldm.training.latents(guide, test).argmax(-1)
    table = torch.bincount(K * test.y + found, minlength=K * K).reshape(K, K)
    classes, categories = linear_sum_assignment(table, maximize=True)
    accuracy = float(table[classes, categories].sum() / len(test))
    return Run(float(information), float(kl), accuracy, table[:, categories], seconds)


def restarted(name: str, train, test, method: Method, seed: int) -> tuple[Run, int]:
    """Train; where LDM is stuck, anew: the run and its number of starts."""
    for start in range(STARTS[name]):
        run = learn(name, train, test, method, seed + 1000 * start)
        if method.entropy is not JOINT or method.start > 0.5 or run.kl < 0.1:
            break
    return run, start + 1


def row(label: str, method: Method, runs: list[Run], starts: str) -> str:
    accuracy, mutual, kl = ([getattr(run, name) for run in runs] for name in ("accuracy", "information", "kl"))
    settings = f"{method.batch_size}, {method.lr:g}, {method.epochs}"
    spread = statistics.stdev(accuracy) if len(accuracy) > 1 else 0.0
    matched = "" if method.entropy is MutualInformation else f"{statistics.mean(kl):.3f}"
    return (
        f"| {label} | {statistics.mean(accuracy):.3f} | {spread:.3f} | {min(accuracy):.3f} to {max(accuracy):.3f} "
        f"| {statistics.mean(mutual):.3f} ({min(mutual):.3f} to {max(mutual):.3f}) "
        f"| {matched} | {settings} | {starts} | {statistics.mean(run.seconds for run in runs):.1f} |"
    )


def table(seeds: int, only: str | None) -> dict[str, dict[str, Run]]:
    """Print a table per data set; the first seed's runs."""
    first: dict[str, dict[str, Run]] = {}
    for name, (train, test) in data_sets(only).items():
        print(f"\n{name}: {len(train)} training and {len(test)} test images, {seeds} seeds\n")
        print("| objective | accuracy | s.d. | range | I, nats (range) | KL | batch, lr, epochs | starts | s/start |")
        print("|---|---|---|---|---|---|---|---|---|")
        for label, method in METHODS[name].items():
            results = [restarted(name, train, test, method, seed) for seed in range(seeds)]
            runs = [run for run, _ in results]
            print(row(label, method, runs, str(sum(starts for _, starts in results))), flush=True)
            first.setdefault(name, {})[label] = runs[0]
    return first


def tune(seeds: int, only: str | None) -> None:
    """Print MI only's mean accuracy on held-out training images, over batch size, learning rate and epochs."""
    for name, (train, _) in data_sets(only).items():
        part, held_out = train.split(seed=1)
        print(f"\n{name}: {len(part)} images, accuracy on {len(held_out)} held out, {seeds} seeds\n")
        print("| batch | lr | epochs | accuracy | I, nats |\n|---|---|---|---|---|")
        for batch_size, lr, epochs in itertools.product(*SEARCH[name]):
            tried = replace(METHODS[name]["MI only"], batch_size=batch_size, lr=lr, epochs=epochs)
            runs = [learn(name, part, held_out, tried, seed) for seed in range(seeds)]
            accuracy, mutual = (statistics.mean(getattr(run, n) for run in runs) for n in ("accuracy", "information"))
            print(f"| {batch_size} | {lr:g} | {epochs} | {accuracy:.3f} | {mutual:.3f} |", flush=True)


def picture(first: dict[str, dict[str, Run]], path: Path) -> None:
    """Confusions on test images, categories in the order of the classes that they are matched to; the first seed."""
    from matplotlib.figure import Figure

    columns = max(map(len, first.values()))
    figure = Figure(figsize=(2.6 * columns, 2.9 * len(first)), layout="constrained")
    axes = figure.subplots(len(first), columns, squeeze=False)
    for line, (name, runs) in zip(axes, first.items(), strict=True):
        for axis in line:
            axis.set_axis_off()
        for axis, (label, run) in zip(line, runs.items(), strict=False):
            axis.set_axis_on()
            axis.imshow(run.confusion / run.confusion.sum(1, keepdim=True), cmap="Blues", vmin=0, vmax=1)
            axis.set_title(f"{name}\n{label}: {run.accuracy:.3f}", fontsize=8)
            axis.set(xticks=[], yticks=[])
            axis.set_xlabel("category", fontsize=8)
            axis.set_ylabel("class", fontsize=8)
    figure.savefig(path, dpi=120)
    print(f"\n{path}: confusion matrices on the test images, seed 0")


def main() -> None:
    """Print the tables."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--seeds", type=int, default=5)
    parser.add_argument("--out", type=Path, help="a PNG of the confusion matrices")
    parser.add_argument("--tune", action="store_true", help="print the search over settings instead")
    parser.add_argument("--only", choices=list(METHODS), help="one data set")
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{os.cpu_count()} cores, 1 thread, Python {platform.python_version()}, torch {torch.__version__}, "
        f"pyro {pyro.__version__}; maximum of I: log {K} = {math.log(K):.3f} nats"
    )
    if options.tune:
        tune(options.seeds, options.only)
        return
    first = table(options.seeds, options.only)
    if options.out is not None:
        picture(first, options.out)


if __name__ == "__main__":
    main()
