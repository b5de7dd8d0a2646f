"""The posterior of a prior's parameters: does it cover, is it calibrated, and how fast is it?

    python benchmarks/posterior.py [recovery] [sbc] [speed] [--repetitions 100] [--simulations 200] [--chains 2]
        [--priors Laplace Kalman ...] [--csv recovery.csv] [--pictures DIR]

recovery  Latents are drawn from each of six priors at known parameters; share of the 90 % intervals, of NUTS and of SVI
          (AutoNormal), that hold the parameter. Of independent sources each dim is a repetition, of latents and of
          parameters of its own, and all go through one run; of the Kalman prior each is a run. The standard error
          counts repetitions, not parameters.
sbc       Simulation-based calibration of NUTS; and of the same with a planted bug: it takes the latents 5 % too large.
speed     5000 latents of dimension 16, 4 parameters each, 1000 draws after 1000 of warm-up: seconds, effective draws
          per second, and beside them the floor: the bare log-density and its gradient, of which a draw takes so many.
"""

import argparse
import csv
import math
import statistics
import time
import warnings
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import ClassVar

import pyro
import pyro.distributions as dist
import torch
from pyro.distributions import constraints
from torch import Tensor

import pyro_ldm as ldm

NUM = 500  # latents of a source
NUM_SERIES = 40  # of 20 steps each
FIELDS = ("prior", "method", "repetition", "covered", "parameters", "seconds")


def positive(value: float = 1.0, spread: float = 1.0, dim: int = 1) -> dist.Distribution:
    """A wide prior of a positive parameter, one per dim."""
    return dist.LogNormal(torch.full((dim,), math.log(value)), spread).to_event(1)


# Name of each prior to itself, of so many dims, and to the parameters that latents of each dim are drawn at.
SOURCES: dict[str, tuple[Callable, dict[str, float]]] = {
    "Gaussian": (lambda dim: ldm.priors.Gaussian(dim, scale=positive(dim=dim)), {"scale": 0.5}),
    "Laplace": (lambda dim: ldm.priors.Laplace(dim, scale=positive(dim=dim)), {"scale": 0.5}),
    "Logistic": (lambda dim: ldm.priors.Logistic(dim, scale=positive(dim=dim)), {"scale": 0.5}),
    "StudentT": (
        lambda dim: ldm.priors.StudentT(dim, df=positive(4.0, dim=dim), scale=positive(dim=dim)),
        {"df": 3.0, "scale": 2.0},
    ),
    "GeneralizedGaussian": (
        lambda dim: ldm.priors.GeneralizedGaussian(dim, power=positive(2.0, dim=dim), scale=positive(dim=dim)),
        {"power": 1.2, "scale": 2.0},
    ),
}
DYNAMICS = {"transition_matrix": [[0.9]], "transition_noise": [0.3], "observation_noise": [0.5]}


def kalman(num_steps: int, spread: float = 1.0) -> ldm.priors.Kalman:
    """A hidden state of one dim, under noise."""
    return ldm.priors.Kalman(
        1,
        num_steps=num_steps,
        transition_matrix=dist.Normal(torch.zeros(1, 1), 1.0).to_event(2),
        transition_noise=positive(0.4, spread),
        observation_noise=positive(0.4, spread),
        initial_scale=1.0,
    )


def run_nuts(prior: Callable, z: Tensor, *, seed: int, samples: int = 400, **settings):
    """NUTS, as short as a benchmark of hundreds of runs asks for: one chain, 200 steps of warm-up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of one chain, or of a short one
        return ldm.posterior.nuts(
            prior, z, num_samples=samples, warmup_steps=200, num_chains=1, seed=seed, progress=False, **settings
        )


def run_svi(prior: Callable, z: Tensor, *, seed: int, **settings):
    """SVI with AutoNormal, 1000 steps."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of its k-hat
        return ldm.posterior.svi(prior, z, num_steps=1000, seed=seed, progress=False, **settings)


def recovery(args) -> None:
    """Coverage of 90 % intervals; a row a repetition, in a CSV that a killed call goes on from."""
    path = Path(args.csv)
    rows = _rows(path)
    seen = {(row["prior"], row["method"], int(row["repetition"])) for row in rows}
    with path.open("a", newline="") as file:
        writer = csv.writer(file)
        if not rows:
            writer.writerow(FIELDS)
        for name in args.priors:
            for method, run in (("NUTS", run_nuts), ("SVI", run_svi)):
                for found in _runs(name, run, args.repetitions, {r for n, m, r in seen if (n, m) == (name, method)}):
                    writer.writerow((name, method, *found))
                    file.flush()
    _print_recovery(_rows(path))


