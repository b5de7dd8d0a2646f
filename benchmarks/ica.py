"""Linear ICA beside FastICA and picard: time and Amari distance; the paper's two settings; loss against likelihood.

Fits of one setting alternate within one run; medians of times and Amari distances over the repetitions, each of which
has data and a start of its own. Bars: 10 sources: Amari distance at most FastICA's and picard's. 40 sources: at most
1.5 x FastICA's time, and under picard's, at no worse an Amari distance. Photographs: |correlation| above 0.995;
Ornstein-Uhlenbeck paths: above 0.99. The floor is one pass over the data: z = x W', the score of each entry, its
product with z.
"""

import importlib.metadata
import math
import os
import platform
import statistics
import time
import warnings

import numpy as np
import pyro
import torch
from picard import picard
from sklearn.decomposition import FastICA
from sklearn.exceptions import ConvergenceWarning
from torch.nn.utils.parametrizations import orthogonal

import pyro_ldm as ldm


def learned_exponent(latent_dim: int) -> ldm.priors.Sources:
    return ldm.priors.GeneralizedGaussian(latent_dim, power=torch.nn.Parameter(torch.full((latent_dim,), 1.5)))


def by_picard(x: np.ndarray, seed: int, **settings) -> np.ndarray:
    whitening, unmixing, _ = picard(np.ascontiguousarray(x.T), random_state=seed, **settings)
    return unmixing @ whitening


METHODS = {
    "FastICA (defaults: logcosh, SVD)": lambda x, seed: FastICA(random_state=seed).fit(x).components_,
    "FastICA (whiten_solver='eigh')": lambda x, seed: (
        FastICA(whiten_solver="eigh", random_state=seed).fit(x).components_
    ),
    "picard (defaults: tanh, orthogonal)": by_picard,
    "picard (tol=1e-4)": lambda x, seed: by_picard(x, seed, tol=1e-4),
    "picard (ortho=False)": lambda x, seed: by_picard(x, seed, ortho=False),
    "ICA, Laplace (default)": lambda x, seed: ldm.ICA(random_state=seed).fit(x).components_,
    "ICA, logistic": lambda x, seed: ldm.ICA(prior=ldm.priors.Logistic, random_state=seed).fit(x).components_,
    "ICA, learned exponents": lambda x, seed: ldm.ICA(prior=learned_exponent, random_state=seed).fit(x).components_,
}


def laplace_sources(num_sources: int, num: int, repetitions: int) -> None:
    """Print times and Amari distances of all methods."""
    times: dict[str, list[float]] = {name: [] for name in METHODS}
    distances: dict[str, list[float]] = {name: [] for name in METHODS}
    for seed in range(repetitions + 1):
        # The first run is a warm-up, on the data of the second.
        world = ldm.datasets.sources(num_sources=num_sources, num=num, seed=max(seed - 1, 0))
        x, mixing = world.x.double().numpy(), world.mixing.T.double().numpy()
        for name, method in METHODS.items():
            if seed == 0 and num_sources > 10 and name.startswith("picard"):
                continue
            start = time.perf_counter()
            unmixing = method(x, seed)
            if seed:
                times[name].append(time.perf_counter() - start)
                distances[name].append(ldm.diagnostics.amari_distance(unmixing, mixing))
    median = {name: statistics.median(values) for name, values in times.items()}
    fastica, orthogonal_picard = (list(median.values())[i] for i in (0, 2))
    print(f"\n{num_sources} Laplace sources, {num} samples, {repetitions} repetitions\n")
    print("| method | time, s (range) | x FastICA | x picard | Amari distance (range) |\n|---|---|---|---|---|")
    for name, seconds in median.items():
        spread, found = times[name], distances[name]
        print(
            f"| {name} | {seconds:.3f} ({min(spread):.3f} to {max(spread):.3f}) | {seconds / fastica:.2f} "
            f"| {seconds / orthogonal_picard:.2f} "
            f"| {statistics.median(found):.5f} ({min(found):.5f} to {max(found):.5f}) |"
        )
    with pyro.validation_enabled(False):
        floor(torch.from_numpy(x))


def floor(x: torch.Tensor, rows: int = 4096) -> None:
    """Print the time of one pass, in chunks that stay in the cache."""
    w, spent = torch.linalg.qr(torch.randn(x.shape[1], x.shape[1]))[0].to(x), []
    for _ in range(15):
        start = time.perf_counter()
        for part in x.split(rows):
            z = part @ w.T
            z.abs().sum()
            torch.sign(z).T @ z
        spent.append(time.perf_counter() - start)
    print(f"\nFloor, one pass: {1e3 * statistics.median(spent):.1f} ms (Laplace score by hand, no autograd)")


