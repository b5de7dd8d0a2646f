r"""Nearest neighbours: two views on the plane, without kernels and without a Gaussian.

Prior:    z ~ N(0, I),  z' | z ~ N(z, s^2 I)
Entropy:  Joint(KNN())                                        Kozachenko-Leonenko, of whitened pairs

    KL( R(z, z') || P(z, z') )  =  -E[log P(z) + log P(z' | z)]  -  H[z, z']
                                          alignment              uniformity

Whitening first leaves the neighbours only what a Gaussian does not say of the pairs.
"""

import torch

import pyro_ldm as ldm


def main(epochs: int = 40, latent_dim: int = 16, noise: float = 0.5, seed: int = 0) -> dict[str, float]:
    """Learn on training digits, probe on test digits."""
    train, test = ldm.datasets.digits().split(seed=seed)

    torch.manual_seed(seed)
    prior = ldm.priors.GaussianViews(latent_dim, noise=noise)
    encoder = ldm.encoders.ConvNet(train.shape, latent_dim)
    guide = ldm.guides.Views(encoder, ldm.entropy.Joint(ldm.entropy.KNN()))

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
