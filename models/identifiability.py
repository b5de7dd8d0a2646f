r"""Identifiability: latents find a predictable signal, mixed beyond recognition with a nuisance that is not.

Prior:    z_1 ~ N(0, sigma^2),  z_t | z_{t-1} ~ N(z_{t-1} A + b, s^2),  all of it learned
Entropy:  Pooled(LogDet())                                      one log-determinant for all steps

    KL( R || P ) - I( z_1; ...; z_T )  =  -E[ sum_t log P(z_t | z_{t-1}) ]  -  sum_t H[z_t]
                                                 alignment                     uniformity

At the optimum the signal is an affine map of z, by which it is scored on other series: R2, 1 at best. A linear map of
x itself gets far already, and so stands beside; the encoder begins as one, trained under the same objective. From a
random start about half of the runs get stuck, where a latent has settled on a square of other signals, which is
predictable too, but less so. With 100000 series and 20 dims: `benchmarks/identifiability.py`.
"""

import torch

import pyro_ldm as ldm


class Encoder(torch.nn.Module):
    """A perceptron beside a linear map; at the start it adds nothing to it."""

    def __init__(self, latent_dim: int):
        super().__init__()
        self.linear = torch.nn.Linear(100, latent_dim)
        self.mlp = ldm.encoders.MLP(100, latent_dim, hidden=[200] * 5)
        torch.nn.init.zeros_(self.mlp[-1].weight)
        torch.nn.init.zeros_(self.mlp[-1].bias)

    def forward(self, x: torch.Tensor) -> torch.Tensor:
        """Observations (N, 100) to latents (N, latent_dim)."""
        return self.linear(x) + self.mlp(x)


def main(dim: int = 5, num: int = 20_000, epochs: int = 8, seed: int = 0) -> dict[str, float]:
    """Learn on training series; affine R2 of the signal on other series of the same world."""
    train, test = (
        ldm.datasets.signal_and_nuisance(dim, num=size, seed=2 * seed + part, world_seed=seed)
        for part, size in enumerate((num, 5_000))
    )

    torch.manual_seed(seed)
    noise, scale = torch.nn.Parameter(torch.full((dim,), 0.5)), torch.nn.Parameter(torch.ones(dim))
    prior = ldm.priors.Autoregressive(dim, torch.nn.Linear(dim, dim), noise=noise, scale=scale)
    encoder, untrained, entropy = Encoder(dim), Encoder(dim), ldm.entropy.Pooled(ldm.entropy.LogDet())

    def learn(part: torch.nn.Module, epochs: int, lr: float) -> ldm.Fit:
        guide = ldm.guides.Deterministic(ldm.encoders.PerStep(part), entropy)
        return ldm.fit(prior, guide, train, epochs=epochs, lr=lr, gradient_clip=1.0, seed=seed, progress=False)

    learn(encoder.linear, 2, 1e-2)
    learn(encoder, epochs, 2e-3)
    terms = learn(encoder, max(1, epochs // 4), 2e-4).terms

    r2 = {}
    for name, part in {"latents": encoder, "untrained encoder": untrained, "x": torch.nn.Identity()}.items():
        with torch.no_grad():
            fitted, scored = ((ldm.encoders.PerStep(part.eval())(data.x), data.truth) for data in (train, test))
        r2[name] = ldm.diagnostics.affine_r2(*fitted, test=scored)
        print(f"{r2[name]:.3f} R2 of the signal on other series, by an affine map of {name}")
    print("{4} {2:.2f} = -({0:.2f} alignment + {1:.2f} uniformity), nats per series".format(*terms))
    return {"kl": terms.kl, **r2}


if __name__ == "__main__":
    main()
