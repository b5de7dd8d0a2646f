"""A dot's position from video, by a Kalman filter on learned latents: six worlds, four ways to estimate the entropy.

    python benchmarks/kalman_dots.py [--worlds circle square] [--entropies LogDet stop-gradient] [--seeds 0 1 2]

Per cell: affine R2 of the position from the filter's state (of `wobbly`, whose prior is an LSTM's: from the encoder's
output), beside it the smoother's and the encoder's, and coverage of the filter's 95 % bands. The affine map is fitted
on 200 videos and scored on 200 others, neither of them trained on. The paper's figures stand in the column "bar".

`matched` is a world of our own: a damped rotation, linear and Gaussian, drawn to pixels, in which the prior is right.
Of `jumps` the jumps are detected: AUC of the surprise -log p(z_t | z_<t), within 2 steps.

One thread, float32. Tuned on other seeds than those reported.
"""

import argparse
import itertools
import os
import platform
import statistics
import time
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor, nn

import pyro_ldm as ldm


@dataclass(frozen=True)
class World:
    """How a world is learned.

    Attributes:
        bar: R2 of the position in the paper.
        states: Dims of the state.
        latents: Dims of the pseudo-observation.
        num: Videos.
        epochs: Passes over them.
        frames_differ: Whether the observation noise is that of the frame, learned afterwards.
        jumps: Whether the process noise follows recent errors, learned afterwards.
        starts: Random starts, of an epoch each, of which the lowest loss goes on.
        warm: Of its epochs, those of LogDet that KNN and KDE begin with.
        batch_norm: Of the encoder's hidden layers. Without it a fresh encoder is smooth, and finds the low harmonics of
            a phase first, of which high ones are as predictable.
        recurrent: Whether the prior is an LSTM's in place of the Kalman filter.
    """

    bar: float | None
    states: int = 2
    latents: int = 2
    num: int = 4000
    epochs: int = 6
    starts: int = 3
    warm: int = 0
    batch_norm: bool = True
    frames_differ: bool = False
    jumps: bool = False
    recurrent: bool = False


WORLDS = {
    "circle": World(0.959, epochs=8, frames_differ=True),
    "figure_eight": World(0.991, states=10, latents=5, num=2500, epochs=40, starts=1, warm=20, batch_norm=False),
    "square": World(0.967, num=2500),
    "jumps": World(None, jumps=True),
    "wobbly": World(0.99, epochs=15, recurrent=True),
    "matched": World(None, num=8000, epochs=12),
}
ENTROPIES = ("LogDet", "KNN", "KDE", "stop-gradient")


class FrameNoise(nn.Module):
    """Scale of the observation noise: variance linear in that of the frame's pixels."""

    def __init__(self, scale: float):
        super().__init__()
        self.log_slope = nn.Parameter(torch.tensor(2.0 * scale).log())
        self.log_floor = nn.Parameter(torch.tensor(0.1 * scale).log())

    def forward(self, x: Tensor) -> Tensor:
        """Scales (N, T, 1) of frames (N, T, ...)."""
        variance = x.flatten(2).var(-1, keepdim=True)
        return (self.log_slope.exp().square() * variance + self.log_floor.exp().square()).sqrt()


class AfterErrors(nn.Module):
    """Factor on the process noise after large errors: 1 + a sigmoid(|e|^2 / s^2 - b), bounded, or draws explode."""

    def __init__(self, scale: float):
        super().__init__()
        self.log_scale = nn.Parameter(torch.tensor(2.0 * scale).log())
        self.gain, self.threshold = nn.Parameter(torch.tensor(1.0)), nn.Parameter(torch.tensor(3.0))

    def forward(self, past: Tensor) -> Tensor:
        """Factors (N, T, 1) from errors and expected states, of two dims each (N, T, 4)."""
        size = (past[..., :2] / self.log_scale.exp()).square().sum(-1, keepdim=True)
        return 1 + self.gain.exp() * torch.sigmoid(size - self.threshold)


