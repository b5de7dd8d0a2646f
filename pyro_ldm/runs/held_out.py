"""The part of the data that a fit does not see, and a fingerprint by which runs on other data are known."""

import hashlib
from typing import Any

import torch
from torch import Tensor

from pyro_ldm.datasets import Data

SPLIT_SEED = 1_618_033  # of its own, so that runs that differ in the seed hold out the same rows


def hold_out(data: Data, share: float) -> tuple[Data, Data | None, Tensor]:
    """Data to fit on, data held out, and which rows those are, (N,), boolean; the same rows each time.

    Args:
        data: The data.
        share: Share to hold out, in [0, 1); 0 leaves all to fit on.

    Raises:
        ValueError: If a part would have fewer than two rows.

    Example:
        >>> train, test, rows = hold_out(Data(torch.randn(100, 3)), 0.2)
        >>> len(train), len(test), int(rows.sum())
        (80, 20, 20)
    """
    rows = torch.zeros(len(data), dtype=torch.bool)
    if not share:
        return data, None, rows
    # The numbers of the rows, split as the rows are.
    numbers = Data(torch.arange(len(data)).unsqueeze(-1).to(data.x.device), name=data.name)
    try:
        parts = [part.split((1 - share, share), seed=SPLIT_SEED) for part in (data, numbers)]
    except ValueError as error:
        raise ValueError(f"a share of {share} of {len(data)} rows cannot be held out: {error}") from error
    (train, test), (_, which) = parts
    rows[which.x[:, 0].long().cpu()] = True
    return train, test, rows


def fingerprint(data: Data) -> dict[str, Any]:
    """Shape of x and a hash of x and mask, in JSON's types: equal for equal data.

    Example:
        >>> fingerprint(Data(torch.zeros(5, 3)))["shape"]
        [5, 3]
    """
    found = hashlib.sha256()
    for tensor in (data.x, data.mask):
        if tensor is not None:
            found.update(tensor.detach().cpu().contiguous().numpy().data)
    return {"name": data.name, "shape": list(data.x.shape), "sha256": found.hexdigest()}
