"""What models are compared by: each measure a function of a trained model, with its unit and what is better."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import cached_property

import numpy as np
import torch
from torch import Tensor

from pyro_ldm.baselines import Bound, Generative, PosteriorCollapse, posterior_collapse
from pyro_ldm.diagnostics import AffineMap, affine_r2, collapse, coverage, knn_probe, linear_probe, mcc
from pyro_ldm.diagnostics.arviz.programs import running
from pyro_ldm.diagnostics.bounds import KLBounds
from pyro_ldm.runs.comparison.candidate import Candidate
from pyro_ldm.runs.comparison.decoder import decoder_afterwards, log_likelihood, reconstruction
from pyro_ldm.runs.series import StateSpace

CHUNK = 256  # rows decoded at once
NUM_BOUND = 500  # rows that particles are decoded for: many times each
LEVEL = 0.95  # of the bands whose calibration is measured


@dataclass(frozen=True, eq=False)
class Case:
    """A model under comparison, and the VAE whose decoder those without one are given afterwards.

    Attributes:
        candidate: The model.
        like: The VAE's generative model, if there is a VAE among those compared.
        num_particles: Of the importance-weighted bound.
    """

    candidate: Candidate
    like: Generative | None
    num_particles: int

    @property
    def whole_bounds(self) -> KLBounds:
        """Bounds and estimates of KL(R || P), if they are of all of z at once."""
        found = self.candidate.bounds
        if any("per step" in estimate.name for estimate in found.estimates):
            raise ValueError(
                "of so few series of so many numbers only each step has an entropy, and the sum of those leaves out "
                "what the steps tell of one another: no KL to compare"
            )
        return found

    @cached_property
    def elbo(self) -> Bound:
        """The ELBO."""
        return self.candidate.bound(1)

    @cached_property
    def weighted(self) -> Bound:
        """The importance-weighted bound: the ELBO, and what the particles add to it on some of the rows."""
        elbo, number = self.elbo, self.num_particles
        more, less = (self.candidate.bound(k, num_rows=NUM_BOUND) for k in (number, 1))
        nats, bits = (elbo[i] + more[i] - less[i] for i in (0, 1))
        return elbo._replace(nats=nats, bits_per_dim=bits, num_particles=number)

    @cached_property
    def decoding(self) -> Generative:
        """Its own decoder, or one trained afterwards."""
        if self.candidate.generative is not None:
            return self.candidate.generative
        if self.like is None:
            raise ValueError("no model compared has a decoder to train on these latents")
        return decoder_afterwards(self.candidate, self.like)

    @cached_property
    def shown(self) -> Tensor:
        """Reconstructions of the data scored, from E[z | x]."""
        with running(self.decoding):
            return torch.cat([reconstruction(self.decoding, z) for z in self.candidate.means.split(CHUNK)])

    @property
    def rows(self) -> Tensor:
        """Latents scored, of series those of all steps that are there, (N, D)."""
        z, mask = self.candidate.means, self.candidate.scored.mask
        return z if z.dim() == 2 else z.flatten(0, 1) if mask is None else z[mask]

    @cached_property
    def units(self) -> PosteriorCollapse:
        """Active units, in units of the prior."""
        z, mask = self.candidate.means, self.candidate.scored.mask
        z = z if mask is None else z.masked_fill(~mask.unsqueeze(-1), torch.nan)
        return posterior_collapse(z, scale=self.candidate.scale)


@dataclass(frozen=True)
class Measure:
    """A column of the comparison.

    Attributes:
        name: What it is called.
        unit: Its unit; empty of a pure number.
        better: ``"more"``, ``"less"``, or empty where neither is, or the same is measured by another.
        of: What measures it; a ``ValueError`` says why it is not defined.
        same_likelihood: Whether it compares models of one likelihood only.
        same_latents: Whether it compares models of equally many latents only.
    """

    name: str
    unit: str
    better: str
    of: Callable[[Case], float]
    same_likelihood: bool = False
    same_latents: bool = False

    @property
    def title(self) -> str:
        """Name and unit."""
        return f"{self.name}, {self.unit}" if self.unit else self.name


def estimate_of_kl(case: Case, name: str) -> float:
    """KL(R || P) by one estimator, less what it gives for draws from the prior itself."""
    found = next((e for e in case.whole_bounds.estimates if e.name.startswith(name)), None)
    if found is None:
        raise ValueError(f"latents on the sphere have no estimate by {name}")
    return found.kl - found.bias


def informed(case: Case, bound: str) -> float:
    """A bound on I(x; z)."""
    if not case.candidate.stochastic:
        raise ValueError("a deterministic encoder's I(x; z) is infinite")
    return float(getattr(case.candidate.information, bound))


def active_units(case: Case) -> float:
    """Dims whose E[z | x] varies over the data."""
    return float(case.units.active_units)


def probed(case: Case, probe: Callable) -> float:
    """Accuracy of a probe of frozen latents."""
    fitted, scored = case.candidate.parts
    if fitted.y is None or scored.y is None:
        raise ValueError("the data have no labels")
    if case.candidate.means.dim() > 2:
        raise ValueError("probes are of latents that are one vector per datum")
    pairs = [(case.candidate.encode(part), part.y) for part in (fitted, scored)]
    return float(probe(*pairs).accuracy)


def recovered(case: Case, score: str) -> float:
    """How well true latents are recovered."""
    fitted, scored = case.candidate.parts
    if fitted.truth is None or scored.truth is None:
        raise ValueError("the data have no true latents")
    z = case.candidate.encode(scored)
    if score == "mcc":
        return mcc(z, scored.truth, mask=scored.mask).score
    test = (z, scored.truth)
    return affine_r2(case.candidate.encode(fitted), fitted.truth, mask=fitted.mask, test=test, test_mask=scored.mask)


def squared_error(case: Case) -> float:
    """Mean squared error of reconstructions from E[z | x]."""
    data = case.candidate.scored
    error = (case.shown - data.x).square()
    return float(error.mean() if data.mask is None else error[data.mask].mean())


def reconstructed(case: Case) -> float:
    """Log p(x | E[z | x])."""
    data, model = case.candidate.scored, case.decoding
    with running(model):
        parts = zip(
            case.candidate.means.split(CHUNK),
            data.x.split(CHUNK),
            [None] * len(data) if data.mask is None else data.mask.split(CHUNK),
            strict=False,
        )
        return float(torch.cat([log_likelihood(model, *part).double().cpu() for part in parts]).mean())


def miscalibrated(case: Case) -> float:
    """By how much the share of true states in the filter's bands differs from their level."""
    fitted, scored = case.candidate.parts
    if fitted.truth is None or scored.truth is None or fitted.truth.dim() != 3:
        raise ValueError("only bands of a state space around true states have a calibration")
    space = StateSpace.of_prior(case.candidate.latent_prior, scored)
    if space is None:
        raise ValueError("the prior is no state space, and has no bands")
    before, after = (space.band(part.x, case.candidate.encode(part), part.mask) for part in (fitted, scored))
    affine = AffineMap.fit(before.loc, fitted.truth, mask=fitted.mask)
    scale = affine.scale(after.state)
    found = coverage(affine.loc(after.loc), scale, scored.truth, levels=[LEVEL], mask=scored.mask)
    return abs(float(found.share[0]) - LEVEL)


