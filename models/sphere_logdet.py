r"""The sphere with a log-determinant: SimCLR's latent space, VICReg's estimator.

Prior:    z ~ Uniform(sphere),  z' | z ~ vMF(z, kappa)
Entropy:  Separate(LogDet())                                  of each view, as vectors of R^D

    loss  =  -kappa z . z'  -  1/2 log det Cov(z)  -  1/2 log det Cov(z')  +  constants

Rows of unit norm have no density in R^D: their log-determinant measures how evenly they use its directions, and the
value is a score rather than nats of the sphere. It is largest where all directions are used alike.
"""

import torch

import pyro_ldm as ldm


def main(epochs: int = 40, latent_dim: int = 32, concentration: float = 5.0, seed: int = 0) -> dict[str, float]:
    """Learn on training digits, probe on test digits."""
    train, test = ldm.datasets.digits().split(seed=seed)

    torch.manual_seed(seed)
    prior = ldm.priors.VonMisesFisherViews(latent_dim, concentration=concentration)
    encoder = torch.nn.Sequential(ldm.encoders.ConvNet(train.shape, latent_dim), ldm.encoders.Normalize())
    guide = ldm.guides.Views(encoder, ldm.entropy.Separate(ldm.entropy.LogDet()))

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