def _runs(name: str, run: Callable, repetitions: int, seen: set[int]) -> Iterator[tuple]:
    """Of each repetition: its number, how many of how many parameters were covered, and seconds."""
    if name == "Kalman":
        prior, batch = kalman(20), (torch.empty(NUM_SERIES, 20),)
        for repetition in sorted(set(range(repetitions)) - seen):
            truth = {parameter: torch.tensor([value]) for parameter, value in DYNAMICS.items()}
            z = ldm.posterior.simulate(prior, truth, batch=batch, seed=1_000 + repetition)["z"][0]
            covered, seconds = _covered(run, prior, z, truth, seed=repetition)
            total = torch.stack([inside.sum() for inside in covered.values()]).sum()
            yield repetition, int(total), len(covered), seconds
    elif not seen:
        make, values = SOURCES[name]
        prior = make(repetitions)
        truth = {parameter: torch.full((1, repetitions), value) for parameter, value in values.items()}
        z = ldm.posterior.simulate(prior, truth, batch=(range(NUM),), seed=1_000)["z"][0]
        covered, seconds = _covered(run, prior, z, truth, seed=0)
        for repetition, inside in enumerate(torch.stack(list(covered.values())).sum(0).tolist()):
            yield repetition, inside, len(covered), seconds


def _covered(run: Callable, prior: Callable, z: Tensor, truth: dict[str, Tensor], *, seed: int) -> tuple:
    """Whether the intervals hold the truth, by parameter; and the run's seconds."""
    started = time.perf_counter()
    tree = run(prior, z, seed=seed)
    seconds = round(time.perf_counter() - started, 1)
    drawn, inside = ldm.diagnostics.arviz.draws(tree), {}
    for name, (value,) in truth.items():
        low, high = drawn[name].double().quantile(torch.tensor([0.05, 0.95], dtype=torch.float64), dim=0)
        inside[name] = (value >= low) & (value <= high)
    return inside, seconds


def _rows(path: Path) -> list[dict]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _print_recovery(rows: list[dict]) -> None:
    print("| prior | parameters | NUTS: share covered | +- se | SVI | +- se | s a run, NUTS / SVI | repetitions |")
    print("|---|---|---|---|---|---|---|---|")
    for name in (*SOURCES, "Kalman"):
        cells, times, number, count = [], [], 0, 0
        for method in ("NUTS", "SVI"):
            found = [row for row in rows if row["prior"] == name and row["method"] == method]
            if not found:
                continue
            shares = [int(row["covered"]) / int(row["parameters"]) for row in found]
            count, number = len(shares), int(found[0]["parameters"])
            error = statistics.stdev(shares) / math.sqrt(count) if count > 1 else math.nan
            cells += [f"{statistics.mean(shares):.3f}", f"{error:.3f}"]
            times.append(f"{statistics.median(float(row['seconds']) for row in found):.1f}")
        if cells:
            print(f"| {name} | {number} | {' | '.join(cells)} | {' / '.join(times)} | {count} |")


def sbc(args) -> None:
    """Calibration of NUTS; and, with half as many simulations, of NUTS with a planted bug."""

    def short(prior, z, *, seed, batch=None):
        return run_nuts(prior, z, seed=seed, batch=batch, samples=150)

    def planted(prior, z, *, seed, batch=None):
        return short(prior, 1.05 * z, seed=seed, batch=batch)

    priors = {
        "Laplace": (ldm.priors.Laplace(1, scale=positive(dim=1)), 100, None),
        "StudentT": (ldm.priors.StudentT(1, df=positive(4.0, 0.7, dim=1), scale=positive(dim=1)), 100, None),
        "Kalman": (kalman(10, 0.5), 50, (torch.empty(50, 10),)),
    }
    cases = [(name, short, *case) for name, case in priors.items() if name in args.priors]
    cases += [
        (f"{name}, latents 5 % too large", planted, *case) for name, case in priors.items() if name in args.priors
    ]
    for name, posterior, prior, num_data, batch in cases:
        result = ldm.posterior.run_sbc(
            prior,
            posterior,
            num_data=num_data,
            num_simulations=args.simulations if posterior is short else args.simulations // 2,
            batch=batch,
            seed=0,
            progress=False,
        )
        print(f"{name}: {result}", flush=True)
        if args.pictures:
            Path(args.pictures).mkdir(parents=True, exist_ok=True)
            ldm.posterior.rank_histograms(result).savefig(Path(args.pictures) / f"sbc {name}.png", dpi=100)


