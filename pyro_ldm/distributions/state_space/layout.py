"""From Pyro's layout, the batch first and time the last of its dims, to time first, and back."""

from collections.abc import Callable
from functools import wraps

import torch
from pyro.distributions import MultivariateNormal, TorchDistribution
from torch import Tensor
from torch.distributions import Independent, LowRankMultivariateNormal, Normal
from torch.distributions import MultivariateNormal as TorchMultivariateNormal

from pyro_ldm.distributions.state_space.small import symmetric


def without_autocast(method: Callable) -> Callable:
    """A method of a state space, in its parameters' precision: half of it is too little for a filter."""

    @wraps(method)
    def run(self, *args, **kwargs):
        with torch.autocast(self.transition_matrix.device.type, enabled=False):
            return method(self, *args, **kwargs)

    return run


def check_gaussian(name: str, fn: TorchDistribution) -> None:
    """Refuse noise of another kind: others have a mean and a scale too."""
    base = fn.base_dist if isinstance(fn, Independent) else fn
    if not isinstance(base, Normal | TorchMultivariateNormal | LowRankMultivariateNormal):
        raise TypeError(
            f"{name} is {type(base).__name__}, and is to be Gaussian: Normal(...).to_event(1) or MultivariateNormal"
        )


def moments(fn: TorchDistribution) -> tuple[Tensor, Tensor]:
    """Mean and covariance matrix of a Gaussian, batch dims that are only expanded taken back to 1."""
    if isinstance(fn, Independent):
        return fn.mean, torch.diag_embed(unexpanded(fn.base_dist.scale, 1).square())
    return fn.mean, unexpanded(fn.covariance_matrix, 2)


def unexpanded(tensor: Tensor, event_dim: int) -> Tensor:
    """Along a dim of stride 0 all entries are one: Normal(u @ B, scale) has one scale, whatever the shape says."""
    for dim in range(tensor.dim() - event_dim):
        tensor = tensor.narrow(dim, 0, 1) if tensor.stride(dim) == 0 else tensor
    return tensor


def pad(tensor: Tensor, rank: int, event_dim: int) -> Tensor:
    """With as many batch dims as the series have."""
    missing = rank + event_dim - tensor.dim()
    return tensor.reshape(*[1] * missing, *tensor.shape) if missing > 0 else tensor


def time_major(tensor: Tensor, rank: int, event_dim: int) -> Tensor:
    """From (*batch, T, *event) to (T, *batch, *event), T of 1 where there is none."""
    return pad(tensor, rank + 1, event_dim).movedim(-1 - event_dim, 0)


def gaussian(loc: Tensor, covariance: Tensor) -> MultivariateNormal:
    """From time-major moments, one covariance for many series where they share it."""
    factor = torch.linalg.cholesky(symmetric(covariance)).to(loc.dtype).movedim(0, -3)
    loc = loc.movedim(0, -2)
    return MultivariateNormal(loc, scale_tril=factor.expand(*loc.shape, loc.shape[-1]), validate_args=False)


def coordinates(mask: Tensor, observed: int, lengths: set[int]) -> tuple[Tensor, int]:
    """A mask (..., T, L or 1), and T."""
    if mask.dtype != torch.bool:
        raise ValueError(f"mask must be boolean, True where z is there, got {mask.dtype}")
    steps, coordinates = mask.shape[-1:], mask.shape[-2:]
    by_coordinate = mask.dim() > 1 and coordinates[1] in (1, observed) and (not lengths or coordinates[0] in lengths)
    by_step = not lengths or steps[0] in lengths
    if by_step and by_coordinate and coordinates[1] != 1 and mask.dim() == 2:
        raise ValueError(
            f"mask of shape {tuple(mask.shape)} may be of steps (..., T) or of coordinates (T, L): pass that of "
            "steps as (..., T, 1), that of coordinates as (1, T, L)"
        )
    # Of a length that fits neither, the caller's message is to name the dim that was meant.
    by_coordinate = by_coordinate or (not by_step and mask.dim() > 2 and coordinates[1] in (1, observed))
    mask = mask if by_coordinate else mask.unsqueeze(-1)
    return mask, mask.shape[-2]