def videos(world: str, num: int, seed: int) -> ldm.datasets.Data:
    """Videos with the dot's position."""
    if world != "matched":
        return ldm.datasets.dots(world, num=num, seed=seed)
    generator = torch.Generator().manual_seed(seed)
    turn = 0.95 * torch.tensor([[np.cos(0.4), np.sin(0.4)], [-np.sin(0.4), np.cos(0.4)]])
    state, states = torch.randn(num, 2, generator=generator, dtype=torch.float64), []
    for _ in range(100):
        states.append(state)
        noise = torch.randn(num, 2, generator=generator, dtype=torch.float64)
        state = state @ turn + (1 - 0.95**2) ** 0.5 * noise
    position = 0.7 * torch.stack(states, 1)
    x = ldm.datasets.frames.draw_dots(position.numpy(), size=10, extent=3.0)
    ldm.datasets.frames.add_noise(x, 0.1, np.random.default_rng(seed))
    return ldm.datasets.Data(torch.from_numpy(x), truth=position, name="matched")


def make(name: str, world: World) -> tuple[nn.Module, nn.Module, nn.Module]:
    """Prior, guide and encoder before training."""
    layers: list[nn.Module] = [ldm.encoders.MLP(100, world.latents, hidden=(100, 100), batch_norm=world.batch_norm)]
    if name == "stop-gradient":  # nothing else holds the scale
        layers.append(nn.BatchNorm1d(world.latents, affine=False))
    encoder = ldm.encoders.PerStep(nn.Sequential(*layers))
    entropy = {
        "LogDet": lambda: ldm.entropy.Pooled(ldm.entropy.LogDet()),
        "KNN": lambda: ldm.entropy.Separate(ldm.entropy.KNN()),
        "KDE": lambda: ldm.entropy.Separate(ldm.entropy.KDE()),
        "stop-gradient": ldm.entropy.Zero,
    }[name]()
    if world.recurrent:
        predictor = ldm.encoders.Recurrent(world.latents, world.latents, hidden=64)
        learned = {"noise": nn.Parameter(torch.tensor(0.5)), "scale": nn.Parameter(torch.tensor(1.0))}
        prior: nn.Module = ldm.priors.Autoregressive(world.latents, predictor, **learned)
    else:
        turn = torch.linalg.qr(torch.randn(world.states, world.states)).Q if world.states > world.latents else None
        start = None if turn is None else nn.Parameter(0.95 * turn)
        noise = nn.Parameter(torch.full((world.states,), 0.05))
        prior = ldm.priors.Kalman(world.latents, world.states, transition_matrix=start, transition_noise=noise)
    return prior, ldm.guides.Deterministic(encoder, entropy), encoder


