r"""A VAE: the same prior and encoder, the guide scored by its conditionals, and the likelihood kept.

Prior:       z ~ N(0, I)
Likelihood:  x | z ~ discretised logistic about a decoder's output, its scale learned; the digits have 17 levels
Entropy:     Conditional()

    -ELBO  =  KL(R || P)  +  I(x; z)  -  E log p(x | z)
               as in LDM                  reconstruction

R is the encoder's marginal. What is left of KL(R || P) after training is where samples from the prior are decoded that
no datum has been encoded to; it is measured here as for any other method, by an estimate of R on the trained encoder.
The best of all decoders would reach -KL(R || P) - H[x]: latent distribution matching without a decoder.
"""

import torch

import pyro_ldm as ldm


def main(epochs: int = 60, latent_dim: int = 8, beta: float = 1.0, seed: int = 0) -> dict[str, float]:
    """Learn on training digits; bounds, active units and a probe on test digits."""
    train, test = ldm.datasets.digits().split(seed=seed)

    torch.manual_seed(seed)
    prior = ldm.priors.Gaussian(latent_dim)
    encoder = ldm.encoders.MLP(64, 2 * latent_dim, hidden=(256, 256))
    decoder = ldm.baselines.MLPDecoder(latent_dim, train.shape, hidden=(256, 256))
    model = ldm.baselines.Generative(prior, decoder, ldm.baselines.DiscretizedLogistic(levels=17))
    guide = ldm.guides.Gaussian(encoder, ldm.entropy.Conditional())
    elbo = ldm.baselines.Tempered(beta)  # 1: the VAE; else a beta-VAE
    fit = ldm.fit(model, guide, train, elbo=elbo, epochs=epochs, batch_size=128, seed=seed)

    bounds = [ldm.baselines.iwae_bound(model, guide, test, num_particles=k) for k in (1, 100)]
    marginal = ldm.Objective(prior, ldm.guides.Gaussian(encoder, ldm.entropy.KNN())).eval()
    z, z_test = (ldm.training.latents(guide, part) for part in (train, test))
    result = {
        "ELBO, test, bits per dim": bounds[0].bits_per_dim,
        "IWAE bound, 100 particles": bounds[1].bits_per_dim,
        "reconstruction, nats": fit.terms.reconstruction or 0.0,
        "KL(R || P) + I(x; z), nats": fit.terms.kl,
        "KL(R || P), nats": marginal.terms(train.x).kl,
        "the same, of prior draws": sum(marginal.reference(train.x)) / 5,
        "accuracy of a linear probe": ldm.diagnostics.linear_probe((z, train.y), (z_test, test.y)).accuracy,
    }
    print(f"{fit.terms.objective} {fit.terms.loss:.1f} nats on training data")
    for name, value in result.items():
        print(f"{name:28} {value:8.3f}")
    print(ldm.baselines.posterior_collapse(z))
    return result


if __name__ == "__main__":
    main()
