"""Signal and nuisance: how much of the signal each estimator finds, whitened and raw.

    python benchmarks/identifiability.py [--dims 20 5] [--entropies LogDet KNN] [--seeds 0 1 2] [--csv cells.csv] ...

A Gaussian signal that rotates, and as many dims of white nuisance, in 100 observed numbers through a fixed injective
network, 5 steps. 100000 series to train on; the affine map from latents to signal is fitted on 10000 of them, and its
R2 taken once, on 10000 others. Beside the cells: the same map from x itself, and from the encoder untrained. Seeds
change the world, the series and the weights. A cell is printed, and added to the CSV, as soon as it is measured; the
table at the end is of all cells in the CSV, those of earlier calls too.

All cells share the encoder, the optimiser, the budget and the prior: each step Gaussian around a linear map of the one
before, all of it learned (`--predictor lstm` for a recurrent network). The encoder has five hidden layers of 200 as
published, with batch normalisation, and a linear map beside them, which is trained first, for two epochs, under the
same objective. Begun at random, half of the runs lost a dim of the signal for good: a latent had settled on a square of
other signals, which is predictable as well, but less so (LogDet on worlds for validation, d = 5).

LogDet is pooled over the steps; KNN and KDE estimate each step on its own, over series. Raw estimators do not whiten;
raw KDE has a fixed bandwidth and fixed noise of that width, and stands with a row's own kernel (`self`, as in InfoNCE)
and without. `--validation` takes other worlds, where settings were chosen.
"""

import argparse
import csv
import os
import platform
import statistics
import time
from pathlib import Path

import pyro
import torch
from torch import Tensor, nn

import pyro_ldm as ldm

E = ldm.entropy
BASELINES = ("linear map of x", "untrained encoder")
MAIN = ("LogDet", "KNN", "KDE")
PUBLISHED = {  # table 1 of the paper, with an LSTM of width 10, mean over 5 seeds
    "LogDet": {5: 0.99, 10: 0.95, 15: 0.78, 20: 0.68},
    "KNN": {5: 0.98, 10: 0.95, 15: 0.76, 20: 0.64},
    "KDE": {5: 0.92, 10: 0.81, 15: 0.60, 20: 0.48},
}
BARS = {
    "LogDet": {5: 0.98, 10: 0.98, 15: 0.98, 20: 0.98},
    "KNN": {5: 0.96, 10: 0.96, 15: 0.96, 20: 0.96},
    "KDE": {5: 0.95, 10: 0.95, 15: 0.92, 20: 0.92},
}
RAW_BANDWIDTH = 1.0
FIELDS = ("dim", "entropy", "predictor", "seed", "epochs", "r2", "value", "cpu_seconds", "seconds")


def estimators() -> dict[str, E.Arrangement]:
    """Name of each to the estimator of the latents' entropy."""
    raw = E.GaussianKernel(RAW_BANDWIDTH, whiten=False)
    return {
        "LogDet": E.Pooled(E.LogDet()),
        "KNN": E.Separate(E.KNN()),
        "KDE": E.Separate(E.KDE()),
        "KNN, raw": E.Separate(E.KNN(space=E.Plane(whiten=False))),
        "KDE, raw": E.Separate(E.KDE(raw)),
        "KDE, raw, self": E.Separate(E.KDE(raw, include_self=True)),
    }


