"""A Kalman filter of videos: position and velocity of a ball from 32 x 32 pixels, no decoder, no labels.

    PYRO_LDM_DATA=folder python benchmarks/kvae_physics.py [--seeds 3] [--worlds box ...] [--estimators LogDet ...]

A perceptron sees one frame at a time; the prior is a linear-Gaussian state of four, two of which are seen and two of
which are added to those two; the transition and all noises are learned. The loss has one estimate per step
(`Separate`), so that neighbours and kernels are of rows of different series. KNN and KDE begin with two epochs of
LogDet: from random weights KNN stays stuck in some worlds (`--warm 0`). Trained on four fifths of the training series;
`--validation` scores the rest of them, and is what settings were chosen on; without it, the test series.

States: R2 of the true position under an affine map of the filter's means (past and present frames), the smoother's (all
frames) and the encoder's output (one frame), the map fitted on training series; and of the velocity, which no frame
shows, under one of the smoother's. Beside them two numbers per frame from PCA and from the encoder untrained, and least
squares from all pixels, which has the true positions of training series and 1024 coefficients where the others have 2.

Imputation: steps 6 to 14 (of 0 to 18) are missing, or each but the first with probability 1/2. An affine map, fitted on
training series with all frames there, takes what the state shows (its first two coordinates) to the true position.
Errors are root mean squares per coordinate over the missing steps, in pixels, of the smoother; of the last output of
the encoder before the gap; and of its outputs on both sides, interpolated. All have the same map. "Nothing missing" is
the smoother's error at the same steps with all frames there: that of encoder and map. Coverage: the share of true
coordinates within the smoother's bands of 95 %. Those of the state, or of its noisy observation, know of dynamics and
noise, not of how far the map is from affine; so a third has the map's residual added, as measured on training series.
"""

import argparse
import math
import os
import platform
import statistics
import time
from dataclasses import dataclass

import numpy as np
import pyro
import torch
from torch import Tensor, nn
from torch.utils.data import DataLoader, TensorDataset

import pyro_ldm as ldm

E, D = ldm.entropy, ldm.diagnostics
BARS = {"box": 0.97, "box_gravity": 0.90, "polygon": 0.90}
ESTIMATORS = {"LogDet": E.LogDet, "KNN": E.KNN, "KDE": E.KDE}
LATENT, STATE = 2, 4
FIT = 2000  # training series to fit affine maps on


@dataclass(frozen=True)
class Run:
    """A trained pair, the parts of the data, and how it went."""

    prior: ldm.priors.Kalman
    guide: nn.Module
    loss: float
    reference: float
    seconds: float

    def latents(self, x: Tensor) -> Tensor:
        """What the encoder makes of frames, (N, T, 2)."""
        return ldm.training.latents(self.guide, x, batch_size=500)


def moving_point(drift: bool = False) -> ldm.priors.Kalman:
    """States of which two are seen, and the other two are added to those at each step; all noises are learned."""
    transition = torch.eye(STATE)
    transition[LATENT:, :LATENT] = 0.3 * torch.eye(LATENT)
    return ldm.priors.Kalman(
        LATENT,
        STATE,
        transition_matrix=nn.Parameter(transition),
        observation_matrix=torch.eye(STATE)[:, :LATENT],
        drift=nn.Parameter(torch.zeros(STATE)) if drift else 0.0,
    )


def make_encoder(hidden: int) -> nn.Module:
    """From a frame to two numbers."""
    return ldm.encoders.MLP(32 * 32, LATENT, hidden=[hidden])


def learn(estimator: str, train: ldm.datasets.Data, args, seed: int) -> Run:
    """Train from one seed: kernels and neighbours after some epochs of the log-determinant."""
    torch.manual_seed(seed)
    prior, encoder = moving_point(args.drift), ldm.encoders.PerStep(make_encoder(args.hidden))
    arrangement = E.Pooled if args.pooled else E.Separate
    generator = torch.Generator().manual_seed(seed)
    # A loader, so that losses, too, are of batches of this size: of thousands of rows of so few distinct frames many
    # would have no distance to their neighbours.
    batches = DataLoader(TensorDataset(train.x), args.batch, shuffle=True, drop_last=True, generator=generator)

    def optimizer(_) -> torch.optim.Optimizer:
        # The prior has few parameters, far from where they end.
        slow, fast = {"params": encoder.parameters(), "lr": args.lr}, {"params": prior.parameters(), "lr": 10 * args.lr}
        return torch.optim.Adam([slow, fast])

    warm = 0 if estimator == "LogDet" else args.warm
    stages = {"LogDet": warm, estimator: args.epochs - warm}
    start, starts = time.process_time(), args.starts
    for name, epochs in stages.items():
        if not epochs:
            continue
        guide = ldm.guides.Deterministic(encoder, arrangement(ESTIMATORS[name]()))
        fit = ldm.fit(
            prior,
            guide,
            batches,
            epochs=epochs,
            optimizer=optimizer,
            gradient_clip=5.0,
            starts=starts,
            start_epochs=1,
            seed=seed,
            accelerator="cpu",
            progress=False,
        )
        starts = 1
    seconds = time.process_time() - start
    return Run(prior, guide, fit.history[-1]["loss"], statistics.mean(fit.reference), seconds)


