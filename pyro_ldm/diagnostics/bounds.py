r"""Is the prior matched? Bounds and estimates of KL(R || P) of a trained encoder, in nats and in words."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_ldm.diagnostics.arviz.programs import running
from pyro_ldm.diagnostics.encoded import Encoded
from pyro_ldm.diagnostics.estimates import ESTIMATE, LOWER, UPPER, Estimate, estimate, estimates

if TYPE_CHECKING:
    from pandas import DataFrame

LITTLE = 0.05  # nats per datum


@dataclass(frozen=True, eq=False)
class KLBounds:
    """What :func:`kl_bounds` found; ``str()`` of it is the verdict.

    Args:
        estimates: All values.
        alignment: E_R log P(z), nats per datum.
        num_rows: Rows that they are from.
        lower: Greatest of the lower bounds, less its bias on rows of the prior where that is upwards, nats per datum.
        upper: Least of the upper bounds; where there is none (a deterministic encoder has none), the greatest estimate,
            less its bias on rows of the prior; ``None`` without either.
        upper_is_bound: Whether it is one.
        verdict: The finding, in one sentence.
    """

    estimates: tuple[Estimate, ...]
    alignment: float
    num_rows: int
    lower: float
    upper: float | None
    upper_is_bound: bool
    verdict: str

    def __str__(self) -> str:
        return self.verdict

    def table(self) -> "DataFrame":
        """A row per estimator: kind, kl, standard_error, and the range of the reference."""
        import pandas as pd

        rows = [
            {
                "kind": e.kind,
                "kl": e.kl,
                "standard_error": e.standard_error,
                "reference_low": min(e.reference, default=np.nan),
                "reference_high": max(e.reference, default=np.nan),
            }
            for e in self.estimates
        ]
        return pd.DataFrame(rows, index=pd.Index([e.name for e in self.estimates], name="estimator"))

    def groups(self) -> dict[str, Any]:
        """Group ``bounds``, as :func:`pyro_ldm.diagnostics.arviz.to_arviz` and ``add_groups`` take it."""
        table = self.table()
        columns = {name: table[name].to_numpy() for name in table.columns if name != "kind"}
        names = [f"{name} ({kind})" for name, kind in zip(table.index, table["kind"], strict=True)]
        return {
            "bounds": columns,
            "dims": {name: ["estimator"] for name in columns},
            "coords": {"estimator": names},
        }


def kl_bounds(
    prior: Callable,
    guide: Callable | None,
    data: Any,
    *,
    parameters: Any = None,
    views: Callable | None = None,
    classifier: Any = None,
    num_rows: int = 4000,
    num_references: int = 5,
    seed: int = 0,
) -> KLBounds:
    r"""Bounds and estimates of the KL divergence of a trained encoder's latents from their prior.

    .. math:: \mathrm{KL}(R \,\|\, P) = -\mathbb{E}_R[\log P(z)] - H_R[z]

    The first term is the prior's own log-density at the encoder's outputs. The entropy, or the ratio, is from

    * ``LogDet``, the Gaussian of the same covariance: too much entropy unless R is Gaussian, so a lower bound on KL, as
      N grows;
    * ``KDE``, leave-one-out: a cross-entropy, so a lower bound, loose in many dimensions;
    * ``KNN``: consistent, no bound;
    * a classifier between rows and draws from the prior: a lower bound that needs no density
      (:func:`~pyro_ldm.diagnostics.classifier.log_ratio`), and the plug-in mean of its log-ratio, an estimate;
    * ``Mixture`` where the encoder is stochastic: leave-one-out a lower bound, include-self an upper one.

    A deterministic encoder has no upper bound. Views and series are one long vector each; series with fewer than 5 rows
    per number are scored step by step, which leaves out what their steps tell of one another, so that all is lower
    still, but for the classifier, which sees whole series. Each value stands beside its own on rows drawn from the
    prior.

    The verdict is *not matched* where a value is above the mean of those by more than 4 standard errors, theirs and its
    own together (a bound without such rows: above 0); *if by little*, where none is by more than 0.05 nats, which many
    rows can tell from nothing. Else it is *matched*, as far as so many rows can tell.

    Args:
        prior: The assumed latent model.
        guide: The trained encoder as a guide; ``None`` where the data are latents themselves, (N, D) or (N, T, D).
        data: A tensor (N, ...), a tuple of such, or a :class:`pyro_ldm.datasets.Data`; held out, at best. Rows with
            masked steps are left out.
        parameters: Values of the prior's parameters, by site, or a tree with a posterior of them, over which P is then
            averaged. By default draws from the guide, where it samples them.
        views: From x to a tuple of views, as for :func:`pyro_ldm.fit`.
        classifier: A scikit-learn classifier; :func:`~pyro_ldm.diagnostics.classifier.default_classifier` by default.
        num_rows: Rows used at most, drawn at random.
        num_references: How often rows are drawn from the prior, at least 2.
        seed: Of everything random; the global random state is left as it was.

    Shape:
        N rows of data, at least 20 and two per latent dim, to a :class:`KLBounds`.

    Raises:
        ValueError: If there are too few rows, a latent is discrete, constant or not finite, the prior is flat, or a
            parameter of the prior is not given.

    References:
        Hoffman and Johnson (2016), ELBO surgery (KL of the aggregated posterior from the prior).
        Poole et al. (2019), On variational bounds of mutual information, eq. 8, 12 and 13.
        https://arxiv.org/abs/1905.06922

    Example:
        >>> print(kl_bounds(ldm.priors.Gaussian(2), None, 0.7 * torch.randn(1000, 2)))
        not matched: KL at least 0.2..., about 0.2... by ... (1000 rows)
    """
    if num_references < 2:
        raise ValueError(f"num_references must be 2 or more, got {num_references}: values are read beside their spread")
    with running(*filter(None, (prior, guide)), seed=seed):
        encoded = Encoded(prior, guide, data, parameters=parameters, views=views, num_rows=num_rows)
        own = list(estimates(encoded, encoded.values, classifier))
        references = [
            {e.name: e.kl for e in estimates(encoded, encoded.draw(), classifier)} for _ in range(num_references)
        ]
        found = [e._replace(reference=tuple(r[e.name] for r in references)) for e in own]
        log_prior = encoded.log_prob(encoded.values)
        if encoded.stochastic:
            for name, kind in (("leave-one-out", LOWER), ("include-self", UPPER)):
                log_r = encoded.log_mixture(encoded.values, include_self=kind == UPPER)
                found.append(estimate(f"Mixture, {name}", kind, log_r - log_prior))
    return _judge(found, float(log_prior.mean()), encoded.num_rows)


def _judge(found: list[Estimate], alignment: float, num_rows: int) -> KLBounds:
    lower = max(e.kl - max(0.0, e.bias) for e in found if e.kind == LOWER)
    uppers = [e for e in found if e.kind == UPPER]
    estimates = [e for e in found if e.kind == ESTIMATE]
    value = f"KL at least {max(0.0, lower):.2f}"
    about = max(estimates, key=lambda e: e.kl - e.bias)
    if uppers:
        upper = min(e.kl for e in uppers)
        value = f"KL between {lower:.2f} and {upper:.2f}"
    else:
        upper = about.kl - about.bias
    value += f", about {about.kl - about.bias:.2f} by {about.name} ({num_rows} rows)"
    beyond = [e.kl - e.bias for e in found if e.exceeds]
    finding = "matched, as far as the rows tell"
    if beyond:
        finding = "not matched" if max(beyond) > LITTLE else "not matched, if by little"
    return KLBounds(
        estimates=tuple(found),
        alignment=alignment,
        num_rows=num_rows,
        lower=lower,
        upper=upper,
        upper_is_bound=bool(uppers),
        verdict=f"{finding}: {value}".replace("-0.00", "0.00"),
    )