class Encoder(nn.Module):
    """The published perceptron beside a linear map; at the start it adds nothing to it."""

    def __init__(self, dim: int):
        super().__init__()
        self.linear = nn.Linear(100, dim)
        self.mlp = ldm.encoders.MLP(100, dim, hidden=[200] * 5, activation=nn.LeakyReLU)
        nn.init.zeros_(self.mlp[-1].weight)
        nn.init.zeros_(self.mlp[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        """Observations (N, 100) to latents (N, dim)."""
        return self.linear(x) + self.mlp(x)


def make_prior(name: str, dim: int, predictor: str) -> ldm.priors.Autoregressive:
    """Gaussian steps around a learned prediction; the noise is learned, but beside a fixed bandwidth."""
    linear = predictor == "linear"
    predict = nn.Linear(dim, dim) if linear else ldm.encoders.Recurrent(dim, dim, hidden=64)
    noise = RAW_BANDWIDTH if name.startswith("KDE, raw") else nn.Parameter(torch.full((dim,), 0.5))
    return ldm.priors.Autoregressive(dim, predict, noise=noise, scale=nn.Parameter(torch.ones(dim)))


@torch.no_grad()
def encode(encoder: nn.Module, x: Tensor) -> Tensor:
    """Latents of series, in evaluation mode."""
    return torch.cat([encoder.eval()(part) for part in x.split(2000)])


def score(encoder: nn.Module, train: ldm.datasets.Data, test: ldm.datasets.Data) -> float:
    """Affine R2 of the signal on the test series, of a map fitted on training series."""
    fitted = encode(encoder, train.x[:10_000]), train.truth[:10_000]
    return ldm.diagnostics.affine_r2(*fitted, test=(encode(encoder, test.x), test.truth))


def one_cycle(parameters, lr: float, steps: int) -> dict:
    """Adam with a learning rate that rises and falls once."""
    optimizer = torch.optim.Adam(parameters, lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def learn(name: str, train, test, args, seed: int) -> dict[str, float]:
    """One cell from one seed."""
    dim = train.truth.shape[-1]
    torch.manual_seed(seed)
    inner = Encoder(dim)
    encoder = ldm.encoders.PerStep(inner)
    if name in BASELINES:
        return {"r2": score(nn.Identity() if name == "linear map of x" else encoder, train, test)}
    prior, entropy = make_prior(name, dim, args.predictor), estimators()[name]
    guide, first = (ldm.guides.Deterministic(each, entropy) for each in (encoder, ldm.encoders.PerStep(inner.linear)))
    steps = args.epochs * (len(train) // args.batch)
    settings = {"batch_size": args.batch, "gradient_clip": 1.0, "accelerator": "cpu", "seed": seed, "progress": False}
    start, cpu_start = time.perf_counter(), time.process_time()
    ldm.fit(prior, first, train.x, epochs=2, lr=1e-2, **settings)
    fit = ldm.fit(
        prior,
        guide,
        train.x,
        epochs=args.epochs,
        optimizer=lambda parameters: one_cycle(parameters, args.lr, steps),
        precision=args.precision,
        **settings,
    )
    seconds = {"cpu_seconds": time.process_time() - cpu_start, "seconds": time.perf_counter() - start}
    return {"r2": score(encoder, train, test), "value": fit.terms.kl} | seconds


def cells(args):
    """A row per cell, as it is measured."""
    for seed in args.seeds:
        for dim in args.dims:
            world = seed + 1000 * args.validation
            train, test = (
                ldm.datasets.signal_and_nuisance(dim, num=num, seed=2 * world + part, world_seed=world)
                for part, num in enumerate((args.num, 10_000))
            )
            for name in args.entropies:
                row = {"dim": dim, "entropy": name, "predictor": "" if name in BASELINES else args.predictor}
                try:
                    found = learn(name, train, test, args, seed)
                except ValueError as error:  # it diverged: the loss is not finite
                    print(f"{name}, d = {dim}, seed {seed}: {error}", flush=True)
                    found = {"r2": float("nan")}
                yield row | {"seed": seed, "epochs": "" if name in BASELINES else args.epochs} | found


def table(rows: list[dict]) -> None:
    """Print means over seeds, lowest to highest, beside bars and published figures."""
    dims = sorted({int(row["dim"]) for row in rows})
    print("\n| estimator | predictor | " + " | ".join(f"d = {dim}" for dim in dims) + " | CPU s a cell | seeds |")
    print("|---|---|" + "---|" * (len(dims) + 2))
    kinds = list(dict.fromkeys((row["entropy"], row["predictor"]) for row in rows))
    order = [*estimators(), *BASELINES]
    for kind in sorted(kinds, key=lambda kind: (order.index(kind[0]), kind[1] == "lstm")):
        mine = [row for row in rows if (row["entropy"], row["predictor"]) == kind]
        line = []
        for dim in dims:
            values = [float(row["r2"]) for row in mine if int(row["dim"]) == dim]
            spread = f" ({min(values):.3f} to {max(values):.3f})" if len(values) > 1 else ""
            line.append(f"{statistics.mean(values):.3f}{spread}" if values else "")
        seconds = [float(row["cpu_seconds"]) for row in mine if row.get("cpu_seconds")]
        line.append(f"{min(seconds):.0f} to {max(seconds):.0f}" if seconds else "")
        counts = {sum(int(row["dim"]) == dim for row in mine) for dim in dims} - {0}
        line.append(" or ".join(map(str, sorted(counts))))
        print(f"| {kind[0]} | {kind[1]} | " + " | ".join(line) + " |")
    for title, figures in (("bar", BARS), ("published", PUBLISHED)):
        for name in MAIN:
            print(f"| {title}: {name} | | " + " | ".join(f"{figures[name].get(d, '')}" for d in dims) + " | | |")


def main() -> None:
    """Print a line per cell and the table; with no --entropies, the table of the CSV alone."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--dims", type=int, nargs="*", default=[20, 5, 10, 15], help="dims of signal and of nuisance")
    parser.add_argument("--entropies", nargs="*", default=[*MAIN, *BASELINES], choices=[*estimators(), *BASELINES])
    parser.add_argument("--seeds", type=int, nargs="*", default=[0, 1, 2])
    parser.add_argument("--predictor", choices=("linear", "lstm"), default="linear")
    parser.add_argument("--num", type=int, default=100_000, help="training series")
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=512)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--precision", default="bf16-mixed", help="of the encoder in training; 32-true is slower")
    parser.add_argument("--csv", type=Path, help="a file to add the cells to")
    parser.add_argument("--validation", action="store_true", help="other worlds, for tuning")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{args}\n{os.cpu_count()} cores, 1 thread, Python {platform.python_version()}, torch {torch.__version__}, "
        f"pyro {pyro.__version__}",
        flush=True,
    )
    rows: list[dict] = []
    for row in cells(args):
        print(", ".join(f"{k} {v:.4g}" if isinstance(v, float) else f"{k} {v}" for k, v in row.items()), flush=True)
        rows.append(row)
        if args.csv:
            new = not args.csv.exists()
            with args.csv.open("a", newline="") as file:
                writer = csv.DictWriter(file, FIELDS)
                if new:
                    writer.writeheader()
                writer.writerow(row)
    if args.csv and args.csv.exists():
        with args.csv.open(newline="") as file:
            rows = list(csv.DictReader(file))
    if rows:
        table(rows)


if __name__ == "__main__":
    main()