@torch.no_grad()
def states(run: Run, train: ldm.datasets.Data, test: ldm.datasets.Data) -> dict[str, float]:
    """R2 of position and velocity on test series, the maps fitted on training series."""
    fit, score = (moments(run, part) for part in (train, test))
    r2 = {
        name: D.affine_r2(fit[name], fit["position"], test=(score[name], score["position"]))
        for name in ("filter", "smoother", "encoder")
    }
    velocity = D.affine_r2(fit["smoother"], fit["velocity"], test=(score["smoother"], score["velocity"]))
    return r2 | {"velocity": velocity, "loss": run.loss, "reference": run.reference, "seconds": run.seconds}


def moments(run: Run, part: ldm.datasets.Data) -> dict[str, Tensor]:
    """Means of the filter and the smoother, outputs of the encoder, and the truth."""
    z, series = run.latents(part.x), run.prior.distribution(part.x)
    means = {"filter": series.filter(z).mean, "smoother": series.smooth(z).mean, "encoder": z}
    return means | {"position": part.truth[..., :2], "velocity": part.truth[..., 2:]}


def gaps(shape: tuple[int, int]) -> dict[str, Tensor]:
    """Which steps are there, (N, T)."""
    block = torch.ones(shape, dtype=torch.bool)
    block[:, 6:15] = False
    scattered = torch.rand(shape, generator=torch.Generator().manual_seed(0)) < 0.5
    scattered[:, 0] = True
    return {"steps 6 to 14": block, "half of all steps": scattered}


@torch.no_grad()
def imputation(run: Run, train: ldm.datasets.Data, test: ldm.datasets.Data) -> dict[str, dict[str, float]]:
    """Errors and coverage at the missing steps, for each kind of gap."""
    seen = run.prior.observation_matrix
    full = moments(run, train)
    to_position = D.AffineMap.fit(full["smoother"] @ seen, full["position"])
    residual = (to_position.loc(full["smoother"] @ seen) - full["position"].numpy()).std(axis=(0, 1))
    z, position = run.latents(test.x), test.truth[..., :2].numpy()
    everything = run.prior.distribution(test.x).smooth(z).mean @ seen
    found = {}
    for name, mask in gaps(z.shape[:2]).items():
        series = run.prior.distribution(test.x, mask)
        # What is missing is not read; this shows it.
        smoothed = series.smooth(torch.where(mask.unsqueeze(-1), z, math.nan))
        missing = (~mask).numpy()
        guesses = {"smoother": smoothed.mean @ seen, "nothing missing": everything} | filled(z, mask)
        row = {key: rms(to_position.loc(guess) - position, missing) for key, guess in guesses.items()}
        state = to_position.scale(seen.T @ smoothed.covariance_matrix @ seen)
        observed = to_position.scale(series.observe(smoothed).covariance_matrix)
        for label, scale in (("state", state), ("observed", observed), ("residual", np.hypot(state, residual))):
            band = D.coverage(to_position.loc(guesses["smoother"]), scale, position, levels=[0.95], mask=missing)
            row[label] = float(band.share[0])
        found[name] = row
    return found


def filled(z: Tensor, mask: Tensor) -> dict[str, np.ndarray]:
    """The last value before each gap, and the values on its two sides interpolated."""
    steps = np.arange(z.shape[1])
    last = np.maximum.accumulate(np.where(mask, steps, 0), axis=1)
    lines = [
        np.stack([np.interp(steps, steps[there], column[there]) for column in row.T], axis=-1)
        for row, there in zip(z.numpy(), mask.numpy(), strict=True)
    ]
    return {"persistence": np.take_along_axis(z.numpy(), last[..., None], axis=1), "interpolation": np.stack(lines)}


def rms(error: np.ndarray, where: np.ndarray) -> float:
    """Root mean square per coordinate, over the steps that count."""
    return float(np.sqrt(np.mean(error[where] ** 2)))


