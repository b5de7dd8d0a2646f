r"""SimCLR: contrastive learning is a uniform prior on the sphere, and a kernel estimate of entropy.

Prior:    z ~ Uniform(sphere),  z' | z ~ vMF(z, 2 / temperature)
Entropy:  Pooled(KDE(vMF kernel, 1 / temperature))            of the rows of both views together: 2N - 1 others

    loss  =  2 NT-Xent(z, z')  -  2 log(2N - 1)  +  constants of the two densities
          =  -E[log P(z) + log P(z' | z)]  -  H[z]  -  H[z']  =  KL - I
                    alignment                 uniformity

The equality is tested to 1e-12. `Joint` in place of `Pooled`, with `KDE()`, takes the mutual information out.
"""

import torch

import pyro_ldm as ldm


def main(epochs: int = 40, latent_dim: int = 32, temperature: float = 0.3, seed: int = 0) -> dict[str, float]:
    """Learn on training digits, probe on test digits."""
    train, test = ldm.datasets.digits().split(seed=seed)

    torch.manual_seed(seed)
    prior = ldm.priors.VonMisesFisherViews(latent_dim, concentration=2 / temperature)
    encoder = torch.nn.Sequential(ldm.encoders.ConvNet(train.shape, latent_dim), ldm.encoders.Normalize())
    kernel = ldm.entropy.VonMisesFisherKernel(1 / temperature)
    guide = ldm.guides.Views(encoder, ldm.entropy.Pooled(ldm.entropy.KDE(kernel)))

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
