r"""A Kalman filter on video: position, and its uncertainty, of a dot that nobody labelled.

Prior:    h_t = h_{t-1} A + process noise,  z_t = h_t + observation noise     a linear-Gaussian state, all of it learned
Entropy:  Pooled(LogDet())                                                   of the encoder's outputs at all steps

    -E[log P(z_{1:T})]  -  sum_t H[z_t]
         alignment           uniformity

The encoder makes of each noisy 10 x 10 frame a pseudo-observation z_t; what the filter believes of the state, given
the frames so far, comes in closed form and without sampling. Then, the encoder as it is, the prior learns once more,
now with an observation noise that depends on the frame's own variance: frames differ in how noisy they are, and the
filter trusts them accordingly. (Learned together with the encoder that dependence is exploited: an encoder of nothing
but the noise matches its own changing variance well.)
"""

import torch
from torch import Tensor, nn

import pyro_ldm as ldm


class FrameNoise(nn.Module):
    """Scale of the observation noise at each step: variance linear in that of the frame's pixels."""

    def __init__(self, scale: float):
        super().__init__()
        self.log_slope = nn.Parameter(torch.tensor(2.0 * scale).log())
        self.log_floor = nn.Parameter(torch.tensor(0.1 * scale).log())

    def forward(self, x: Tensor) -> Tensor:
        """Scales (N, T, 1) of frames (N, T, ...)."""
        return ((2 * self.log_slope).exp() * x.flatten(2).var(-1, keepdim=True) + (2 * self.log_floor).exp()).sqrt()


def learn(num: int = 4000, epochs: int = 10, seed: int = 0) -> tuple[ldm.Fit, ldm.priors.Kalman, nn.Module]:
    """Learn encoder and dynamics from ``num`` videos; the fit, the prior with noise of each frame, the encoder."""
    videos = ldm.datasets.dots("circle", num=num, seed=seed).x
    torch.manual_seed(seed)
    encoder = ldm.encoders.PerStep(ldm.encoders.MLP(100, 2, hidden=(100, 100)))
    guide = ldm.guides.Deterministic(encoder, ldm.entropy.Pooled(ldm.entropy.LogDet()))
    settings = {"batch_size": 32, "lr": 3e-3, "gradient_clip": 5.0, "seed": seed}
    prior = ldm.priors.Kalman(2)
    fit = ldm.fit(prior, guide, videos, epochs=epochs, **settings)

    encoder.requires_grad_(False)
    scale = float(prior.observation_noise.detach().mean())
    turn = nn.Parameter(prior.transition_matrix.detach())
    adaptive = ldm.priors.Kalman(2, transition_matrix=turn, observation_noise=FrameNoise(scale))
    ldm.fit(adaptive, guide, videos, epochs=max(1, epochs // 3), **settings)
    return fit, adaptive, encoder.eval()


def main(num: int = 4000, epochs: int = 10, seed: int = 0) -> dict[str, float]:
    """Learn; decode the position from encoder, filter and smoother; print."""
    fit, prior, encoder = learn(num, epochs, seed)
    fresh, test = (ldm.datasets.dots("circle", num=200, seed=seed + offset) for offset in (1000, 2000))
    untrained = ldm.encoders.PerStep(ldm.encoders.MLP(100, 2, hidden=(100, 100))).eval()
    with torch.no_grad():
        ssm, z = prior.distribution(test.x), encoder(test.x)
        states, others = ssm.filter(z), prior.distribution(fresh.x).filter(encoder(fresh.x))
        features = {"filter": states.mean, "smoother": ssm.smooth(z).mean, "encoder": z}
        features |= {"untrained encoder": untrained(test.x), "pixels": test.x.flatten(2)}

    result = {f"R2, {name}": ldm.diagnostics.affine_r2(f, test.truth) for name, f in features.items()}
    position = ldm.diagnostics.AffineMap.fit(others.mean, fresh.truth)
    bands = position.loc(states.mean), position.scale(states.covariance_matrix)
    result["coverage of 95 % bands"] = float(ldm.diagnostics.coverage(*bands, test.truth, levels=(0.95,)).share[0])
    print("{4} {2:.1f} = -({0:.1f} alignment + {1:.1f} uniformity), nats per video".format(*fit.terms))
    for name, value in result.items():
        print(f"{name:24} {value:.3f}")
    return {"kl": fit.terms.kl, **result}


if __name__ == "__main__":
    main()