class JohnsonSU(dist.TorchDistribution):
    """Sources of four parameters: where, how wide, how skewed and how heavy-tailed; asinh makes a Gaussian of them."""

    arg_constraints: ClassVar[dict] = dict.fromkeys(("loc", "skew"), constraints.real) | dict.fromkeys(
        ("scale", "tail"), constraints.positive
    )
    support = constraints.real

    def __init__(self, loc: Tensor, scale: Tensor, skew: Tensor, tail: Tensor, *, validate_args: bool | None = None):
        self.loc, self.scale, self.skew, self.tail = torch.broadcast_tensors(loc, scale, skew, tail)
        super().__init__(self.loc.shape, validate_args=validate_args)

    def expand(self, batch_shape, _instance=None) -> "JohnsonSU":
        """The same for more rows."""
        parts = (part.expand(batch_shape) for part in (self.loc, self.scale, self.skew, self.tail))
        return JohnsonSU(*parts, validate_args=False)

    def sample(self, sample_shape=()) -> Tensor:
        """Draws."""
        normal = torch.randn(self._extended_shape(sample_shape))
        return self.loc + self.scale * torch.sinh((normal - self.skew) / self.tail)

    def log_prob(self, value: Tensor) -> Tensor:
        """Log-density."""
        unit = (value - self.loc) / self.scale
        normal = self.skew + self.tail * torch.asinh(unit)
        constant = self.tail.log() - self.scale.log() - 0.5 * math.log(2 * math.pi)
        return constant - 0.5 * normal**2 - 0.5 * torch.log1p(unit**2)


def skewed(x) -> None:
    """The prior of sixteen dims, 64 parameters."""
    zero = torch.zeros(16)
    loc = pyro.sample("loc", dist.Normal(zero, 1.0).to_event(1))
    scale = pyro.sample("scale", dist.LogNormal(zero, 1.0).to_event(1))
    skew = pyro.sample("skew", dist.Normal(zero, 1.0).to_event(1))
    tail = pyro.sample("tail", dist.LogNormal(zero, 0.5).to_event(1))
    with pyro.plate("batch", len(x)):
        pyro.sample("z", JohnsonSU(loc, scale, skew, tail).to_event(1))


def bare_gradient(z: Tensor, repeats: int = 50) -> float:
    """Seconds of the log-density of the latents and its gradient, in plain torch, at its fastest."""
    raw = [torch.zeros(16, dtype=torch.float64, requires_grad=True) for _ in range(4)]
    best = math.inf
    for _ in range(repeats):
        started = time.perf_counter()
        loc, scale, skew, tail = raw[0], raw[1].exp(), raw[2], raw[3].exp()
        unit = (z - loc) / scale
        normal = skew + tail * torch.asinh(unit)
        total = len(z) * (tail.log() - scale.log()).sum() - 0.5 * (normal**2 + torch.log1p(unit**2)).sum()
        torch.autograd.grad(total, raw)
        best = min(best, time.perf_counter() - started)
    return best


def speed(args) -> None:
    """5000 latents of 16 dims and 64 parameters, 1000 draws after 1000 of warm-up."""
    torch.manual_seed(0)
    truth = JohnsonSU(torch.randn(16), torch.rand(16) + 0.5, 0.3 * torch.randn(16), 1 + torch.rand(16))
    z = truth.sample((5000,)).double()
    started = time.perf_counter()
    tree = ldm.posterior.nuts(skewed, z, num_chains=args.chains, progress=False)
    seconds = time.perf_counter() - started
    table = ldm.diagnostics.arviz.summary(tree)
    stats = ldm.diagnostics.arviz.group(tree, "sample_stats")
    floor, gradients = bare_gradient(z), float(stats["n_steps"].sum()) / args.chains
    print("| chains | seconds | least bulk ESS | and a second | worst R-hat | diverged | gradients a draw | bare, ms |")
    print("|---|---|---|---|---|---|---|---|")
    worst = f"{table['r_hat'].max():.3f}" if "r_hat" in table else "-"
    least = table["ess_bulk"].min()
    print(
        f"| {args.chains} | {seconds:.0f} | {least:.0f} | {least / seconds:.1f} | {worst} "
        f"| {int(stats['diverging'].sum())} | {gradients / 1000:.1f} | {1e3 * floor:.2f} |"
    )


def main() -> None:
    """Read the command line; measure; print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["recovery", "sbc", "speed"])
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--simulations", type=int, default=200)
    parser.add_argument("--chains", type=int, default=2)
    parser.add_argument("--priors", nargs="+", default=[*SOURCES, "Kalman"])
    parser.add_argument("--csv", default="recovery.csv")
    parser.add_argument("--pictures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for what in args.what:
        {"recovery": recovery, "sbc": sbc, "speed": speed}[what](args)


if __name__ == "__main__":
    main()