def photographs(starts: int = 3) -> None:
    """Print the correlations of both photographs with what is recovered, the worst over random starts."""
    data = ldm.datasets.photographs()
    x = data.x.double().numpy()
    fixed = ldm.priors.GeneralizedGaussian(2, power=4.0, scale=20**-0.25)
    print(f"\nTwo photographs, {len(x)} pixels, mixed by [[1, .7], [.7, 1]], worst of {starts} starts\n")
    print("| method | correlation, china | flower | exponents | time, s |\n|---|---|---|---|---|")
    for name, make in {
        "ICA, exponent learned per source, bound 8": lambda seed: ldm.ICA(prior=learned_exponent, random_state=seed),
        "ICA, exponent 4 fixed, density exp(-20 z^4)": lambda seed: ldm.ICA(prior=fixed, random_state=seed),
        "ICA, Laplace": lambda seed: ldm.ICA(random_state=seed),
        "FastICA, logcosh": lambda seed: FastICA(random_state=seed),
        "FastICA, cube": lambda seed: FastICA(fun="cube", random_state=seed),
    }.items():
        runs = []
        for seed in range(starts):
            start = time.perf_counter()
            ica = make(seed).fit(x)
            seconds = time.perf_counter() - start
            runs.append((ldm.diagnostics.mcc(ica.transform(x), data.truth), ica, seconds))
        match, ica, _ = min(runs, key=lambda run: run[0].correlations.min())
        power = getattr(getattr(ica, "prior_", None), "power", None)
        found = "" if power is None else torch.as_tensor(power).detach().expand(2)[match.permutation].tolist()
        exponents = ", ".join(f"{value:.2f}" for value in found)
        seconds = statistics.median(run[2] for run in runs)
        print(f"| {name} | {match.correlations[0]:.5f} | {match.correlations[1]:.5f} | {exponents} | {seconds:.2f} |")


def ornstein_uhlenbeck(seeds: int = 10) -> None:
    """Two paths by unequal variances alone, by an orthogonal encoder.

    Any free W with W Cov(x) W' = diag(variances) is as good as the true one: variances alone do not say which. That the
    mixing is a rotation is what identifies it.
    """
    theta, sigma, dt = torch.tensor([2.0, 0.2]), 0.3, 0.1
    a = 1 - theta * dt
    scale = sigma * (dt / (1 - a.square())).sqrt()  # the chain's stationary standard deviations
    worst, difference = 1.0, 0.0
    for seed in range(seeds):
        data = ldm.datasets.ornstein_uhlenbeck(seed=seed)
        x = data.x.double()
        torch.manual_seed(seed)
        encoder = orthogonal(torch.nn.Linear(2, 2, bias=False))
        loss = ldm.Objective(ldm.priors.Gaussian(2, scale=scale), ldm.guides.Invertible(encoder))
        optimizer = torch.optim.LBFGS(loss.parameters(), max_iter=100, line_search_fn="strong_wolfe")

        def closure(optimizer=optimizer, loss=loss, x=x):
            optimizer.zero_grad()
            value = loss(x)
            value.backward()
            return value

        optimizer.step(closure)
        with torch.no_grad():
            worst = min(worst, ldm.diagnostics.mcc(encoder(x), data.truth).correlations.min())
            covariance = encoder.weight.T @ torch.diag(scale.square()) @ encoder.weight
            exact = -torch.distributions.MultivariateNormal(torch.zeros(2), covariance).log_prob(x).mean()
            difference = max(difference, float((loss(x) - exact).abs()))
    print(f"\nTwo Ornstein-Uhlenbeck paths, rotated by 45 degrees, {seeds} seeds; orthogonal encoder, known variances")
    print(f"\nsmallest |correlation| {worst:.4f}; loss less the exact negative log-likelihood: {difference:.1e} nats")


def elbo_is_likelihood() -> None:
    """Print the difference of the fit's loss, the stock ELBO's, and the likelihood written out by hand."""
    world = ldm.datasets.sources(num_sources=10, num=20_000)
    ica = ldm.ICA(random_state=0).fit(world.x)
    x = world.x.double() - torch.from_numpy(ica.mean_)
    encoder = torch.nn.Linear(10, 10)
    with torch.no_grad():
        encoder.weight.copy_(torch.from_numpy(ica.components_))
        encoder.bias.copy_(torch.from_numpy(ica.bias_))
        elbo = float(ldm.Objective(ldm.priors.Laplace(10), ldm.guides.Invertible(encoder))(x))
        by_hand = float((encoder(x).abs() + math.log(2)).sum(-1).mean() - encoder.weight.slogdet().logabsdet)
    fitted = ica.loss_ - np.linalg.slogdet(ica.whitening_)[1]
    print("\nLoss of 10 Laplace sources, raw data, nats per datum\n")
    print(f"stock ELBO {elbo:.9f}; minus the log-likelihood by hand {by_hand:.9f}; ICA's, raw data {fitted:.9f}")
    print(f"largest difference {max(abs(elbo - by_hand), abs(fitted - by_hand)):.1e}")


def main() -> None:
    """Print the tables."""
    torch.set_default_dtype(torch.float64)
    warnings.simplefilter("ignore", ConvergenceWarning)
    versions = {name: importlib.metadata.version(name) for name in ("scikit-learn", "python-picard", "numpy")}
    print(
        f"{os.cpu_count()} cores, {torch.get_num_threads()} threads, Python {platform.python_version()}, "
        f"torch {torch.__version__}, pyro {pyro.__version__}, "
        + ", ".join(f"{name} {version}" for name, version in versions.items())
        + "; float64; data seeds 0, 1, ..., starts 1, 2, ..."
    )
    laplace_sources(10, 20_000, repetitions=7)
    laplace_sources(40, 50_000, repetitions=5)
    photographs()
    ornstein_uhlenbeck()
    elbo_is_likelihood()


if __name__ == "__main__":
    main()
