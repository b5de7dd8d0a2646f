"""Videos: Kalman LDM, a Kalman VAE of the same prior and encoder, and a deep Markov model. Nothing is labelled.

Worlds: "dots, circle", 4000 videos of 100 noisy 10 x 10 frames, others for each seed; "KVAE box", 4000 of 19 binary
32 x 32 frames, for all seeds the same. Encoder: a perceptron on single frames, 100-100 (box: 128), of 2 outputs; of a
VAE 2 means and 2 scales; of DMM 32 features, for its guide's recurrent network. Prior: `Kalman(2)`, on box the moving
point of `kvae_physics.py`, of 4 states; DMM: 2 states, 4 on box. Decoder: a perceptron on single latents, 100-100 (box:
256-256); Gaussian likelihood of learned scale, or Student t of learned tails; Bernoulli on box. LDM: `LogDet`, pooled
over steps (box: of each step), or `KNN` after two passes of that.

All learn from the same batches for the same 6 (box: 10) passes by Adam, along a half cosine, from one start; on box the
VAEs for 20 too, as they go on to improve. The Kalman models then learn their prior alone for 3 more passes, on dots
with a noise that depends on the frame's variance. VAEs have, chosen on data held out: a weight of the KL that goes to 1
from `anneal` over the first `warm` of the steps, a learning rate of the prior's own, and for DMM gaps in half of its
training series, without which it was worse.

R2: of the position under an affine map of the encoder's outputs or means, of the filter's states and of the smoother's
(DMM: the path of means of its guide; as filter, that path's last state for the frames up to each step); of velocity by
the smoother. Maps are fitted on 200 other videos (1000 training series), scored on 200 (1000) test series.

Imputation: RMS error of the position per coordinate (the circle has radius 1; box: pixels) at steps 40 to 59 (6 to 14,
counted from 0), all missing, by the smoother and its map. Forecast: of steps 50 to 59 (10 to 18) from those before, in
closed form; DMM by 50 draws. Coverage: of these by 90 % bands, of the forecast's variance and the map's residual's.

Loss, nats per test series: -ELBO; of LDM KL - I, beside it what draws from the trained prior have. Seconds are of one
core in training, with the prior's last passes; to 0.95: until smoother or encoder have that R2, looked at each 25 (10)
batches with the clock stopped.

Controls: two principal components of a frame; least squares from all its pixels to the true position; the last true
position seen; and least squares from all true positions seen to those that are not.
"""

import math
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass, replace
from functools import lru_cache
from pathlib import Path

import numpy as np
import torch
from torch import nn

import pyro_ldm as ldm
from versus.controls import CONTROLS, control
from versus.series import Anneal, Curve, Drawn, Filtered, Means, StudentT, again, decayed, gaps, hide, kalman, rms

B, D, E, Data = ldm.baselines, ldm.diagnostics, ldm.entropy, ldm.datasets.Data
LONGER = ("Kalman VAE, 20 passes", "DMM, 20 passes")
WORLDS = {
    "dots, circle": ("Kalman LDM", "Kalman VAE", "Kalman VAE, Student t", "DMM", *CONTROLS),
    "KVAE box": ("Kalman LDM", "Kalman LDM, KNN", "Kalman VAE", "DMM", *LONGER, *CONTROLS),
}
COLUMNS = ("encoder", "filter", "smoother", "velocity", "imputation", "forecast", "coverage")
COLUMNS += ("loss", "prior draws", "seconds", "seconds to 0.95")
LDM, VAE, DMM = range(3)
CURVES: dict[tuple[str, str, int], Curve] = {}


@dataclass(frozen=True)
class World:
    """How a world is learned, and what is asked of it: "dots, circle" as it stands; two steps are a range."""

    frame: tuple[int, ...] = (1, 10, 10)
    states: int = 2
    hidden: tuple[int, ...] = (100, 100)
    decoder: tuple[int, ...] = (100, 100)
    likelihood: Callable[[], nn.Module] = B.Gaussian
    arranged: Callable[[ldm.entropy.Entropy], nn.Module] = E.Pooled
    frames_differ: bool = True
    epochs: int = 6
    batch_size: int = 32
    lr: float = 3e-3
    prior_lr: tuple[float, float, float] = (3e-3, 3e-3, 3e-3)  # of LDM, Kalman VAE, DMM
    anneal: tuple[float, float, float] = (1.0, 0.05, 0.05)  # likewise: the first weight of the KL
    warm: float = 0.3
    gap: tuple[int, int] = (40, 60)
    ahead: tuple[int, int] = (50, 60)
    every: int = 25


