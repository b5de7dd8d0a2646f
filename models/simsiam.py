r"""SimSiam: a predictor and a stop-gradient, in place of an entropy.

Prior:    z flat,  z' | z ~ vMF(h(z), kappa), with z' detached where it is scored
Entropy:  Zero()                                              none: what keeps z from collapse is the predictor h

    loss  =  -kappa cos( h(z), sg(z') )  +  a constant         the mean over (x, x') and (x', x)

Stop-gradient is a plug-in for the entropy: the prior's own conditional stands in for it. It is no divergence, so read
the collapse verdict beside the loss.
"""

import torch

import pyro_ldm as ldm


def main(epochs: int = 40, latent_dim: int = 32, concentration: float = 1.0, seed: int = 0) -> dict[str, float]:
    """Learn on training digits, probe on test digits."""
    train, test = ldm.datasets.digits().split(seed=seed)

    torch.manual_seed(seed)
    predictor = ldm.encoders.MLP(latent_dim, latent_dim, hidden=[64])
    prior = ldm.priors.VonMisesFisherViews(latent_dim, concentration=concentration, predictor=predictor)
    prior = ldm.stop_gradient(prior, sites=["z_prime"])
    # Batch normalisation after the last layer too, as in the paper: without it training is unstable.
    encoder = torch.nn.Sequential(
        ldm.encoders.ConvNet(train.shape, latent_dim), torch.nn.BatchNorm1d(latent_dim, affine=False)
    )
    target = torch.nn.Sequential(encoder, ldm.encoders.Normalize())
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
