"""Bounds and estimates of a KL divergence, of rows alone, each with its kind and error."""

from collections.abc import Iterator
from typing import Any, NamedTuple

import numpy as np
import torch
from torch import Tensor

from pyro_ldm.diagnostics.classifier import log_ratio
from pyro_ldm.diagnostics.encoded import Encoded, Values
from pyro_ldm.entropy import KDE, KNN, Entropy, LogDet, Separate, Sphere

LOWER, UPPER, ESTIMATE, LOWER_ESTIMATE = "lower bound", "upper bound", "estimate", "lower estimate"
ROWS_PER_COORDINATE = 5  # below, series are scored step by step
SIGNIFICANT = 4.0  # standard errors: several values are looked at, and some understate their error


class Estimate(NamedTuple):
    """One value of :func:`kl_bounds`.

    Attributes:
        name: Of the estimator.
        kind: ``"lower bound"`` or ``"upper bound"`` on KL(R || P), in expectation; ``"estimate"`` of it, consistent;
            ``"lower estimate"``: estimate of a lower bound.
        kl: Its value, nats per datum.
        standard_error: Of the value, from the spread over rows, nats.
        reference: What it gives for rows drawn from the prior itself, where KL = 0: its bias and noise, nats. Empty for
            estimators that read q(z | x), which those rows do not have.
    """

    name: str
    kind: str
    kl: float
    standard_error: float
    reference: tuple[float, ...] = ()

    @property
    def bias(self) -> float:
        """Mean of the reference, 0 where there is none."""
        return float(np.mean(self.reference)) if self.reference else 0.0

    @property
    def exceeds(self) -> bool:
        """Whether the value is higher than what rows of the prior itself would give; 0 for a bound without those."""
        # The rows' spread alone understates the error of KNN, whose rows share neighbours (by a third at D = 2).
        error = np.hypot(self.standard_error, np.std(self.reference, ddof=1) if self.reference else 0.0)
        return self.kind != UPPER and bool(self.kl - self.bias > SIGNIFICANT * error)


def flattened(values: Values) -> Tensor:
    """All sites of each row as one long vector, (N, D), float64 on the CPU."""
    return torch.cat([value.flatten(1).double().cpu() for value in values.values()], dim=1)


def estimates(encoded: Encoded, values: Values, classifier: Any) -> Iterator[Estimate]:
    """Those that need rows alone."""
    log_prior, rows = encoded.log_prob(values), flattened(values)
    if encoded.spherical:
        estimators: dict[str, tuple[Entropy, str]] = {"KNN": (KNN(space=Sphere(num_spheres=len(values))), ESTIMATE)}
    else:
        estimators = {"LogDet": (LogDet(), LOWER), "KDE": (KDE(), LOWER), "KNN": (KNN(), ESTIMATE)}
    series = all(value.dim() == 3 for value in values.values())
    if encoded.spherical and (series or any(value.dim() != 2 for value in values.values())):
        estimators = {"KNN, per step": (Separate(KNN(space=Sphere())), LOWER_ESTIMATE)}
        rows_seen = torch.cat([value.double().cpu() for value in values.values()], dim=1)
    elif series and len(rows) < ROWS_PER_COORDINATE * rows.shape[1]:
        rows_seen = torch.cat([value.double().cpu() for value in values.values()], dim=-1)  # (N, T, D)
        estimators = {
            f"{name}, per step": (Separate(estimator), LOWER_ESTIMATE if kind == ESTIMATE else kind)
            for name, (estimator, kind) in estimators.items()
        }
    else:
        rows_seen = rows
    dim = rows_seen.shape[-1]
    if len(rows) < (least := max(20, 2 * dim)):
        raise ValueError(
            f"{len(rows)} rows of {dim} latent dims are too few for an entropy and a classifier: pass {least} or more, "
            "better five times that"
        )
    for name, (estimator, kind) in estimators.items():
        yield estimate(name, kind, estimator(rows_seen) - log_prior)
    ratio = log_ratio(rows.numpy(), lambda: flattened(encoded.draw()).numpy(), classifier=classifier)
    yield Estimate("classifier", LOWER, ratio.lower, ratio.standard_error)
    yield estimate("classifier, plug-in", ESTIMATE, torch.as_tensor(ratio.rows))


def estimate(name: str, kind: str, log_ratios: Tensor) -> Estimate:
    """The mean of log R(z_i) - log P(z_i) over rows (N,), nats, and its standard error."""
    return Estimate(name, kind, float(log_ratios.mean()), float(log_ratios.std() / len(log_ratios) ** 0.5))