BOX = World(
    frame=(1, 32, 32),
    states=4,
    hidden=(128,),
    decoder=(256, 256),
    likelihood=B.Bernoulli,
    arranged=E.Separate,
    frames_differ=False,
    epochs=10,
    batch_size=64,
    lr=2e-3,
    prior_lr=(2e-2, 6e-4, 2e-2),
    anneal=(1.0, 30.0, 4.0),
    warm=0.6,
    gap=(6, 15),
    ahead=(10, 19),
    every=10,
)
SETTINGS = {"dots, circle": World(), "KVAE box": BOX}


def kind_of(model: str) -> int:
    """LDM, VAE or DMM."""
    return DMM if model.startswith("DMM") else VAE if "VAE" in model else LDM


def make(world: World, model: str) -> tuple[nn.Module, nn.Module, list[tuple[nn.Module, int]]]:
    """Prior, program, and guides with the passes for each."""
    kind = kind_of(model)
    encoder = ldm.encoders.MLP(math.prod(world.frame), (2, 4, 32)[kind], hidden=world.hidden)
    per_step = ldm.encoders.PerStep(encoder)
    if kind == LDM:
        prior: nn.Module = kalman(world.states)
        first = 2 if model.endswith("KNN") else world.epochs
        stages = {E.LogDet(): first, E.KNN(): world.epochs - first}
        guides = [(ldm.guides.Deterministic(per_step, world.arranged(e)), n) for e, n in stages.items() if n]
        return prior, prior, guides
    prior = B.DeepMarkov(world.states) if kind == DMM else kalman(world.states)
    decoder = B.MLPDecoder(world.states if kind == DMM else 2, world.frame, hidden=world.decoder)
    likelihood = StudentT() if model.endswith("Student t") else world.likelihood()
    guide = ldm.guides.Gaussian(per_step, E.Conditional())
    if kind == DMM:
        guide = B.StructuredGuide(encoder, world.states, features=32)
    return prior, B.Generative(prior, ldm.encoders.PerStep(decoder), likelihood), [(guide, world.epochs)]