def spent(case: Case, what: str) -> float:
    """Seconds or memory of the fit."""
    if what not in case.candidate.cost:
        raise ValueError("not recorded when it was fitted")
    return float(case.candidate.cost[what])


MEASURES: Sequence[Measure] = (
    Measure("ELBO", "nats per datum", "more", lambda c: c.elbo.nats, True),
    Measure("IWAE bound", "nats per datum", "more", lambda c: c.weighted.nats, True),
    Measure("-IWAE bound", "bits per dim", "", lambda c: c.weighted.bits_per_dim),
    Measure("KL(R || P) by KNN", "nats", "less", lambda c: estimate_of_kl(c, "KNN"), same_latents=True),
    Measure("KL(R || P) by LogDet", "nats", "", lambda c: estimate_of_kl(c, "LogDet")),
    Measure("I(x; z) at least", "nats", "", lambda c: informed(c, "lower")),
    Measure("I(x; z) at most", "nats", "", lambda c: informed(c, "upper")),
    Measure("active units", "", "", active_units),
    Measure("effective rank", "", "", lambda c: collapse(c.rows).effective_rank),
    Measure("linear probe", "accuracy", "more", lambda c: probed(c, linear_probe)),
    Measure("kNN probe", "accuracy", "more", lambda c: probed(c, knn_probe)),
    Measure("MCC", "", "more", lambda c: recovered(c, "mcc")),
    Measure("affine R2", "", "more", lambda c: recovered(c, "affine_r2")),
    Measure("reconstruction error", "squared, per dim", "less", squared_error),
    Measure("log p(x | z)", "nats per datum", "more", reconstructed, True),
    Measure(f"calibration error of {100 * LEVEL:.0f} % bands", "", "less", miscalibrated),
    Measure("seconds per epoch", "", "less", lambda c: spent(c, "seconds_per_epoch")),
    Measure("peak memory", "MiB", "less", lambda c: spent(c, "peak_memory_mib")),
)
UNDEFINED = (ValueError, NotImplementedError, np.linalg.LinAlgError)


def measure(case: Case, of: Measure) -> tuple[float, str]:
    """The value, or NaN and why there is none."""
    try:
        value = of.of(case)
    except UNDEFINED as error:
        return np.nan, " ".join(str(error).split())
    return (value, "") if np.isfinite(value) else (np.nan, f"{value}")
