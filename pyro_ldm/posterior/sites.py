"""Latents by site."""

from collections.abc import Mapping

import torch
from torch import Tensor


def as_sites(z: Tensor | Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Latents by site, on the CPU: a tensor is site z.

    Args:
        z: Latents (N, ...), or a dict of them by site, such as ``{"z": z, "z_prime": z_prime}`` of two views.

    Raises:
        TypeError: If it is neither.
        ValueError: If there are fewer than two rows, sites differ in length, or values are not finite or constant.

    Example:
        >>> list(as_sites(torch.randn(10, 2)))
        ['z']
    """
    sites = {"z": z} if torch.is_tensor(z) else dict(z) if isinstance(z, Mapping) else {}
    if not sites or not all(torch.is_tensor(value) and value.dim() for value in sites.values()):
        raise TypeError(
            f"z is a tensor of latents (N, ...) or a dict of such by site, got {type(z).__name__}: "
            "torch.as_tensor(z) makes one of an array"
        )
    lengths = {name: len(value) for name, value in sites.items()}
    if len(set(lengths.values())) != 1:
        raise ValueError(f"the sites must have equally many rows, got {lengths}")
    if min(lengths.values()) < 2:
        raise ValueError(f"at least two latents are needed, got {min(lengths.values())}: pass z (N, ...) of many data")
    for name, value in sites.items():
        if value.is_floating_point():  # integers are categories
            _check_values(name, value)
    return {name: value.detach().cpu() for name, value in sites.items()}


def _check_values(name: str, value: Tensor) -> None:
    rows = value.reshape(len(value), -1)
    bad = int((~torch.isfinite(rows)).any(-1).sum())
    if bad:
        raise ValueError(f"site {name!r} has NaN or Inf in {bad} of {len(rows)} rows: look at the data and the encoder")
    columns = value.reshape(-1, value.shape[-1]) if value.dim() > 1 else rows
    constant = (columns.amax(0) == columns.amin(0)).nonzero().flatten().tolist()
    categories = bool(((columns == 0) | (columns == 1)).all() and (columns.sum(-1) == 1).all())
    if constant and (not categories or len(constant) == columns.shape[-1]):  # of one-hot ones, some may go unused
        raise ValueError(
            f"site {name!r} is constant in dims {constant}: the encoder has collapsed there, and a scale would run off "
            "to zero; train it with an entropy, or leave these dims out"
        )
