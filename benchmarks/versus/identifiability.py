"""Signal under nuisance: which of them do the latents of LDM and of VAEs hold, under one prior and one encoder?

A Gaussian signal that rotates and as many dims of white nuisance, in 100 observed numbers through a fixed injective
network, 5 steps; 100000 series to train on. The prior is that of `benchmarks/identifiability.py`: each step Gaussian
around a learned linear map of the one before. So is the encoder, a perceptron of five layers of 200 beside a linear map
that is trained first, for two epochs; 6 epochs of all, one-cycle Adam, batches of 512.

LDM scores the encoder's outputs by `Pooled(LogDet())`. A VAE has twice the outputs, means and scales, scored by
`Conditional()`, a decoder of the same make (a linear map, and a perceptron of five layers of 200 beside it), and a
Gaussian likelihood of learned scale. It learns from series of 5 steps, or from pairs, the first two steps of each: the
same prior, T = 2. LDM of pairs stands beside it. A VAE of as many latents as signal has to leave something out, so one
with room for all, twice as many, is there as well.

Columns, on 10000 test series: R2 of signal and of nuisance by an affine map of the latents (of a VAE, of its means),
and by boosted trees, which find what is there in any form; both fitted on 10000 (trees: 2000) training series. What
latents tell of the nuisance is leakage. The loss is that of the objective, nats per series.
"""

import time
from collections.abc import Iterable, Iterator

import numpy as np
import torch
from sklearn.ensemble import HistGradientBoostingRegressor
from torch import Tensor, nn

import pyro_ldm as ldm

E = ldm.entropy
COLUMNS = ("signal", "signal, by trees", "nuisance", "nuisance, by trees", "loss", "CPU seconds")
MODELS = ("LDM", "sequence VAE", "sequence VAE, 2 d latents", "LDM, pairs", "pair VAE", "linear map of x")
WORLDS = {f"signal and nuisance, d = {dim}": MODELS for dim in (5, 10)}
NUM, EPOCHS, BATCH, LR = 100_000, 6, 512, 4e-3


class Residual(nn.Module):
    """A perceptron beside a linear map; at the start it adds nothing to it."""

    def __init__(self, size_in: int, size_out: int, *, batch_norm: bool):
        super().__init__()
        self.linear = nn.Linear(size_in, size_out)
        hidden, activation = [200] * 5, nn.LeakyReLU
        self.mlp = ldm.encoders.MLP(size_in, size_out, hidden=hidden, activation=activation, batch_norm=batch_norm)
        nn.init.zeros_(self.mlp[-1].weight)
        nn.init.zeros_(self.mlp[-1].bias)

    def forward(self, x: Tensor) -> Tensor:
        """Rows (N, size_in) to rows (N, size_out)."""
        return self.linear(x) + self.mlp(x)


def rows(
    wanted: Iterable[tuple[str, str, int]], *, validation: bool
) -> Iterator[tuple[str, str, int, dict[str, float]]]:
    """Measures of each (world, model, seed); in validation of other worlds, of fewer series."""
    for world, model, seed in wanted:
        dim, place = int(world.split()[-1]), seed + 1000 * validation
        train, test = (
            ldm.datasets.signal_and_nuisance(dim, num=num, seed=2 * place + part, world_seed=place)
            for part, num in enumerate((30_000 if validation else NUM, 10_000))
        )
        yield world, model, seed, measure(model, train, test, seed)


def measure(model: str, train: ldm.datasets.Data, test: ldm.datasets.Data, seed: int) -> dict[str, float]:
    """Train a model, and ask its latents for signal and nuisance."""
    if model == "linear map of x":
        return recovered(train.x[:10_000], test.x, train, test)
    torch.manual_seed(seed)
    guide, found = learn(model, train, seed)
    z, z_test = (ldm.training.latents(guide, x, batch_size=2000) for x in (train.x[:10_000], test.x))
    return recovered(z, z_test, train, test) | found


def learn(model: str, train: ldm.datasets.Data, seed: int) -> tuple[nn.Module, dict[str, float]]:
    """The trained guide, its loss and seconds."""
    vae = "VAE" in model
    dim = train.truth.shape[-1] * (2 if "2 d" in model else 1)
    x = train.x[:, :2] if "pair" in model else train.x
    inner = Residual(100, 2 * dim if vae else dim, batch_norm=True)
    prior = ldm.priors.Autoregressive(
        dim,
        nn.Linear(dim, dim),
        noise=nn.Parameter(torch.full((dim,), 0.5)),
        scale=nn.Parameter(torch.ones(dim)),
    )
    if vae:
        outer = Residual(dim, 100, batch_norm=False)
        likelihood = ldm.baselines.Gaussian(nn.Parameter(torch.tensor(0.3)))
        make = lambda part: ldm.guides.Gaussian(ldm.encoders.PerStep(part), E.Conditional())  # noqa: E731
        stages = [
            (ldm.baselines.Generative(prior, ldm.encoders.PerStep(decoder), likelihood), make(encoder))
            for decoder, encoder in ((outer.linear, inner.linear), (outer, inner))
        ]
    else:
        make = lambda part: ldm.guides.Deterministic(ldm.encoders.PerStep(part), E.Pooled(E.LogDet()))  # noqa: E731
        stages = [(prior, make(inner.linear)), (prior, make(inner))]
    steps = EPOCHS * (len(x) // BATCH)
    settings = {"batch_size": BATCH, "gradient_clip": 1.0, "seed": seed, "progress": False}
    start = time.process_time()
    ldm.fit(*stages[0], x, epochs=2, lr=1e-2, **settings)
    fit = ldm.fit(
        *stages[1],
        x,
        epochs=EPOCHS,
        optimizer=lambda parameters: one_cycle(parameters, LR, steps),
        precision="bf16-mixed",
        **settings,
    )
    return stages[1][1], {"loss": fit.terms.loss, "CPU seconds": time.process_time() - start}


def one_cycle(parameters: Iterable[nn.Parameter], lr: float, steps: int) -> dict:
    """Adam with a learning rate that rises and falls once."""
    optimizer = torch.optim.Adam(parameters, lr=lr)
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps, pct_start=0.1)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def recovered(z: Tensor, z_test: Tensor, train: ldm.datasets.Data, test: ldm.datasets.Data) -> dict[str, float]:
    """R2 of signal and nuisance on the test series."""
    found = {}
    for name in ("signal", "nuisance"):
        fitted, scored = ((part.truth if name == "signal" else part.nuisance) for part in (train, test))
        found[name] = ldm.diagnostics.affine_r2(z, fitted[: len(z)], test=(z_test, scored))
        if z.shape[-1] < 100:  # of x itself trees would take minutes
            found[f"{name}, by trees"] = by_trees(z[:2000], fitted[:2000], z_test[:2000], scored[:2000])
    return found


def by_trees(z: Tensor, truth: Tensor, z_test: Tensor, truth_test: Tensor) -> float:
    """Mean R2 over coordinates, each by boosted trees."""
    z, truth, z_test, truth_test = (part.flatten(0, 1).numpy() for part in (z, truth, z_test, truth_test))
    scores = []
    for target, target_test in zip(truth.T, truth_test.T, strict=True):
        trees = HistGradientBoostingRegressor(max_iter=100, random_state=0).fit(z, target)
        scores.append(trees.score(z_test, target_test))
    return float(np.mean(scores))
