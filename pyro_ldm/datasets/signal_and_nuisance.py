r"""A predictable signal and a nuisance that is not, mixed beyond recognition: what of it can be identified?

.. math:: s_{t+1} = \rho \, s_t Q + \sqrt{1 - \rho^2} \, \epsilon_t, \qquad n_t \sim N(0, I), \qquad
    x_t = g([s_t, n_t])

The signal is stationary with unit variance. g is an injective network, so that nothing is lost on the way to x.
"""

import math
from collections.abc import Callable
from itertools import pairwise

import numpy as np
import torch

from pyro_ldm.datasets.data import Data, DataError


def signal_and_nuisance(
    signal_dim: int = 5,
    *,
    nuisance_dim: int | None = None,
    num: int = 10_000,
    num_steps: int = 5,
    rho: float = 0.9,
    seed: int = 0,
    world_seed: int = 0,
) -> Data:
    """A rotating Gaussian signal and white nuisance in a fixed network, 100 numbers a step (10000 series of 5 steps).

    A training and a test set of one world differ in `seed` and share `world_seed`. Report beside every figure what a
    linear map of x recovers of the signal: it is much.

    Args:
        signal_dim: Dims of the signal.
        nuisance_dim: Dims of the nuisance; as many as of the signal by default. Both together are 100 at most.
        num: Number of series (the published figures are from 100000 for training and 10000 for testing).
        num_steps: Steps of each.
        rho: Correlation of the signal with its rotated past, between 0 and 1.
        seed: Seed of the series.
        world_seed: Seed of the world: the rotation Q and the network g.

    Shape:
        x (num, num_steps, 100); truth (num, num_steps, signal_dim), the signal; nuisance
        (num, num_steps, nuisance_dim), where there is any.

    Raises:
        DataError: If a number is out of its range.

    References:
        F. A. Mikulasch and F. Zenke (2026), Predictive Self-Supervised Learning Provably Identifies Stochastic Signals
        under Nuisance, table 1: layers of widths max(latents, 25), max(that, 50) and 100 with orthonormal maps, biases
        of variance .01, and LeakyReLU of slope .2 between them. Its text has 15 dims of nuisance in one place.

    Example:
        >>> train, test = (signal_and_nuisance(num=100, seed=seed) for seed in (0, 1))
        >>> test
        Data('signal_and_nuisance', 100 x (5, 100), truth, nuisance)
    """
    nuisance_dim = signal_dim if nuisance_dim is None else nuisance_dim
    latent_dim = signal_dim + nuisance_dim
    if signal_dim < 1 or nuisance_dim < 0 or latent_dim > 100:
        raise DataError(
            f"signal_and_nuisance: {signal_dim} dims of signal and {nuisance_dim} of nuisance: give at least 1 of "
            "signal and at most 100 together, which 100 observed dims can hold"
        )
    if num < 2 or num_steps < 1 or not 0 <= rho <= 1:
        raise DataError(
            f"signal_and_nuisance: {num} series of {num_steps} steps with rho {rho}: "
            "give at least 2 series and 1 step, and rho from 0 to 1"
        )
    rotation, network = _world(np.random.default_rng([0, world_seed]), signal_dim, latent_dim)
    # Streams of their own: under equal seeds the first series would else be made of the numbers the world is made of.
    rng = np.random.default_rng([1, seed])
    latents = rng.standard_normal((num, num_steps, latent_dim), dtype=np.float32)
    signal = latents[..., :signal_dim]
    for t in range(1, num_steps):
        signal[:, t] = rho * signal[:, t - 1] @ rotation + math.sqrt(1 - rho**2) * signal[:, t]
    truth, nuisance = (torch.from_numpy(part.copy()) for part in (signal, latents[..., signal_dim:]))
    x = torch.from_numpy(network(latents))
    return Data(x, truth=truth, nuisance=nuisance if nuisance_dim else None, name="signal_and_nuisance")


def _world(
    rng: np.random.Generator, signal_dim: int, latent_dim: int
) -> tuple[np.ndarray, Callable[[np.ndarray], np.ndarray]]:
    """The rotation and the network."""
    rotation = _orthonormal(rng, signal_dim, signal_dim)
    if np.linalg.det(rotation) < 0:  # a reflection
        rotation[0] *= -1
    hidden = max(latent_dim, 25)
    widths = [latent_dim, hidden, max(hidden, 50), 100]
    layers = [
        (_orthonormal(rng, *pair), 0.1 * rng.standard_normal(pair[1], dtype=np.float32)) for pair in pairwise(widths)
    ]

    def network(latents: np.ndarray) -> np.ndarray:
        x = latents
        for i, (weight, bias) in enumerate(layers):
            x = np.where(x > 0, x, np.float32(0.2) * x) if i else x
            x = x @ weight + bias
        return x

    return rotation, network


def _orthonormal(rng: np.random.Generator, size_in: int, size_out: int) -> np.ndarray:
    """A uniformly random map of row vectors to as many dims or more, (size_in, size_out), that keeps all lengths."""
    q, r = np.linalg.qr(rng.standard_normal((size_out, size_in)))
    return (q * np.sign(np.diag(r))).T.astype(np.float32)