def learn(name: str, model: str, seed: int, parts: tuple[Data, Data, Data]) -> dict[str, float]:
    """Train, and measure."""
    world, kind, (train, fit, test) = SETTINGS[name], kind_of(model), parts
    world = replace(world, epochs=20) if model in LONGER else world
    torch.manual_seed(seed)
    prior, program, stages = make(world, model)
    settings = {"batch_size": world.batch_size, "gradient_clip": 5.0, "seed": seed, "accelerator": "cpu"}
    settings |= {"progress": False}
    found = (Drawn if kind == DMM else Filtered)(prior, stages[0][0])
    CURVES[name, model, seed] = curve = Curve(found, world.every, (fit, test))
    x = (train.x, gaps(*train.x.shape[:2], seed)) if kind == DMM else train.x
    for guide, epochs in stages:
        found.guide, steps, elbo = guide, epochs * (len(train) // world.batch_size), B.Tempered(1.0)
        more = {"elbo": elbo, "optimizer": decayed(prior, (world.lr, world.prior_lr[kind]), steps)}
        callbacks = (curve, Anneal(elbo, world.anneal[kind], world.warm * steps))
        ldm.fit(program, guide, x, epochs=epochs, callbacks=callbacks, **more, **settings)
    if kind != DMM:
        found.prior = again(prior, frames_differ=world.frames_differ)
        means = ldm.guides.Deterministic(ldm.encoders.PerStep(Means(guide.encoder.encoder)), E.Zero())
        ldm.fit(found.prior, means, train.x, epochs=3, lr=world.prior_lr[LDM], callbacks=(curve,), **settings)
        program = found.prior if kind == LDM else B.Generative(found.prior, program.decoder, program.likelihood)
    times = {"seconds": curve.seconds, "seconds to 0.95": next((s for s, r2 in curve.points if r2 >= 0.95), math.nan)}
    objective, batches = ldm.Objective(program, guide).eval(), test.x.split(world.batch_size)
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.manual_seed(seed)
        whole = [x for x in batches if len(x) == world.batch_size]
        loss = {"loss": float(np.mean([float(objective(x)) for x in whole]))}
        if reference := [value for x in whole for value in objective.reference(x)]:
            loss["prior draws"] = float(np.mean(reference))
        return measure(found, world, fit, test) | loss | times


def measure(found: Filtered | Drawn, world: World, fit: Data, test: Data) -> dict[str, float]:
    """R2, errors and coverage on test series."""
    states = [{"filter": found.filter(x), "smoother": found.smooth(x).mean} for x in (fit.x, test.x)]
    if isinstance(found, Filtered):
        states = [each | {"encoder": found.encode(x)} for each, x in zip(states, (fit.x, test.x), strict=True)]
    fitted, scored = fit.truth[..., :2], test.truth[..., :2]
    row = {n: D.affine_r2(values, fitted, test=(states[1][n], scored)) for n, values in states[0].items()}
    smooth, position = states[0]["smoother"], scored.numpy()
    if fit.truth.shape[-1] == 4:
        row["velocity"] = D.affine_r2(smooth, fit.truth[..., 2:], test=(states[1]["smoother"], test.truth[..., 2:]))
    to_position = D.AffineMap.fit(smooth, fitted)
    residual = (to_position.loc(smooth) - fitted.numpy()).std(axis=(0, 1))
    gap, ahead = slice(*world.gap), slice(*world.ahead)
    mask = torch.ones(test.x.shape[:2], dtype=torch.bool)
    mask[:, gap] = False
    row["imputation"] = rms((to_position.loc(found.smooth(hide(test.x, mask), mask).mean) - position)[:, gap])
    mean, covariance = found.forecast(test.x, ahead)
    row["forecast"] = rms(to_position.loc(mean) - position[:, ahead])
    scale = np.hypot(to_position.scale(covariance), residual)
    row["coverage"] = float(D.coverage(to_position.loc(mean), scale, position[:, ahead], levels=[0.9]).share[0])
    return row


@lru_cache(maxsize=1)
def data(name: str, seed: int, validation: bool) -> tuple[Data, Data, Data]:
    """To train on, to fit maps on, to score."""
    if name == "dots, circle":
        seeds = (seed, 1000 + seed, (3000 if validation else 2000) + seed)
        train, fit, test = (
            ldm.datasets.dots("circle", num=n, seed=s) for n, s in zip((4000, 200, 200), seeds, strict=True)
        )
        return train, fit, test
    train, held_out = ldm.datasets.kvae_physics("box").split()
    test = held_out if validation else ldm.datasets.kvae_physics("box", train=False)
    return train, Data(train.x[:1000], truth=train.truth[:1000]), test


def rows(
    wanted: Iterable[tuple[str, str, int]], *, validation: bool
) -> Iterator[tuple[str, str, int, dict[str, float]]]:
    """Measures of each (world, model, seed)."""
    for name, model, seed in wanted:
        parts = data(name, 0 if name == "KVAE box" else seed, validation)
        if model in CONTROLS:
            yield name, model, seed, control(model, SETTINGS[name], parts)
        else:
            yield name, model, seed, learn(name, model, seed, parts)


def draw(folder: Path) -> None:
    """R2 of the position against seconds of training, a line a model and seed, of this call's cells."""
    from matplotlib.figure import Figure

    worlds = list(dict.fromkeys(name for name, _, _ in CURVES))
    figure = Figure(figsize=(4.5 * max(1, len(worlds)), 3.6), layout="constrained")
    for axes, name in zip(figure.subplots(1, len(worlds), squeeze=False)[0] if worlds else [], worlds, strict=True):
        mine = {key[1:]: curve.points for key, curve in CURVES.items() if key[0] == name and curve.points}
        for (model, seed), points in mine.items():
            label = model if seed == min(s for m, s in mine if m == model) else None
            axes.plot(*zip(*points, strict=True), color=f"C{WORLDS[name].index(model)}", lw=1.2, label=label)
        axes.axhline(0.95, color="0.7", lw=0.8, zorder=0)
        axes.set(title=name, xscale="log", xlabel="seconds of training, one core", ylim=(0, 1), ylabel="R2, position")
        axes.legend(frameon=False, fontsize=8)
    figure.savefig(folder / "videos.png", dpi=130)
