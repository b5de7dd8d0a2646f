"""Priors compared by leave-one-out: is the right one found, and which do learned latents ask for?

    python benchmarks/loo.py [selection] [latents] [--sizes 2000 300] [--repetitions 100] [--csv loo.csv]
        [--pictures DIR]

selection  Latents of two dims are drawn from each of four priors in turn: Gaussian, Laplace, Student-t(3), generalized
           Gaussian(4), at scales of 0.7 and 1.5. All four, of unknown scales, are compared on them; how often the one
           that they came from has the largest elpd, and how often the verdict names it alone. A repetition is one set
           of latents; the four take turns.
latents    Digits (8 dims, an MLP matched to a Gaussian by nearest neighbours; and the first 8 principal components) and
           patches of photographs (16 dims of linear ICA; and of principal components): the table of the default
           priors. Digits by two chains of 400 draws each; patches, whose outliers would have to be left out one by one
           for hours, by SVI with a full covariance, and nothing left out in earnest.
"""

import argparse
import csv
import math
import warnings
from collections.abc import Callable
from functools import partial
from pathlib import Path

import pyro.distributions as dist
import torch
from pyro.infer.autoguide import AutoMultivariateNormal
from torch import Tensor

import pyro_ldm as ldm

DIM = 2
FIELDS = ("size", "repetition", "truth", "best", "alone", "runner_up", "difference", "error", "k_hat", "refitted")


def sources() -> dict[str, Callable]:
    """The four priors by name, given their scale."""
    return {
        "Gaussian": lambda scale: ldm.priors.Gaussian(DIM, scale=scale),
        "Laplace": lambda scale: ldm.priors.Laplace(DIM, scale=scale),
        "Student-t(3)": lambda scale: ldm.priors.StudentT(DIM, df=3.0, scale=scale),
        "generalized Gaussian(4)": lambda scale: ldm.priors.GeneralizedGaussian(DIM, power=4.0, scale=scale),
    }


