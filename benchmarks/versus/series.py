"""Parts of `videos.py`: states found by a filter or by a guide, and how their priors are made and trained."""

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import pyro.distributions as dist
import pytorch_lightning as lightning
import torch
from torch import Tensor, nn

import pyro_ldm as ldm

Data = ldm.datasets.Data


class Filtered:
    """States by the Kalman filter: of LDM and of a VAE alike."""

    def __init__(self, prior: nn.Module, guide: nn.Module):
        self.prior, self.guide = prior, guide

    def encode(self, x: Tensor) -> Tensor:
        """What the encoder makes of each frame."""
        return ldm.training.latents(self.guide, x)

    def filter(self, x: Tensor) -> Tensor:
        """Means given the frames up to each step."""
        return self.prior.distribution(x).filter(self.encode(x)).mean

    def smooth(self, x: Tensor, *mask: Tensor) -> Any:
        """Gaussians given all frames."""
        return self.prior.distribution(x, *mask).smooth(self.encode(x))

    def forecast(self, x: Tensor, ahead: slice) -> tuple[Tensor, Tensor]:
        """Means and covariances of the states ahead: smoothed, with all from there on missing."""
        past = torch.arange(x.shape[1]).expand(x.shape[:2]) < ahead.start
        states = self.smooth(hide(x, past), past)
        return states.mean[:, ahead], states.covariance_matrix[:, ahead]


class Drawn:
    """States by the guide of a deep Markov model, and draws from its prior."""

    def __init__(self, prior: nn.Module, guide: nn.Module):
        self.prior, self.guide = prior, guide

    def filter(self, x: Tensor) -> Tensor:
        """The last state that the guide finds in the frames up to each step."""
        return torch.stack([self.smooth(x[:, : t + 1]).mean[:, -1] for t in range(x.shape[1])], 1)

    def smooth(self, x: Tensor, *mask: Tensor) -> Any:
        """Of series of states; its mean is the path of means."""
        return self.guide.eval().conditional(x, *mask)

    def forecast(self, x: Tensor, ahead: slice) -> tuple[Tensor, Tensor]:
        """Means and covariances of draws of the states ahead."""
        last = self.smooth(x[:, : ahead.start]).sample((50,))[..., -1:, :]  # of the past the next needs no more
        z = self.prior.distribution(x).rollout(last, ahead.stop - ahead.start)[0]
        away = z - z.mean(0)
        return z.mean(0), torch.einsum("snti,sntj->ntij", away, away) / (len(z) - 1)


def hide(x: Tensor, mask: Tensor) -> Tensor:
    """Frames, zero where they are missing."""
    return x * mask.reshape(*mask.shape, 1, 1, 1)


