"""Placeholder until the real one lands."""
from pyro.distributions import Delta
def encode(encoder, x):
    return Delta(encoder(x), log_density=-encoder.weight.slogdet().logabsdet.expand(len(x)), event_dim=1)
