r"""A hierarchical prior: how well does each latent of the digits survive an augmentation, and latents as a population?

Prior:    log s_d ~ N(mu, tau^2),  z ~ N(0, I),  z'_d ~ N(z_d, s_d^2)   each latent has a noise of its own
Entropy:  Separate(LogDet())                                            of two augmented views

    E_q[ -E log P(z, z' | s) ]  -  H[z] - H[z']  +  KL( q(s, mu, tau) || P(s, mu, tau) ) / N
             alignment              uniformity            the parameters' posterior

Stage one learns the encoder and, beside it, a guide for the prior's parameters, in minibatches. Stage two takes the
latents of held-out digits as data, and samples the parameters by NUTS. Both posteriors go into one table.
"""

import pyro
import pyro.distributions as dist
import torch
from torch import Tensor

import pyro_ldm as ldm


def make_prior(latent_dim: int):
    """What latents have in common, what each one has, and the pair of views."""

    def prior(x: Tensor, x_prime: Tensor) -> None:
        mu = pyro.sample("mu", dist.Normal(-1.0, 1.0))
        tau = pyro.sample("tau", dist.HalfNormal(1.0))
        with pyro.plate("latent", latent_dim):
            noise = pyro.sample("noise", dist.LogNormal(mu, tau))
        with pyro.plate("batch", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(latent_dim), 1.0).to_event(1))
            pyro.sample("z_prime", dist.Normal(z, noise).to_event(1))

    return prior


def main(latent_dim: int = 8, epochs: int = 60, draws: int = 1000, seed: int = 0) -> dict[str, float]:
    """Learn encoder and parameters; sample the parameters given held-out latents; print both."""
    train, test = ldm.datasets.digits().split(seed=seed)
    views = ldm.encoders.TwoViews(torch.nn.Sequential(ldm.encoders.Affine(), ldm.encoders.Noise(std=0.1)))
    torch.manual_seed(seed)
    encoder = ldm.encoders.ConvNet(train.shape, latent_dim)
    guide = ldm.guides.Views(encoder, ldm.entropy.Separate(ldm.entropy.LogDet()))
    prior = make_prior(latent_dim)
    fit, variational = ldm.posterior.joint(prior, guide, train, views=views, epochs=epochs, lr=3e-3, seed=seed)

    with torch.no_grad():
        z, z_prime = (encoder.eval()(x) for x in views(test.x))
    pair = {"z": z, "z_prime": z_prime}
    settings = {"num_samples": draws, "warmup_steps": draws, "num_chains": 2, "seed": seed}
    exact = ldm.posterior.nuts(prior, pair, batch=(z, z_prime), **settings)
    tables = [ldm.diagnostics.arviz.summary(tree) for tree in (variational, exact)]
    print(f"loss {fit.terms.kl:.3f} nats per pair ({fit.terms.divergence})")
    print(f"{'':10} {'SVI, beside the encoder':^26}   {'NUTS, held-out latents':^26}   mean, 90 % interval")
    for row in tables[0].index:
        cells = (f"{t['mean'][row]:8.3f}  [{t['eti_5%'][row]:6.3f}, {t['eti_95%'][row]:6.3f}]" for t in tables)
        print(f"{row:10} {'   '.join(cells)}")
    noise = {f"noise, {way}": t["mean"].filter(like="noise") for way, t in zip(("SVI", "NUTS"), tables, strict=True)}
    result = {f"{which} {name}": float(getattr(v, which)()) for name, v in noise.items() for which in ("min", "max")}
    return {"kl": fit.terms.kl, "largest R-hat": float(tables[1]["r_hat"].max()), **result}


if __name__ == "__main__":
    main()
