"""Batches from whatever data come as, in an order that depends on the seed and the epoch alone."""

from collections.abc import Iterator
from itertools import islice
from typing import Any

import torch
from torch import Tensor
from torch.utils.data import DataLoader, Dataset, Sampler


class Rows(Dataset):
    """Tensors of equal length, indexed by many rows at once."""

    def __init__(self, tensors: tuple[Tensor, ...]):
        self.tensors = tensors

    def __len__(self) -> int:
        return len(self.tensors[0])

    def __getitem__(self, index: Tensor) -> tuple[Tensor, ...]:
        return tuple(tensor[index] for tensor in self.tensors)


class Shuffle(Sampler):
    """Whole batches in random order; the order of an epoch needs no history, so that a run can go on from any epoch.

    A last, short batch is left out: an entropy estimated from few rows has another bias than the others'.
    """

    def __init__(self, size: int, batch_size: int, seed: int):
        self.size, self.batch_size, self.seed, self.epoch = size, min(size, batch_size), seed, 0

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch

    def __len__(self) -> int:
        return self.size // self.batch_size

    def __iter__(self):
        generator = torch.Generator().manual_seed(seed_of(self.seed, self.epoch))
        order = torch.randperm(self.size, generator=generator)
        return iter(order[: len(self) * self.batch_size].split(self.batch_size))


class Seeded:
    """A DataLoader of the user's own, which shuffles each epoch by random numbers that need no history either.

    Args:
        loader: The DataLoader.
        seed: With the epoch, what it shuffles by (unless it has a generator of its own).
    """

    def __init__(self, loader: DataLoader, seed: int):
        self.loader, self.seed, self.epoch = loader, seed, 0
        self.dataset = loader.dataset

    @property
    def sampler(self) -> "Seeded":
        """Where the trainer looks for ``set_epoch``."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Called by the trainer before each epoch."""
        self.epoch = epoch
        if hasattr(self.loader.sampler, "set_epoch"):
            self.loader.sampler.set_epoch(epoch)

    def __len__(self) -> int:
        return len(self.loader)

    def __iter__(self) -> Iterator:
        # A sampler draws its seed when the first batch is asked for.
        with torch.random.fork_rng(devices=[]):
            torch.manual_seed(seed_of(self.seed, self.epoch))
            batches = iter(self.loader)
            first = list(islice(batches, 1))
        yield from first
        yield from batches


def seed_of(seed: int, epoch: int) -> int:
    """Seed of an epoch's random numbers."""
    return seed * 1_000_003 + epoch


def tensors_of(data: Any) -> tuple[Tensor, ...]:
    """The tensors of a batch: of a tensor, a sequence of tensors, or anything with an ``x``, as our data sets have it.

    Where the data have a ``mask`` too, it follows x.

    Raises:
        TypeError: If there are none.
    """
    if torch.is_tensor(data):
        return (data,)
    if hasattr(data, "x") and torch.is_tensor(data.x):
        mask = getattr(data, "mask", None)
        return (data.x,) if mask is None else (data.x, mask)
    if isinstance(data, tuple | list) and data and all(torch.is_tensor(t) for t in data):
        return tuple(data)
    raise TypeError(
        "data is a tensor (N, ...), a tuple of tensors, a pyro_ldm.datasets.Data or a DataLoader, "
        f"got {type(data).__name__}"
    )


def make_loader(data: Any, *, batch_size: int, seed: int) -> Any:
    """A loader of batches that are tuples of tensors; a user's own DataLoader goes on making its own.

    Raises:
        TypeError: If the data are of no known kind.
        ValueError: If there are fewer than two rows, lengths differ, or values are not finite.
    """
    if isinstance(data, DataLoader):
        return Seeded(data, seed)
    tensors = tensors_of(data)
    lengths = {len(tensor) for tensor in tensors}
    if len(lengths) != 1:
        raise ValueError(f"the tensors of a batch must have equally many rows, got {[len(t) for t in tensors]}")
    (size,) = lengths
    if size < 2 or batch_size < 2:
        raise ValueError(
            f"an entropy is estimated from at least two rows, got {size} rows in batches of {batch_size}: "
            "add data or enlarge the batch"
        )
    for tensor in tensors:
        if tensor.is_floating_point() and not torch.isfinite(tensor).all():
            bad = int((~torch.isfinite(tensor)).reshape(size, -1).any(-1).sum())
            raise ValueError(f"the data contain NaN or Inf in {bad} of {size} rows: drop or impute them before fitting")
    # A generator of its own: opening a loader would otherwise draw from the global one.
    order = Shuffle(size, batch_size, seed)
    return DataLoader(Rows(tensors), sampler=order, batch_size=None, generator=torch.Generator())


def as_batch(batch: Any) -> tuple[Tensor, ...]:
    """What a loader yields, as a tuple of tensors."""
    return (batch,) if torch.is_tensor(batch) else tuple(batch)
