"""A decoder trained afterwards on frozen latents: what a model without one would reconstruct."""

import copy
from collections.abc import Callable

import pyro
import torch
from torch import Tensor

from pyro_ldm.baselines import Generative
from pyro_ldm.datasets import Data
from pyro_ldm.devices import cuda_devices
from pyro_ldm.objective import keep_local_parameters
from pyro_ldm.runs.comparison.candidate import Candidate


def decoder_afterwards(candidate: Candidate, like: Generative) -> Generative:
    r"""Train a decoder of the same make on a model's latents, which stay as they are, with the same budget.

    .. math:: \max \; \mathbb{E} \log p(x \mid \mathbb{E}[z \mid x])

    It is given them in units of their own standard deviation (one number, of all dims): a decoder made for z ~ N(0, I)
    learns far more slowly from latents on the unit sphere, which have one of 1 / sqrt(D).

    Args:
        candidate: Whose latents, and for how many epochs, at which batch size and learning rate.
        like: The VAE whose decoder and likelihood are drawn anew: the layers by ``reset_parameters``, and a learned
            scale from where that VAE's has ended.

    Raises:
        ValueError: If the latents are of another width than those that this decoder takes.
    """
    z, data = candidate.encode(candidate.train), candidate.train
    with torch.random.fork_rng(devices=cuda_devices()):
        torch.manual_seed(candidate.seed)
        # A prior that is a VampPrior holds the guide; of the whole only decoder and likelihood are wanted.
        own = Generative(candidate.latent_prior, copy.deepcopy(like.decoder), copy.deepcopy(like.likelihood))
        for layer in own.decoder.modules() if isinstance(own.decoder, torch.nn.Module) else ():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()  # type: ignore[operator]
        own.decoder = _InUnits(own.decoder, _spread(z if data.mask is None else z[data.mask]))
        own = own.to(candidate.device).train()
        keep_local_parameters(own)
        with pyro.settings.context(module_local_params=True):
            _train(own, z, data, candidate)
    return own.eval()


class _InUnits(torch.nn.Module):
    """A decoder of latents in some unit."""

    def __init__(self, decoder: Callable[[Tensor], Tensor], unit: float):
        super().__init__()
        self.decoder, self.unit = decoder, unit

    def forward(self, z: Tensor) -> Tensor:
        return self.decoder(z / self.unit)


def _spread(z: Tensor) -> float:
    """Root-mean-square standard deviation over dims; 1 of latents that do not vary."""
    return float(z.flatten(0, -2).double().var(0, correction=0).mean().sqrt()) or 1.0


def _train(own: Generative, z: Tensor, data: Data, candidate: Candidate) -> None:
    parts = [part for part in (own.decoder, own.likelihood) if isinstance(part, torch.nn.Module)]
    learned = [parameter for part in parts for parameter in part.parameters()]
    optimizer = torch.optim.Adam(learned, lr=candidate.lr)
    size = min(candidate.batch_size, len(z))
    for _ in range(candidate.epochs):
        for rows in torch.randperm(len(z))[: len(z) // size * size].split(size):
            loss = -log_likelihood(own, z[rows], data.x[rows], None if data.mask is None else data.mask[rows]).mean()
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()


def log_likelihood(model: Generative, z: Tensor, x: Tensor, mask: Tensor | None) -> Tensor:
    """Log p(x | z) of each datum, (N,), nats; of series with a mask, of the steps that are there."""
    device = next((p.device for p in model.parameters()), z.device)
    z, x = z.to(device), x.to(device)
    try:
        fn = model.decode(z)
    except RuntimeError as error:
        raise ValueError(
            f"the decoder takes other latents than these of shape {tuple(z.shape[1:])}: {error}"
        ) from error
    if mask is None:
        return fn.log_prob(x)
    while hasattr(fn, "base_dist") and fn.event_dim:
        fn = fn.base_dist
    return torch.where(mask.to(device), fn.log_prob(x).flatten(2).sum(-1), 0.0).sum(-1)


def reconstruction(model: Generative, z: Tensor) -> Tensor:
    """The mean of p(x | z), as x is, on the CPU."""
    with torch.no_grad():
        return model.decode(z.to(next((p.device for p in model.parameters()), z.device))).mean.cpu()
