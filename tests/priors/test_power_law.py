"""The power law: ordered variances, and a posterior of the exponent."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro.infer import MCMC, NUTS

from pyro_ldm.priors import PowerLaw


def test_spectrum():
    z = PowerLaw(4, exponent=2.0, scale=3.0)(range(20_000))
    torch.testing.assert_close(z.var(0), 9.0 / torch.arange(1.0, 5.0) ** 2, rtol=0.06, atol=0)


def test_nuts_finds_the_exponent():
    pyro.set_rng_seed(0)
    z = PowerLaw(20, exponent=1.5)(range(300))
    prior = PowerLaw(20, exponent=dist.LogNormal(0.0, 1.0))
    mcmc = MCMC(NUTS(pyro.condition(prior, {"z": z})), num_samples=60, warmup_steps=60, disable_progbar=True)
    mcmc.run(range(300))
    assert float(mcmc.get_samples()["exponent"].mean()) == pytest.approx(1.5, abs=0.05)
