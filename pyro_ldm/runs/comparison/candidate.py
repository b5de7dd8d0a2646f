"""What a comparison looks at: a trained model with the data that it was fitted on, and what it makes of them."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import torch
from pyro import poutine
from pyro.distributions import Delta, Unit
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyro_ldm.baselines import Bound, Generative, iwae_bound
from pyro_ldm.datasets import Data
from pyro_ldm.diagnostics.arviz.programs import in_batch, running, sample_sites
from pyro_ldm.diagnostics.bounds import KLBounds, kl_bounds
from pyro_ldm.diagnostics.information import Information, mutual_information
from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.entropy import Conditional
from pyro_ldm.runs.held_out import SPLIT_SEED, hold_out
from pyro_ldm.training import latents

NUM_SCORED = 2000  # rows that are scored, at most
NUM_FITTED = 10_000  # rows that probes and maps are fitted on, at most
STEPS = 10  # steps of series that count as one row


@dataclass(frozen=True, eq=False)
class Candidate:
    """A trained model to compare. Those of one ``model`` are to differ in the seed alone, and are averaged.

    Attributes:
        model: What to call it, such as "LDM" or "VAE".
        prior: The trained prior; a :class:`~pyro_ldm.baselines.Generative` is a VAE's.
        guide: The trained guide.
        train: The data that it was fitted on.
        test: Data held out, to score on; without such the former are scored.
        seed: Of the fit.
        views: What makes two views of a datum, for a prior of two.
        epochs: Of the fit; so much, with ``batch_size`` and ``lr``, is spent on a decoder of frozen latents as well.
        batch_size: Of the fit.
        lr: Of the fit.
        cost: Its ``seconds_per_epoch`` and ``peak_memory_mib``, where known.
        name: The run's own, such as its folder's.
    """

    model: str
    prior: Callable
    guide: nn.Module
    train: Data
    test: Data | None = None
    seed: int = 0
    views: Callable | None = None
    epochs: int = 20
    batch_size: int = 256
    lr: float = 1e-3
    cost: Mapping[str, Any] = field(default_factory=dict)
    name: str = ""

    @property
    def generative(self) -> Generative | None:
        """Prior, decoder and likelihood, where it has a decoder."""
        return self.prior if isinstance(self.prior, Generative) else None

    @property
    def latent_prior(self) -> Callable:
        """The prior of the latents alone."""
        return self.prior.prior if isinstance(self.prior, Generative) else self.prior

    @cached_property
    def scored(self) -> Data:
        """What is scored: held-out data, where there are any."""
        return _at_most(self.train if self.test is None else self.test, NUM_SCORED)

    @cached_property
    def parts(self) -> tuple[Data, Data]:
        """What probes and maps are fitted on, and scored on: without held-out data, halves of all."""
        if self.test is not None:
            return _at_most(self.train, NUM_FITTED), self.scored
        fitted, scored, _ = hold_out(_at_most(self.train, 2 * NUM_SCORED), 0.5)
        assert scored is not None
        return fitted, scored

    @cached_property
    def means(self) -> Tensor:
        """E[z | x] of the data scored, (N, D) or (N, T, D)."""
        return self.encode(self.scored)

    def encode(self, data: Data) -> Tensor:
        """E[z | x] of data."""
        return latents(self.guide, data)

    @cached_property
    def sites(self) -> list[Any]:
        """Distributions of the latent sites, at a batch of the fit: of fewer rows views may have no entropy."""
        batch = (self.train.x[: self.batch_size].to(self.device),)
        with running(self.guide, seed=0):
            trace = poutine.trace(self.guide).get_trace(*(batch if self.views is None else self.views(*batch)))
        return [site["fn"] for site in sample_sites(trace).values() if in_batch(site)]

    @property
    def stochastic(self) -> bool:
        """Whether the encoder has a density q(z | x)."""
        conditionals = [fn.conditional if isinstance(fn, Pushforward) else fn for fn in self.sites]
        return bool(conditionals) and not any(isinstance(fn, Delta) for fn in conditionals)

    @property
    def num_latents(self) -> int:
        """Numbers in the latents of a datum, those of all its views and steps."""
        return sum(fn.event_shape.numel() for fn in self.sites)

    @property
    def device(self) -> torch.device:
        """Where it is."""
        return next((p.device for p in self.guide.parameters()), torch.device("cpu"))

    @cached_property
    def bounds(self) -> KLBounds:
        """KL(R || P), by the same estimators on as many rows as of every other model."""
        from sklearn.linear_model import LogisticRegression

        return kl_bounds(
            self.latent_prior,
            self.guide,
            self.scored,
            views=self.views,
            classifier=LogisticRegression(),  # its bound is not looked at, and this one is fast
            num_rows=len(self.scored),
        )

    @cached_property
    def information(self) -> Information:
        """Bounds on I(x; z)."""
        return mutual_information(self.guide, self.scored, views=self.views, num_rows=len(self.scored))

    def bound(self, num_particles: int, *, num_rows: int = NUM_SCORED) -> Bound:
        """The ELBO, or an importance-weighted bound, whatever the guide was scored by in training.

        Args:
            num_particles: K; 1 for the ELBO.
            num_rows: Of those scored, at most.

        Raises:
            ValueError: If there is no decoder, or no density q(z | x).
        """
        if self.generative is None:
            raise ValueError("without a decoder there is no bound on the evidence")
        if not self.stochastic:
            raise ValueError("a deterministic encoder has no q(z | x), and so no bound on the evidence")
        data: Any = _at_most(self.scored, num_rows)
        if self.views is not None:
            with running(self.guide, seed=0):
                data = tuple(view.cpu() for view in self.views(data.x.to(self.device)))
        return iwae_bound(self.generative, _ScoredByConditionals(self.guide), data, num_particles=num_particles)

    @cached_property
    def scale(self) -> float:
        """Root-mean-square standard deviation of the prior's latents, in units of z; 1 of a flat prior."""
        batch = (self.scored.x.to(self.device),)
        with running(self.latent_prior, self.guide, seed=0):
            batch = batch if self.views is None else tuple(self.views(*batch))
            try:
                drawn = sample_sites(poutine.trace(self.latent_prior).get_trace(*batch))
            except NotImplementedError:
                return 1.0
            z = next(site["value"] for site in drawn.values() if in_batch(site))
        return float(z.flatten(0, -2).double().var(0).mean().sqrt())


