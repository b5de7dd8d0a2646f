r"""JEPA: predict the next latent from this one and an action, kept from collapse by a stop-gradient, or by an entropy.

Prior:    z_1 ~ N(0, I),  z_t | z_<t, a_t ~ N(h(z_{t-1}, a_t), s^2 I), with each target z_t detached where it is scored
Entropy:  Zero()                                              none; or, with nothing detached, Pooled(LogDet())

    loss  =  sum over t of |sg(z_t) - h(z_{t-1}, a_t)|^2 / (2 s^2)  +  the first step's, and a constant

Stop-gradient is a plug-in for the entropy: no divergence, and nothing in the loss sets the scale of z, which batch
normalisation at the encoder's end can do. With an entropy the loss is predictive LDM: nothing is stopped or normalised.
The controls collapse: with batch normalisation alone to a line, with nothing at all towards a point (here to a spread
of 0.01, far below s = 0.3; the verdict calls it one from 0.001 on).

Videos are of a dot that actions push, under a blur that no action moves. A forecast's skill is the share of
persistence's squared error that it removes, under the true actions or those of another video.
"""

import torch

import pyro_ldm as ldm

ZERO, LOG_DET = ldm.entropy.Zero(), ldm.entropy.Pooled(ldm.entropy.LogDet())
VARIANTS = {  # entropy, targets detached, batch normalisation at the encoder's end
    "JEPA": (ZERO, True, True),
    "JEPA, no batch norm": (ZERO, True, False),
    "batch norm alone": (ZERO, False, True),
    "neither": (ZERO, False, False),
    "entropy": (LOG_DET, False, False),
}


def learn(entropy, stop, normalise, train, test, *, epochs, latent_dim, seed) -> tuple[dict[str, float], str]:
    """Fit one variant; R2 of the position, skills of forecasts, and the verdict on collapse, all on test videos."""
    torch.manual_seed(seed)
    layers = [ldm.encoders.MLP(144, latent_dim, hidden=[128, 128])]
    layers += [torch.nn.BatchNorm1d(latent_dim, affine=False)] if normalise else []
    encoder = ldm.encoders.PerStep(torch.nn.Sequential(*layers))
    prior = ldm.priors.Autoregressive(latent_dim, ldm.encoders.LastSteps(latent_dim + 2, latent_dim), noise=0.3)
    guide = ldm.guides.Deterministic(encoder, entropy)
    scored = ldm.stop_gradient(prior, sites=["z"]) if stop else prior
    batches = (train.x, train.inputs)
    ldm.fit(scored, guide, batches, epochs=epochs, batch_size=32, lr=3e-3, seed=seed, progress=False)

    with torch.no_grad():
        z, z_test = (encoder.eval()(part.x) for part in (train, test))
        decode, found, seen = ldm.diagnostics.AffineMap.fit(z, train.truth), {}, 10
        found["R2"] = ldm.diagnostics.affine_r2(z, train.truth, test=(z_test, test.truth))
        persistence = decode.loc(z_test[:, seen - 1])
        for actions, name in ((test.inputs, ""), (test.inputs.roll(1, 0), ", other's actions")):
            future = prior.distribution(test.x, actions).rollout(z_test[:, :seen], 5, num_samples=10).mean(0)
            skill = ldm.diagnostics.forecast_skill(decode.loc(future), test.truth[:, seen : seen + 5], persistence)
            found |= {f"{ahead} ahead{name}": float(skill.skill[ahead - 1]) for ahead in (1, 5)}
    verdict = ldm.diagnostics.collapse(z_test.flatten(0, 1))
    return found, f"spread {verdict.spread:.2g}, {verdict.verdict.partition(';')[0]}"


def main(epochs: int = 10, num: int = 2500, latent_dim: int = 4, seed: int = 0) -> dict[str, float]:
    """Learn under each variant; decode position and forecasts on other videos."""
    train, test = (ldm.datasets.pushed_dot(n, seed=s) for n, s in ((num, seed), (500, seed + 1000)))
    pixels = [(part.x.flatten(2), part.truth) for part in (train, test)]
    result = {"R2: pixels": ldm.diagnostics.affine_r2(*pixels[0], test=pixels[1])}
    print(f"an affine map of the pixels recovers the position with an R2 of {result['R2: pixels']:.3f}")
    for name, variant in VARIANTS.items():
        found, verdict = learn(*variant, train, test, epochs=epochs, latent_dim=latent_dim, seed=seed)
        print(f"{name}: {verdict}", *(f"  {key:25} {value:6.2f}" for key, value in found.items()), sep="\n")
        result |= {f"{key}: {name}": value for key, value in found.items()}
    return result


if __name__ == "__main__":
    main()
