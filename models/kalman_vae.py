r"""A Kalman VAE on video: the dot's position by reconstruction, and what that costs.

Prior:       h_t = h_{t-1} A + noise,  z_t = h_t + noise        a linear-Gaussian state, summed out, all of it learned
Likelihood:  x_t | z_t ~ Gaussian about a decoder's output, its scale learned
Entropy:     Conditional()

    -ELBO  =  E[log q(z_{1:T} | x_{1:T}) - log P(z_{1:T})]  -  sum_t E log p(x_t | z_t)

The prior is that of `kalman_dots.py`, which learns the same without a decoder. (Fraccaro et al., 2017, mix several
linear dynamics, chosen by a recurrent network; here there is one.)
"""

import torch

import pyro_ldm as ldm


def main(num: int = 2000, epochs: int = 10, seed: int = 0) -> dict[str, float]:
    """Learn; decode the position from encoder, filter and smoother of test videos; print."""
    videos = ldm.datasets.dots("circle", num=num, seed=seed).x
    torch.manual_seed(seed)
    prior = ldm.priors.Kalman(2)
    encoder = ldm.encoders.PerStep(ldm.encoders.MLP(100, 4, hidden=(100, 100)))
    decoder = ldm.encoders.PerStep(ldm.baselines.MLPDecoder(2, (1, 10, 10), hidden=(100, 100)))
    model = ldm.baselines.Generative(prior, decoder, ldm.baselines.Gaussian())
    guide = ldm.guides.Gaussian(encoder, ldm.entropy.Conditional())
    settings = {"batch_size": 32, "lr": 3e-3, "gradient_clip": 5.0}
    fit = ldm.fit(model, guide, videos, epochs=epochs, seed=seed, **settings)

    test = ldm.datasets.dots("circle", num=200, seed=seed + 1000)
    z = ldm.training.latents(guide, test)
    with torch.no_grad():
        ssm = prior.distribution(test.x)
        features = {"encoder": z, "filter": ssm.filter(z).mean, "smoother": ssm.smooth(z).mean}
    result = {f"R2, {name}": ldm.diagnostics.affine_r2(f, test.truth) for name, f in features.items()}
    print(f"{fit.terms.objective} {fit.terms.loss:.1f} nats per video")
    for name, value in result.items():
        print(f"{name:24} {value:.3f}")
    print(ldm.baselines.posterior_collapse(z))
    return {"loss": fit.terms.loss, **result}


if __name__ == "__main__":
    main()