class _ScoredByConditionals(nn.Module):
    """A guide, its sites scored by q(z | x) whatever they are scored by: what an ELBO wants."""

    def __init__(self, guide: nn.Module):
        super().__init__()
        self.guide = guide

    def forward(self, *batch) -> Any:
        with _Conditionals():
            return self.guide(*batch)


class _Conditionals(Messenger):
    def _pyro_sample(self, msg) -> None:
        if isinstance(msg["fn"], Pushforward):
            site = msg["fn"]
            msg["fn"] = Pushforward(site.conditional, Conditional(), mask=site.rows).expand(site.batch_shape)
            msg["infer"] = {key: value for key, value in msg["infer"].items() if key != "views"}
        elif "entropy" in msg["infer"]:  # the factor that scores several views
            msg["fn"] = Unit(torch.zeros_like(msg["fn"].log_factor), has_rsample=True)
            msg["infer"] = {"is_auxiliary": True}


def _at_most(data: Data, number: int) -> Data:
    """Some of the rows, drawn at random, always the same; of series fewer, which have many steps, but at least two."""
    if data.x.dim() in (3, 5) or data.mask is not None:
        number = max(2, STEPS * number // data.x.shape[1])
    if len(data) <= number:
        return data
    return data.split((number / len(data), 1 - number / len(data)), seed=SPLIT_SEED)[0]
