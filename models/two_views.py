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


def main(epochs: int = 40, latent_dim: int = 32, noise: float = 0.5, seed: int = 0) -> dict[str, float]:
    """Learn, probe, print a table; everything is chosen on training data and reported once on test data."""
    train, test = ldm.datasets.digits().split(seed=seed)

    torch.manual_seed(seed)
    prior = ldm.priors.GaussianViews(latent_dim, noise=noise)
    encoder = ldm.encoders.ConvNet(train.shape, latent_dim)
    guide = ldm.guides.Views(encoder, ldm.entropy.Joint(ldm.entropy.LogDet()))
    augmentation = torch.nn.Sequential(ldm.encoders.Affine(), ldm.encoders.Noise(std=0.1))
    views = ldm.encoders.TwoViews(augmentation)

    fit = ldm.fit(prior, guide, train, views=views, epochs=epochs, batch_size=256, seed=seed)

    pca = ldm.encoders.PCA(train.x[0].numel(), latent_dim).fit(train.x)
    untrained = ldm.encoders.ConvNet(train.shape, latent_dim).eval()
    features = {
        "LDM": encoder.eval(),
        "untrained encoder": untrained,
        f"PCA, {latent_dim} dims": pca,
        "raw pixels": torch.nn.Flatten(),
    }
    result = {"kl": fit.terms.kl, "alignment": fit.terms.alignment, "uniformity": fit.terms.uniformity}
    print("{4} {2:.2f} = -({0:.2f} alignment + {1:.2f} uniformity), nats per digit".format(*fit.terms))
    print(f"{'test accuracy':20} linear probe   5 nearest neighbours")
    for name, encode in features.items():
        with torch.no_grad():
            splits = [(encode(part.x), part.y) for part in (train, test)]
        linear, nearest = ldm.diagnostics.linear_probe(*splits), ldm.diagnostics.knn_probe(*splits)
        result |= {f"linear: {name}": linear.accuracy, f"nearest: {name}": nearest.accuracy}
        print(f"{name:20} {linear.accuracy:12.3f} {nearest.accuracy:12.3f}")
    with torch.no_grad():
        print(ldm.diagnostics.collapse(encoder(test.x)))
    return result


if __name__ == "__main__":
    main()
