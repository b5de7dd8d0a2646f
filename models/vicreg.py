r"""VICReg: variance and covariance penalties are an expansion of a Gaussian's entropy.

Prior:    z flat,  z' | z ~ N(z, s^2 I)                       invariance: |z - z'|^2 / 2 s^2
Entropy:  Separate(LogDet(order=2))                           variance and covariance, of each view

    loss  =  |z - z'|^2 / 2 s^2  +  sum over views of [ |C - I|_F^2 / 4  -  tr(C - I) / 2 ]  +  constants

C is a view's covariance. Off its diagonal that is D / 4 times VICReg's covariance penalty; on it, VICReg has a hinge of
the standard deviation where the expansion has a parabola of the variance. `LogDet()` is what both expand.
"""

import torch

import pyro_ldm as ldm


def main(epochs: int = 40, latent_dim: int = 32, noise: float = 0.5, seed: int = 0) -> dict[str, float]:
    """Learn on training digits, probe on test digits."""
    train, test = ldm.datasets.digits().split(seed=seed)

    torch.manual_seed(seed)
    prior = ldm.priors.GaussianViews(latent_dim, noise=noise, scale=None)
    encoder = ldm.encoders.ConvNet(train.shape, latent_dim)
    guide = ldm.guides.Views(encoder, ldm.entropy.Separate(ldm.entropy.LogDet(order=2)))

    augmentation = torch.nn.Sequential(ldm.encoders.Affine(), ldm.encoders.Noise(std=0.1))
    views = ldm.encoders.TwoViews(augmentation)
    fit = ldm.fit(prior, guide, train, views=views, epochs=epochs, seed=seed)

    splits = [(ldm.training.latents(guide, part), part.y) for part in (train, test)]
    accuracy = ldm.diagnostics.linear_probe(*splits).accuracy
    print(f"{fit.terms.divergence} {fit.terms.kl:.2f} nats; {accuracy:.3f} test accuracy of a linear probe")
    print(ldm.diagnostics.collapse(splits[0][0]))
    return {"kl": fit.terms.kl, "accuracy": accuracy}


if __name__ == "__main__":
    main()