def gaps(num: int, steps: int, seed: int) -> Tensor:
    """Masks (num, steps): in half of the series a block of up to half of the steps is missing."""
    generator, t = torch.Generator().manual_seed(seed), torch.arange(steps)
    first, length = (torch.randint(1, high, (num, 1), generator=generator) for high in (steps - 1, steps // 2))
    return (t < first) | (t >= first + length) | (torch.rand(num, 1, generator=generator) < 0.5)


def rms(error: np.ndarray) -> float:
    """Root mean square per coordinate."""
    return float(np.sqrt(np.mean(error**2)))


class FrameNoise(nn.Module):
    """Scale of the observation noise: variance linear in that of the frame's pixels."""

    def __init__(self, scale: float):
        super().__init__()
        self.logs = nn.Parameter(torch.tensor([2.0 * scale, 0.1 * scale]).log())

    def forward(self, x: Tensor) -> Tensor:
        """Scales (N, T, 1) of frames (N, T, ...)."""
        slope, floor = (2.0 * self.logs).exp()
        return (slope * x.flatten(2).var(-1, keepdim=True) + floor).sqrt()


class Means(nn.Module):
    """Means of a trained encoder, which learns no more."""

    def __init__(self, encoder: nn.Module):
        super().__init__()
        self.encoder = encoder

    @torch.no_grad()
    def forward(self, x: Tensor) -> Tensor:
        """Means of latents of frames."""
        return self.encoder.eval()(x)[..., :2]


class StudentT(nn.Module):
    """The decoder's output plus noise with heavy tails, its scale and degrees of freedom learned."""

    def __init__(self):
        super().__init__()
        self.log_scale, self.log_more = nn.Parameter(torch.tensor(0.0)), nn.Parameter(torch.tensor(1.0))

    def forward(self, output: Tensor) -> dist.TorchDistribution:
        """Of each pixel."""
        return dist.StudentT(1.0 + self.log_more.exp(), output, self.log_scale.exp())


def kalman(states: int) -> ldm.priors.Kalman:
    """On box two states are seen, and two others are added to those at each step."""
    if states == 2:
        return ldm.priors.Kalman(2)
    transition = torch.eye(states)
    transition[2:, :2] = 0.3 * torch.eye(2)
    return ldm.priors.Kalman(
        2, states, transition_matrix=nn.Parameter(transition), observation_matrix=torch.eye(states)[:, :2]
    )


def again(prior: ldm.priors.Kalman, *, frames_differ: bool) -> nn.Module:
    """A prior to learn once more, from where it is; where frames differ, with the noise of each."""
    if not frames_differ:
        return prior
    names = ("transition_matrix", "transition_noise", "observation_noise")
    matrix, process, noise = (getattr(prior, name).detach() for name in names)
    learned = {"transition_matrix": nn.Parameter(matrix), "transition_noise": nn.Parameter(process)}
    return ldm.priors.Kalman(prior.latent_dim, **learned, observation_noise=FrameNoise(float(noise.mean())))


class Curve(lightning.Callback):
    """R2 of the position by the smoother or the encoder, the better of them, against the seconds of training so far."""

    def __init__(self, found: Any, every: int, parts: tuple[Data, Data]):
        self.found, self.every, self.points = found, every, []
        self.x, self.truth = [part.x[:200] for part in parts], [part.truth[:200, :, :2] for part in parts]
        self.paused, self.begun = 0.0, time.process_time()

    @property
    def seconds(self) -> float:
        """Of training so far."""
        return time.process_time() - self.begun - self.paused

    @torch.no_grad()
    def on_train_batch_end(self, trainer, module, *_) -> None:
        """Look at every few batches, with the clock stopped."""
        if trainer.global_step % self.every:
            return
        seconds = self.seconds
        finders = [lambda x: self.found.smooth(x).mean, *([self.found.encode] if hasattr(self.found, "encode") else [])]
        with torch.random.fork_rng(devices=[]):
            found = [[find(x) for x in self.x] for find in finders]
        module.objective.train()
        r2 = [ldm.diagnostics.affine_r2(fit, self.truth[0], test=(test, self.truth[1])) for fit, test in found]
        self.points.append((seconds, max(r2)))
        self.paused += self.seconds - seconds


class Anneal(lightning.Callback):
    """Weighs the KL by a factor that goes to 1, evenly in its logarithm."""

    def __init__(self, elbo: ldm.baselines.Tempered, first: float, steps: float):
        self.elbo, self.first, self.steps = elbo, first, steps

    def on_train_batch_start(self, trainer, *_) -> None:
        """Set the weight."""
        self.elbo.beta = self.first ** max(0.0, 1.0 - trainer.global_step / self.steps)


def decayed(prior: nn.Module, rates: tuple[float, float], steps: int) -> Callable:
    """Adam along a half cosine; the second rate is the prior's."""

    def optimizer(parameters) -> dict:
        own = list(prior.parameters())
        others = [p for p in parameters if all(p is not q for q in own)]
        adam = torch.optim.Adam([{"params": p, "lr": rate} for p, rate in zip((others, own), rates, strict=True)])
        schedule = torch.optim.lr_scheduler.CosineAnnealingLR(adam, T_max=steps)
        return {"optimizer": adam, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}

    return optimizer
