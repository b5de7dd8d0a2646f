r"""CPC: contrastive prediction of the next step is a predictor as prior, and a kernel estimate of entropy.

Prior:    z_1 ~ Uniform(sphere),  z_t | z_<t ~ vMF(h_t, kappa),  h_t = GRU(z_<t), a unit vector
Entropy:  Pooled(KDE(vMF kernel, kappa))                      of all steps of all series in the batch: N T - 1 others

    loss  =  sum over t of  -log [ exp(kappa z_t . h_t) / sum over j of exp(kappa z_t . z_j) ]  +  constants
                                       alignment                uniformity

The numerator is InfoNCE's. The denominator is not: InfoNCE's scores the candidates z_j against the prediction h_t, this
one against the target z_t. Where prediction is perfect the values are equal, and where latents fill the sphere every
denominator is one constant. What equals what is tested to 1e-12 (`TestCPC` in tests/test_published_losses.py). CPC's
critic is bilinear, exp(z W c), and looks several steps ahead; this one is a cosine, and looks one step ahead.

The frames of the dot's videos differ in their noise, over which a frame's z_t cannot average, but the context c_t can.
"""

import torch

import pyro_ldm as ldm


def main(
    epochs: int = 8, num: int = 1200, latent_dim: int = 3, concentration: float = 5.0, seed: int = 0
) -> dict[str, float]:
    """Learn on videos of a dot on a circle, decode its position from others by an affine map."""
    train, test = (ldm.datasets.dots("circle", num=num, num_steps=20, seed=s) for s in (seed, seed + 1000))

    torch.manual_seed(seed)
    predictor = ldm.encoders.Recurrent(latent_dim, latent_dim, hidden=32, cell=torch.nn.GRU)
    prior = ldm.priors.VonMisesFisherAutoregressive(latent_dim, predictor, concentration=concentration)
    encoder, untrained = (
        ldm.encoders.PerStep(
            torch.nn.Sequential(ldm.encoders.MLP(100, latent_dim, hidden=[128, 128]), ldm.encoders.Normalize())
        )
        for _ in range(2)
    )
    kernel = ldm.entropy.VonMisesFisherKernel(concentration)
    guide = ldm.guides.Deterministic(encoder, ldm.entropy.Pooled(ldm.entropy.KDE(kernel)))

    fit = ldm.fit(prior, guide, train, epochs=epochs, batch_size=32, lr=2e-3, seed=seed, progress=False)

    encoder.eval(), untrained.eval()
    features = {
        "pixels": lambda x: x.flatten(2),
        "pixels, 5 steps": lambda x: torch.nn.functional.pad(x.flatten(2), (0, 0, 4, 0)).unfold(1, 5, 1).flatten(2),
        "untrained encoder": untrained,
        "z_t": encoder,
        "context c_t": lambda x: predictor.cell(encoder(x))[0],
    }
    r2 = {}
    with torch.no_grad():
        for name, encode in features.items():
            parts = [(encode(part.x), part.truth) for part in (train, test)]
            r2[name] = ldm.diagnostics.affine_r2(*parts[0], test=parts[1])
        verdict = ldm.diagnostics.collapse(encoder(test.x).flatten(0, 1))
    print(f"{fit.terms.divergence} {fit.terms.kl:.2f} nats per series; position R2 on test videos, by an affine map of")
    for name, value in r2.items():
        print(f"  {name:20} {value:.3f}")
    print(verdict)
    return {"kl": fit.terms.kl, **r2}


if __name__ == "__main__":
    main()