@torch.no_grad()
def baselines(train: ldm.datasets.Data, test: ldm.datasets.Data, args) -> dict[str, list[float]]:
    """R2 of position of what was not trained, and of least squares from all pixels."""
    frames, target = train.x.flatten(0, 1), train.truth[..., :2]

    def score(encode) -> float:
        fit, held_out = (encode(part.x.flatten(0, 1)).unflatten(0, part.x.shape[:2]) for part in (train, test))
        return D.affine_r2(fit, target, test=(held_out, test.truth[..., :2]))

    untrained = []
    for seed in range(args.seeds):
        torch.manual_seed(seed)
        encoder = make_encoder(args.hidden)
        encoder.train()(frames[:2000])  # batch statistics of the frames, as training would leave them
        untrained.append(score(encoder.eval()))
    pca = ldm.encoders.PCA(32 * 32, LATENT, whiten=False).fit(frames)
    return {
        "least squares from 1024 pixels": [score(lambda x: x.flatten(1))],
        "PCA, 2 dims": [score(pca)],
        "untrained encoder": untrained,
    }


def cell(values: list[float], digits: int = 3) -> str:
    """Mean, and the lowest and the highest."""
    mean = f"{statistics.mean(values):.{digits}f}"
    return f"{mean} ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 and digits > 1 else mean


def line(*cells: str) -> str:
    return "| " + " | ".join(cells) + " |"


def main() -> None:
    """Print the tables, the first a row as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--worlds", nargs="+", choices=list(BARS), default=list(BARS))
    parser.add_argument("--estimators", nargs="+", choices=list(ESTIMATORS), default=list(ESTIMATORS))
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=6)
    parser.add_argument("--batch", type=int, default=64, help="series; also the rows of an estimate")
    parser.add_argument("--lr", type=float, default=2e-3, help="of the encoder; the prior's is ten times that")
    parser.add_argument("--hidden", type=int, default=128)
    parser.add_argument("--warm", type=int, default=2, help="epochs of LogDet before those of another estimator")
    parser.add_argument("--starts", type=int, default=1, help="short starts, of which the lowest loss goes on")
    parser.add_argument("--drift", action="store_true", help="a constant input to the state, learned")
    parser.add_argument("--pooled", action="store_true", help="one estimate of all steps together: slow but for LogDet")
    parser.add_argument("--validation", action="store_true", help="score training series held out, for tuning")
    args = parser.parse_args()
    torch.set_num_threads(1)
    print(
        f"{args}\n{os.cpu_count()} cores, 1 thread, Python {platform.python_version()}, torch {torch.__version__}, "
        f"pyro {pyro.__version__}; seconds are of the processor\n"
    )
    heads = ["filter, position", "smoother, position", "encoder, position", "smoother, velocity"]
    print(line("world", "from", *heads, "loss, nats", "draws from the prior", "s", "bar"))
    print("|---" * 10 + "|")
    imputed: dict[tuple[str, str], list[dict]] = {}
    for world in args.worlds:
        train, held_out = ldm.datasets.kvae_physics(world).split()
        test = held_out if args.validation else ldm.datasets.kvae_physics(world, train=False)
        fit_on = ldm.datasets.Data(train.x[:FIT], truth=train.truth[:FIT], name=train.name)
        for name, values in baselines(fit_on, test, args).items():
            print(line(world, name, "", "", cell(values), *[""] * 5), flush=True)
        for estimator in args.estimators:
            runs = [learn(estimator, train, args, seed) for seed in range(args.seeds)]
            scores = [states(run, fit_on, test) for run in runs]
            column = {key: [score[key] for score in scores] for key in scores[0]}
            cells = [cell(column[key]) for key in ("filter", "smoother", "encoder", "velocity")]
            cells += [cell(column[key], 1) for key in ("loss", "reference")] + [cell(column["seconds"], 0)]
            met = "met" if min(column["filter"]) >= BARS[world] else "**missed**"
            print(line(world, estimator, *cells, f"{BARS[world]:.2f} {met}"), flush=True)
            imputed[world, estimator] = [imputation(run, fit_on, test) for run in runs]
    print("\n" + line("world", "estimator", "missing", "smoother", "interpolation", "persistence", "nothing missing",
                      "coverage, state", "observation", "state and residual"))  # fmt: skip
    print("|---" * 10 + "|")
    for (world, estimator), rows in imputed.items():
        for gap in rows[0]:
            keys = ("smoother", "interpolation", "persistence", "nothing missing", "state", "observed", "residual")
            print(line(world, estimator, gap, *(cell([row[gap][key] for row in rows], 2) for key in keys)))


if __name__ == "__main__":
    main()