def short(prior: Callable, z: Tensor, *, seed: int, chains: int = 1):
    """A posterior of few parameters: chains of 400 draws after 200 of warm-up."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of a single chain
        return ldm.posterior.nuts(
            prior, z, num_samples=400, warmup_steps=200, num_chains=chains, seed=seed, progress=False
        )


def variational(prior: Callable, z: Tensor, *, seed: int):
    """SVI with AutoMultivariateNormal, 800 draws of it."""
    with warnings.catch_warnings():
        warnings.simplefilter("ignore", UserWarning)  # of its k-hat
        return ldm.posterior.svi(
            prior, z, autoguide=AutoMultivariateNormal, num_steps=1500, num_samples=800, seed=seed, progress=False
        )


def selection(args) -> None:
    """How often LOO finds the prior of the latents; a row a repetition, in a CSV that a killed call goes on from."""
    path = Path(args.csv)
    rows = _rows(path)
    seen = {(int(row["size"]), int(row["repetition"])) for row in rows}
    makers = sources()
    unknown = dist.LogNormal(torch.zeros(DIM), 1.0).to_event(1)
    with path.open("a", newline="") as file:
        writer = csv.DictWriter(file, FIELDS)
        if not rows:
            writer.writeheader()
        for size in args.sizes:
            for repetition in range(args.repetitions):
                if (size, repetition) in seen:
                    continue
                truth = list(makers)[repetition % len(makers)]
                torch.manual_seed(10_000 + repetition)
                z = makers[truth](torch.tensor([0.7, 1.5]))(range(size))
                priors = {name: make(unknown) for name, make in makers.items()}
                found = ldm.posterior.compare_priors(z, priors, posterior=short, seed=repetition, progress=False)
                names = list(found.results)
                difference, error = found.difference(names[1])
                row = (
                    size,
                    repetition,
                    truth,
                    found.best,
                    len(found.tied) == 1,
                    names[1],
                    round(difference, 1),
                    round(error, 1),
                    round(float(found.table["k_hat"].max()), 2),
                    int(found.table["refitted"].sum()),
                )
                writer.writerow(dict(zip(FIELDS, row, strict=True)))
                file.flush()
    _print_selection(_rows(path))


def _rows(path: Path) -> list[dict]:
    if not path.exists():
        return []
    with path.open(newline="") as file:
        return list(csv.DictReader(file))


def _print_selection(rows: list[dict]) -> None:
    print(
        "| N | latents from | sets | right | named alone, rightly | wrongly | smallest difference, nats | worst k-hat |"
    )
    print("|---|---|---|---|---|---|---|---|")
    for size in sorted({int(row["size"]) for row in rows}, reverse=True):
        of_size = [row for row in rows if int(row["size"]) == size]
        for name in [*sources(), "all"]:
            found = [row for row in of_size if name in ("all", row["truth"])]
            right = [row for row in found if row["best"] == row["truth"]]
            alone = [row for row in right if row["alone"] == "True"]
            wrong = [row for row in found if row["best"] != row["truth"] and row["alone"] == "True"]
            least = min((float(row["difference"]) for row in right), default=math.nan)
            worst = max(float(row["k_hat"]) for row in found)
            print(
                f"| {size} | {name} | {len(found)} | {len(right)} | {len(alone)} | {len(wrong)} | {least:.1f} "
                f"| {worst:.2f} |"
            )


def latents(args) -> None:
    """Learned latents of digits and patches, and principal components of the same dims."""
    for name, z in learned().items():
        digits = name.startswith("digits")
        posterior = partial(short, chains=2) if digits else variational
        found = ldm.posterior.compare_priors(z, posterior=posterior, refit=digits, progress=False)
        print(f"\n{name}, {len(z)} x {z.shape[1]}: {found}\n", flush=True)
        table = found.table[["elpd_loo", "se", "elpd_diff", "dse", "p_loo", "weight", "k_hat", "refitted"]]
        print("| prior | elpd, nats | se | behind the best | +- se | p_loo | weight | worst k-hat | refitted |")
        print("|---|---|---|---|---|---|---|---|---|")
        for prior, row in table.iterrows():
            print(
                f"| {prior} | {row.elpd_loo:.0f} | {row.se:.0f} | {row.elpd_diff:.0f} | {row.dse:.0f} "
                f"| {row.p_loo:.0f} | {row.weight:.2f} | {row.k_hat:.2f} | {row.refitted:.0f} |"
            )
        if args.pictures:
            folder = Path(args.pictures)
            folder.mkdir(parents=True, exist_ok=True)
            found.picture().savefig(folder / f"priors of {name}.png", dpi=100)
            best = ldm.posterior.default_priors(z)[found.best]
            check = ldm.posterior.predictive_check(best, z, found.trees[found.best])
            print(f"\n{found.best}, checked: {check}")
            check.picture().savefig(folder / f"check of {name}.png", dpi=100)


def learned() -> dict[str, Tensor]:
    """Latents by name, 2000 rows at most."""
    digits, patches = ldm.datasets.digits(), ldm.datasets.patches()
    torch.manual_seed(0)
    guide = ldm.guides.Deterministic(ldm.encoders.MLP(64, 8), ldm.entropy.KNN())
    ldm.fit(ldm.priors.Gaussian(8), guide, digits, epochs=40, progress=False)
    found = {"digits by KNN": ldm.training.latents(guide, digits)}
    found["digits, principal components"] = ldm.encoders.PCA(64, 8).fit(digits.x)(digits.x)
    rows = patches.x[:2000].flatten(1)
    reduce = ldm.encoders.PCA(rows.shape[1], 16).fit(patches.x.flatten(1))
    found["patches, principal components"] = reduce(rows)
    ica = ldm.ICA(n_components=16).fit(reduce(patches.x.flatten(1)).numpy())
    found["patches by ICA"] = torch.as_tensor(ica.transform(reduce(rows).numpy()))
    return found


def main() -> None:
    """Read the command line; measure; print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("what", nargs="*", default=["selection", "latents"])
    parser.add_argument("--sizes", type=int, nargs="+", default=[2000, 300])
    parser.add_argument("--repetitions", type=int, default=100)
    parser.add_argument("--csv", default="loo.csv")
    parser.add_argument("--pictures")
    args = parser.parse_args()
    torch.set_num_threads(1)
    for what in args.what:
        {"selection": selection, "latents": latents}[what](args)


if __name__ == "__main__":
    main()
