r"""Two views: a representation of the digits, from pairs of augmented images.

Prior:    z ~ N(0, I),  z' | z ~ N(z, s^2 I)          what is assumed of the two views of one digit
Entropy:  Joint(LogDet())                             of the concatenated pair: the LDM objective

    KL( R(z, z') || P(z, z') )  =  -E[log P(z) + log P(z' | z)]  -  H[z, z']
                                          alignment              uniformity

`Separate(LogDet())` in place of `Joint(LogDet())` adds the mutual information of the views: VICReg's objective.
What the representation is worth is measured by a linear and a nearest-neighbour probe, beside raw pixels and PCA.
"""

import torch

import pyro_ldm as ldm


def learn(
    epochs: int = 40, latent_dim: int = 32, noise: float = 0.5, seed: int = 0
) -> tuple[ldm.Fit, dict[str, float]]:
    """Learn on training digits; probe accuracies on test digits, by name of the features."""
    train, test = ldm.datasets.digits().split(seed=seed)

    torch.manual_seed(seed)
    prior = ldm.priors.GaussianViews(latent_dim, noise=noise)
    encoder = ldm.encoders.ConvNet(train.shape, latent_dim)
    guide = ldm.guides.Views(encoder, ldm.entropy.Joint(ldm.entropy.LogDet()))
    augmentation = torch.nn.Sequential(ldm.encoders.Affine(), ldm.encoders.Noise(std=0.1))

    fit = ldm.fit(prior, guide, train, views=ldm.encoders.TwoViews(augmentation), epochs=epochs, seed=seed)

    features = {
        "LDM": encoder.eval(),
        "untrained encoder": ldm.encoders.ConvNet(train.shape, latent_dim).eval(),
        f"PCA, {latent_dim} dims": ldm.encoders.PCA(train.x[0].numel(), latent_dim).fit(train.x),
        "raw pixels": torch.nn.Flatten(),
    }
    accuracy = {}
    for name, encode in features.items():
        with torch.no_grad():
            splits = [(encode(part.x), part.y) for part in (train, test)]
        accuracy[f"linear: {name}"] = ldm.diagnostics.linear_probe(*splits).accuracy
        accuracy[f"nearest: {name}"] = ldm.diagnostics.knn_probe(*splits).accuracy
    return fit, accuracy


def main(**settings) -> dict[str, float]:
    """Learn, probe, print."""
    fit, accuracy = learn(**settings)
    print("{4} {2:.2f} = -({0:.2f} alignment + {1:.2f} uniformity), nats per digit".format(*fit.terms))
    for name, value in accuracy.items():
        print(f"{name:28} {value:.3f} test accuracy")
    return {"kl": fit.terms.kl, **accuracy}


if __name__ == "__main__":
    main()
