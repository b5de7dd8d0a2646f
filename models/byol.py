r"""BYOL: SimSiam whose targets come from a slowly moving copy of the encoder.

Prior:    z flat,  z' | z ~ vMF(h(z), kappa), with z' detached where it is scored
Entropy:  Zero()                                              none; the guide's z' is the moving average's output

    loss  =  -kappa cos( h(f(x)), g(x') )  +  a constant,      g <- decay g + (1 - decay) f      each step

With kappa = 2 that is BYOL's |h - z'|^2 = 2 - 2 cos up to a constant, the mean over (x, x') and (x', x).
"""

import torch

import pyro_ldm as ldm


def main(epochs: int = 40, latent_dim: int = 32, decay: float = 0.9, seed: int = 0) -> dict[str, float]:
    """Learn on training digits, probe on test digits."""
    train, test = ldm.datasets.digits().split(seed=seed)

    torch.manual_seed(seed)
    predictor = ldm.encoders.MLP(latent_dim, latent_dim, hidden=[128])
    prior = ldm.priors.VonMisesFisherViews(latent_dim, concentration=2.0, predictor=predictor)
    prior = ldm.stop_gradient(prior, sites=["z_prime"])
    encoder = ldm.encoders.ConvNet(train.shape, latent_dim)
    average = ldm.encoders.ExponentialMovingAverage(encoder, decay=decay)
    target = torch.nn.Sequential(average, ldm.encoders.Normalize())
    guide = ldm.guides.Views(encoder, ldm.entropy.Zero(), target=target)

    augmentation = torch.nn.Sequential(ldm.encoders.Affine(), ldm.encoders.Noise(std=0.1))
    views = ldm.encoders.TwoViews(augmentation, symmetric=True)
    fit = ldm.fit(prior, guide, train, views=views, epochs=epochs, seed=seed)

    splits = [(ldm.training.latents(guide, part), part.y) for part in (train, test)]
    accuracy = ldm.diagnostics.linear_probe(*splits).accuracy
    print(f"{fit.terms.divergence} {fit.terms.kl:.2f} nats; {accuracy:.3f} test accuracy of a linear probe")
    print(ldm.diagnostics.collapse(splits[0][0]))
    return {"kl": fit.terms.kl, "accuracy": accuracy}


if __name__ == "__main__":
    main()
