r"""InfoVAE: the likelihood kept, the guide scored by its marginal: between a VAE and latent distribution matching.

Prior:       z ~ N(0, I)
Likelihood:  x | z ~ discretised logistic about a decoder's output, its scale learned; the digits have 17 levels
Entropy:     KNN(), an estimate of the marginal, in place of the Conditional() of `vae.py`: one word

    -(ELBO + I(x; z))  =  KL(R || P)  -  E log p(x | z)

A VAE pays for what its latents tell of x; this pays only for their mismatch from the prior, and its conditionals narrow
down to `min_scale`. So it bounds no evidence: the bound of the same guide, scored by its conditionals, is measured
beside it. Against `vae.py` (seed 0): reconstruction -67 in place of -72 nats, the bound 2.09 in place of 1.99
bits per dim, and R no nearer to the prior (KL 2.0, not 1.6 nats), as narrow conditionals smooth it less. (`Mixture()`
tells I only up to log N of the batch; digits tell more than that, and the score would be a VAE's again, less log N.)
"""

import torch

import pyro_ldm as ldm


def main(epochs: int = 60, latent_dim: int = 8, min_scale: float = 0.1, seed: int = 0) -> dict[str, float]:
    """Learn on training digits; the bound, active units and a probe on test digits."""
    train, test = ldm.datasets.digits().split(seed=seed)

    torch.manual_seed(seed)
    prior = ldm.priors.Gaussian(latent_dim)
    encoder = ldm.encoders.MLP(64, 2 * latent_dim, hidden=(256, 256))
    decoder = ldm.baselines.MLPDecoder(latent_dim, train.shape, hidden=(256, 256))
    model = ldm.baselines.Generative(prior, decoder, ldm.baselines.DiscretizedLogistic(levels=17))
    guide = ldm.guides.Gaussian(encoder, ldm.entropy.KNN(), min_scale=min_scale)
    fit = ldm.fit(model, guide, train, epochs=epochs, batch_size=128, seed=seed)

    vae = ldm.guides.Gaussian(encoder, ldm.entropy.Conditional(), min_scale=min_scale)
    bound = ldm.baselines.iwae_bound(model, vae, test, num_particles=1)
    marginal = ldm.Objective(prior, guide).eval()
    z, z_test = (ldm.training.latents(guide, part) for part in (train, test))
    result = {
        "ELBO, test, bits per dim": bound.bits_per_dim,
        "reconstruction, nats": fit.terms.reconstruction or 0.0,
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