def learn(name: str, world: World, x: Tensor, seed: int) -> tuple[ldm.Fit, nn.Module, nn.Module]:
    """The fit, the prior, and the encoder."""
    prior, guide, encoder = make(name, world)
    target = ldm.stop_gradient(prior, sites=["z"]) if name == "stop-gradient" else prior
    settings = {"gradient_clip": 5.0, "seed": seed, "progress": False}
    batch_size, epochs = 64 if name in ("KNN", "KDE") else 32, world.epochs
    if world.warm and name in ("KNN", "KDE"):
        warm = ldm.guides.Deterministic(encoder, ldm.entropy.Pooled(ldm.entropy.LogDet()))
        ldm.fit(prior, warm, x, epochs=world.warm, batch_size=32, lr=3e-3, **settings)
        epochs -= world.warm
    fit = ldm.fit(
        target,
        guide,
        x,
        epochs=epochs,
        batch_size=batch_size,
        optimizer=lambda parameters: decayed(parameters, epochs * (len(x) // batch_size)),
        starts=world.starts,
        start_epochs=1,
        **settings,
    )
    encoder.requires_grad_(False).eval()
    if world.frames_differ or world.jumps:  # the prior's noise once more, latents as they are
        matrix, process, noise = (
            getattr(prior, n).detach() for n in ("transition_matrix", "transition_noise", "observation_noise")
        )
        scale = float(noise.mean())
        more = {"observation_noise": FrameNoise(scale)} if world.frames_differ else {"adapt": AfterErrors(scale)}
        more = {"observation_noise": nn.Parameter(noise)} | more
        prior = ldm.priors.Kalman(
            world.latents, transition_matrix=nn.Parameter(matrix), transition_noise=nn.Parameter(process), **more
        )
        ldm.fit(prior, guide, x, epochs=3, batch_size=batch_size, lr=3e-3, **settings)
    return fit, prior, encoder


def decayed(parameters, steps: int) -> dict:
    """Adam, its learning rate going down along a half cosine."""
    adam = torch.optim.Adam(parameters, lr=3e-3)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=steps)
    return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


@torch.no_grad()
def states_of(prior: nn.Module, z: Tensor, x: Tensor) -> tuple[Tensor, Tensor, Tensor, Tensor]:
    """Filter means and covariances, smoother means, surprise at each step."""
    if isinstance(prior, ldm.priors.Autoregressive):
        surprise = -prior.distribution(x).predictive(z).log_prob(z)
        return z, torch.eye(z.shape[-1]).expand(*z.shape, -1) * 1e-6, z, surprise
    ssm = prior.distribution(x)
    ssm = ssm.given(z) if hasattr(ssm, "given") else ssm
    states = ssm.filter(z)
    return states.mean, states.covariance_matrix, ssm.smooth(z).mean, -ssm.predictive(z).log_prob(z)


def cell(name: str, world: str, seed: int) -> dict[str, float]:
    """One run."""
    setting = WORLDS[world]
    x = videos(world, setting.num, seed).x
    fresh, test = videos(world, 200, 1000 + seed), videos(world, 200, 2000 + seed)
    torch.manual_seed(seed)
    start = time.perf_counter()
    fit, prior, encoder = learn(name, setting, x, seed)
    seconds = time.perf_counter() - start
    torch.manual_seed(seed)
    untrained = make(name, setting)[2].eval()
    with torch.no_grad():
        (z, z_fresh), blank = (encoder(d.x) for d in (test, fresh)), untrained(test.x)
        blank_fresh = untrained(fresh.x)
    mean, covariance, smooth, surprise = states_of(prior, z, test.x)
    mean_fresh, _, smooth_fresh, _ = states_of(prior, z_fresh, fresh.x)

    def r2(found_fresh: Tensor, found: Tensor) -> float:
        return ldm.diagnostics.affine_r2(found_fresh, fresh.truth, test=(found, test.truth))

    bands = ldm.diagnostics.AffineMap.fit(mean_fresh, fresh.truth)
    share = ldm.diagnostics.coverage(bands.loc(mean), bands.scale(covariance), test.truth, levels=(0.95,)).share[0]
    row = {
        "filter": r2(mean_fresh, mean),
        "smoother": r2(smooth_fresh, smooth),
        "encoder": r2(z_fresh, z),
        "untrained": r2(blank_fresh, blank),
        "pixels": r2(fresh.x.flatten(2), test.x.flatten(2)),
        "coverage": float("nan") if setting.recurrent else float(share),
        "AUC": float("nan"),
        fit.terms.divergence: fit.terms.kl,
        "seconds": seconds,
    }
    if test.y is not None:
        row["AUC"] = ldm.diagnostics.detection_auc(surprise, test.y, tolerance=2).auc
    return row


def main() -> None:
    """Print a row per cell as it finishes, then the means."""
    parser = argparse.ArgumentParser(description=main.__doc__)
    parser.add_argument("--worlds", nargs="+", choices=WORLDS, default=list(WORLDS))
    parser.add_argument("--entropies", nargs="+", choices=ENTROPIES, default=list(ENTROPIES))
    parser.add_argument("--seeds", nargs="+", type=int, default=[0, 1, 2])
    options = parser.parse_args()
    torch.set_num_threads(1)
    print(f"{os.cpu_count()} cores, 1 thread, Python {platform.python_version()}, torch {torch.__version__}")
    columns = ("filter", "smoother", "encoder", "untrained", "pixels", "coverage", "AUC", "loss", "seconds")
    print(f"| world | entropy | seed | bar | {' | '.join(columns)} |\n|{'---|' * (len(columns) + 4)}")
    rows: dict[tuple[str, str], list[list[float]]] = {}
    for seed, world, name in itertools.product(options.seeds, options.worlds, options.entropies):
        values = list(cell(name, world, seed).values())
        rows.setdefault((world, name), []).append(values)
        print(f"| {world} | {name} | {seed} | {WORLDS[world].bar or ''} | {_row(values)} |", flush=True)
    print("\nMeans, and below them the spread (largest less smallest) over the seeds:\n")
    for (world, name), values in rows.items():
        columns_of = list(zip(*values, strict=True))
        means = _row([statistics.mean(column) for column in columns_of])
        print(f"| {world} | {name} | mean | {WORLDS[world].bar or ''} | {means} |")
        print(f"| {world} | {name} | spread | | {_row([max(c) - min(c) for c in columns_of])} |")


def _row(values: list[float]) -> str:
    digits = [4, 4, 4, 3, 3, 3, 3, 1, 0]
    return " | ".join("" if v != v else f"{v:.{d}f}" for v, d in zip(values, digits, strict=True))


if __name__ == "__main__":
    main()
