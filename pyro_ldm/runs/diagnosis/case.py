"""What a diagnosis looks at: a trained prior and guide, and the latents that they make of data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import torch
from pyro import poutine
from torch import Tensor

from pyro_ldm.devices import device_of
from pyro_ldm.diagnostics.arviz.programs import in_batch, running, sample_sites
from pyro_ldm.posterior.program import global_sites
from pyro_ldm.training import latents
from pyro_ldm.training.latents import AT_ONCE
from pyro_ldm.training.loader import tensors_of

NUM_ROWS = 2000  # rows that the slower parts look at, at most
NUM_STEPS = 20_000  # the same of series, in steps of all together
MIN_HELD_OUT = 100  # rows, below which estimates are too noisy
MOVED = 0.01  # of the latents' spread: more is no rounding


@dataclass(frozen=True, eq=False)
class Case:
    """A trained model and its latents.

    Attributes:
        prior: The assumed latent model.
        guide: The encoder as a guide.
        data: All data.
        views: What makes two views of a datum, for a prior of two.
        z: The first site's latents of all data, without augmentation: (N, D), or (N, T, D).
        there: Which of them are no padding, (N,) or (N, T).
        rows: Those that the slower parts look at, in random order.
        x: The data of these rows, and their mask if they have one.
        batch: What prior and guide are called with: these, or two views of them.
        sites: The latents of these rows, by site, as the guide samples them.
        parameters: Names of the prior's parameters: its sites outside plate "batch".
        held_out: Whether these rows are such that the fit has not seen.
        seed: Of everything random.
    """

    prior: Callable
    guide: Callable
    data: Any
    views: Callable | None
    z: Tensor
    there: Tensor
    rows: Tensor
    x: tuple[Tensor, ...]
    batch: tuple[Tensor, ...]
    sites: dict[str, Tensor]
    parameters: tuple[str, ...]
    held_out: bool
    seed: int

    @property
    def name(self) -> str:
        """The prior's."""
        return getattr(self.prior, "__name__", type(self.prior).__name__)

    @property
    def is_series(self) -> bool:
        """Whether a datum is a series of latents."""
        return self.z.dim() == 3

    @property
    def size(self) -> str:
        """How many latents there are, in words."""
        num, *steps, dims = self.z.shape
        return f"{num} series of {steps[0]} steps, {dims} latent dims" if steps else f"{num} latents of {dims} dims"

    @property
    def of_how_many(self) -> str:
        """Which rows the slower parts looked at, in words, if not all."""
        num, of = len(self.batch[0]), len(self.data)
        kind = f"{'held-out ' if self.held_out else ''}{'series' if self.is_series else 'rows'}"
        return "" if num == of else f"From {num} {kind}, drawn at random, of {of} in all."


def look_at(
    prior: Callable, guide: Callable, data: Any, *, views: Callable | None, held_out: Tensor | None, seed: int
) -> Case:
    """Encode the data, and draw the rows that the slower parts look at: held-out ones, if there are a hundred.

    Raises:
        ValueError: If prior or guide do not run on the data.
    """
    z = latents(guide, data)
    there = torch.ones(z.shape[:-1], dtype=torch.bool) if z.dim() < 3 or data.mask is None else data.mask
    generator = torch.Generator().manual_seed(seed)
    most = NUM_ROWS if z.dim() < 3 else max(2, NUM_STEPS // z.shape[1])
    unseen = held_out is not None and int(held_out.sum()) >= MIN_HELD_OUT
    among = held_out.nonzero().flatten() if held_out is not None and unseen else torch.arange(len(data))
    rows = among[torch.randperm(len(among), generator=generator)[:most]]
    device = device_of(guide, default=data.x.device)
    x = tuple(tensor[rows].to(device) for tensor in tensors_of(data))
    with running(guide, seed=seed):
        batch = x if views is None else (*views(x[0]), *x[1:])
        # Equal parts: a guide of views estimates an entropy of each, which takes more than a few rows.
        parts = zip(*(tensor.tensor_split(-(-x[0].numel() // AT_ONCE)) for tensor in batch), strict=True)
        traces = [poutine.trace(guide).get_trace(*part) for part in parts]
    drawn: list[dict[str, Any]] = [{n: s for n, s in sample_sites(t).items() if in_batch(s)} for t in traces]
    sites = {name: torch.cat([part[name]["value"] for part in drawn]) for name in drawn[0]}
    try:
        parameters = tuple(global_sites(prior, sites, batch))
    except ValueError:  # latents that no part can use, constant ones say: each says so for itself
        parameters = ()
    return Case(prior, guide, data, views, z, there, rows, x, batch, sites, parameters, unseen, seed)


def check_same(case: Case, folder: Path, stored: Tensor) -> None:
    """Refuse data or programs that have changed since the run was made: the encoder would make other latents of them.

    Args:
        case: What is now.
        folder: The run.
        stored: Its latents.

    Raises:
        ValueError: If the stored latents are not those that the encoder makes of the data now.
    """
    reason = ""
    if stored.shape != case.z.shape:
        reason = f"of shape {tuple(stored.shape)}, and now of shape {tuple(case.z.shape)}"
    else:
        was, now = stored[case.there], case.z[case.there]
        moved = (was - now).abs().max()
        if not moved <= MOVED * now.std(0).max().clamp_min(1e-6):
            reason = f"others than the encoder makes of the data now, by up to {float(moved):.2g}"
    if reason:
        raise ValueError(
            f"the latents in {folder} are {reason}: the data or a program has changed since; restore it, or fit again"
        )
