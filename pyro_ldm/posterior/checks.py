r"""Predictive checks: would the prior have drawn latents like these?

Replicated latents, as many as there are, are drawn from the prior S times, at parameters from their posterior or from
their own prior; a discrepancy T whose value on the latents lies outside its replicated values is a misfit:

.. math:: p_\text{upper} = \frac{1 + \#\{s : T(z_s) \ge T(z)\}}{S + 1}, \qquad
    p = \min(1, 2 \min(p_\text{upper}, p_\text{lower}))
"""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
import torch
from torch import Tensor

from pyro_ldm.diagnostics.arviz import Tree
from pyro_ldm.posterior.discrepancies import Discrepancy, default_discrepancies, evaluate
from pyro_ldm.posterior.multiplicity import corrected_p_values
from pyro_ldm.posterior.parameters import parameters_for
from pyro_ldm.posterior.program import global_sites, simulate
from pyro_ldm.posterior.sites import as_sites

if TYPE_CHECKING:
    from pandas import DataFrame

AT_ONCE = 2**24  # numbers of replicated latents held at a time
NAMED = 3  # misfits that the verdict spells out


@dataclass(frozen=True, eq=False)
class PredictiveCheck:
    """What :func:`predictive_check` found; ``str()`` of it is the verdict.

    Args:
        kind: "posterior predictive", "prior predictive", or "predictive" where the prior has no parameters to draw.
        discrepancies: By name.
        observed: Of each discrepancy its values on the latents, (K,).
        replicated: Of each its values on replicated latents, (S, K).
        corrected: Of each the corrected p-values, (K,).
        level: Below which a corrected p-value is a misfit.
        latents: The latents by site.
        kept: Some replicated latents by site, (keep, N, ...), for pictures and export.
    """

    kind: str
    discrepancies: dict[str, Discrepancy] = field(repr=False)
    observed: dict[str, np.ndarray] = field(repr=False)
    replicated: dict[str, np.ndarray] = field(repr=False)
    corrected: dict[str, np.ndarray] = field(repr=False)
    level: float
    latents: dict[str, Tensor] = field(repr=False)
    kept: dict[str, Tensor] = field(repr=False)

    @property
    def p_value(self) -> float:
        """The chance that a true prior looks as bad: the smallest corrected p-value."""
        return float(min(values.min() for values in self.corrected.values()))

    @property
    def matched(self) -> bool:
        """Whether no discrepancy misfits at the level."""
        return self.p_value > self.level

    @property
    def table(self) -> "DataFrame":
        """One row for each number that was compared, worst first.

        Columns: discrepancy, label, observed; mean, low and high (95 %) of the replicated; z_score, the distance from
        their mean in their standard deviations; p_lower, p_upper and p_value, two-sided, of this number alone;
        corrected, for all numbers together; misfit, in words, where corrected is at most the level.
        """
        import pandas

        rows = []
        for name, discrepancy in self.discrepancies.items():
            replicated, corrected = self.replicated[name], self.corrected[name]
            low, high = np.quantile(replicated, (0.025, 0.975), axis=0)
            for k, observed in enumerate(self.observed[name]):
                draws, label = replicated[:, k], discrepancy.label(k, len(corrected))
                lower, upper = (
                    (1 + (side >= 0).sum()) / (1 + len(draws)) for side in (observed - draws, draws - observed)
                )
                word = discrepancy.above if upper < lower else discrepancy.below
                words = f"{label}: {word} ({name} {observed:.3g}, replicated {low[k]:.3g} to {high[k]:.3g})"
                spread = draws.std(ddof=1)
                rows.append(
                    {
                        "discrepancy": name,
                        "label": label,
                        "observed": observed,
                        "mean": draws.mean(),
                        "low": low[k],
                        "high": high[k],
                        "z_score": (observed - draws.mean()) / spread if spread else np.nan,
                        "p_lower": lower,
                        "p_upper": upper,
                        "p_value": min(1.0, 2 * min(lower, upper)),
                        "corrected": corrected[k],
                        "misfit": words.removeprefix(": ") if corrected[k] <= self.level else "",
                    }
                )
        table = pandas.DataFrame(rows)
        order = np.lexsort((-table["z_score"].abs(), table["corrected"]))
        return table.iloc[order].reset_index(drop=True)

    @property
    def verdict(self) -> str:
        """Whether the prior fits, and what misfits how, in words."""
        table = self.table
        how = f"{self.kind} check, p = {self.p_value:.2g} corrected for {len(table)} comparisons"
        if self.matched:
            return f"no misfit: {how}"
        # Of one discrepancy the worst is named; further dims are counted.
        found = table[table["misfit"] != ""]
        worst = found.drop_duplicates("discrepancy")["misfit"].head(NAMED)
        more = len(found) - len(worst)
        return f"misfit: {'; '.join(worst)}{f'; and {more} more' if more else ''}. {how[0].upper()}{how[1:]}"

    def __str__(self) -> str:
        return self.verdict

    def groups(self) -> dict[str, dict[str, Tensor]]:
        """The kept replicated latents, as one chain, and the latents: ``add_groups(tree, **check.groups())``."""
        name = "posterior_predictive" if self.kind == "posterior predictive" else "prior_predictive"
        kept = {name: {site: values.unsqueeze(0) for site, values in self.kept.items()}} if self.kept else {}
        return kept | {"observed_data": self.latents}

    def picture(self) -> Any:
        """The worst discrepancies and the worst dims' densities, each beside replicated ones; a matplotlib figure."""
        from pyro_ldm.posterior.check_pictures import picture

        return picture(self)


def predictive_check(
    prior: Callable,
    z: Tensor | Mapping[str, Tensor],
    tree: Tree | None = None,
    *,
    batch: tuple | None = None,
    discrepancies: Mapping[str, Callable[..., Tensor] | Discrepancy] | None = None,
    num_draws: int = 400,
    level: float = 0.05,
    keep: int = 20,
    seed: int = 0,
) -> PredictiveCheck:
    r"""Compare latents with replicated ones, in what matters here: moments, tails, spectrum, dependence.

    Many numbers are compared, and some lie far out by chance. P-values are corrected for that by the replicated latents
    themselves (Westfall and Young's step): the farthest of a discrepancy's numbers on one side, in units of their own
    spread on that side, is compared with the farthest of each replicated set; then the smallest of these p-values with
    the smallest of each replicated set. If the prior with known parameters is true, the chance of a misfit anywhere is
    at most the level, however dependent the discrepancies are. At parameters drawn from their posterior p-values are
    conservative, for the latents have been used twice.

    A prior predictive check tells whether latents like these were thought possible, and with vague parameters nearly
    everything is. Learned parameters of the prior are held at their values.

    Args:
        prior: The assumed latent model. Flat sites cannot be drawn: condition on them.
        z: Latents, or a dict of them by site.
        tree: With the posterior's draws, such as of NUTS. None draws parameters from their own prior.
        batch: What the prior is called with; ``(z,)`` by default. A boolean tensor in it masks rows or steps: those
            that are not there do not count in the default discrepancies.
        discrepancies: By name, functions of the latents in float64, or :class:`Discrepancy` with words; those of
            :func:`default_discrepancies` by default.
        num_draws: S.
        level: Below which a corrected p-value is called a misfit.
        keep: How many replicated latents to keep for pictures and export.
        seed: Of the draws.

    Shape:
        z (N, D) or series (N, T, D); two views of equal N.

    Raises:
        ValueError: If latents are bad or do not fit the prior, draws are too few to reach the level after the
            correction, the tree has other parameters than the prior, or a discrepancy is not finite.

    References:
        Rubin (1984), Bayesianly justifiable and relevant frequency calculations for the applied statistician; Gelman,
        Meng and Stern (1996), Posterior predictive assessment of model fitness via realized discrepancies; Westfall and
        Young (1993), Resampling-based multiple testing.

    Example:
        >>> from pyro_ldm.posterior.checks import predictive_check
        >>> z = torch.randn(1000, 2)
        >>> print(predictive_check(ldm.priors.Gaussian(2), z))
        no misfit: predictive check, p = ... corrected for 24 comparisons
        >>> print(predictive_check(ldm.priors.Laplace(2, scale=0.7), z))
        misfit: dim 1: tails lighter than the prior's (kurtosis 0.07..., replicated 1.5... to 5.1...); and ... more. ...
    """
    sites = as_sites(z)
    first = next(iter(sites.values()))
    batch = (first,) if batch is None else batch
    names = list(global_sites(prior, z, batch))
    if num_draws < 1 or keep < 0:
        raise ValueError(f"num_draws must be positive and keep not negative, got {num_draws} and {keep}")
    kind, parameters = parameters_for(prior, names, tree, num_draws, batch, seed)
    masks = [part for part in batch if isinstance(part, Tensor) and part.dtype == torch.bool]
    given = default_discrepancies(sites, mask=masks[0] if masks else None) if discrepancies is None else discrepancies
    chosen = {n: d if isinstance(d, Discrepancy) else Discrepancy(d) for n, d in given.items()}
    if not chosen:
        raise ValueError("there is no discrepancy to compare: pass some by name, or None for the default ones")
    if 2 * len(chosen) > level * (num_draws + 1):
        raise ValueError(
            f"{num_draws} draws cannot show a misfit of {len(chosen)} discrepancies at level {level}: pass num_draws "
            f"of at least {int(np.ceil(2 * len(chosen) / level)) - 1}, or fewer discrepancies"
        )
    observed = evaluate(chosen, sites)
    kept_draws = set(np.linspace(0, num_draws - 1, min(keep, num_draws)).round().astype(int).tolist())
    rows: list[dict[str, np.ndarray]] = []
    kept: dict[str, list[Tensor]] = {name: [] for name in sites}
    chunk = max(1, AT_ONCE // sum(values.numel() for values in sites.values()))
    seeds = torch.Generator().manual_seed(seed)
    for start in range(0, num_draws, chunk):
        part = {name: values[start : start + chunk] for name, values in parameters.items()}
        num = min(chunk, num_draws - start)
        one_seed = int(torch.randint(2**31, (), generator=seeds))
        replicated = simulate(prior, part, batch=batch, seed=one_seed, num=num)
        for s in range(num):
            # What is conditioned on, such as a flat first view, is the same in every set.
            one = {name: replicated[name][s] if name in replicated else values for name, values in sites.items()}
            rows.append(evaluate(chosen, one))
            if start + s in kept_draws:
                for name, values in one.items():
                    kept[name].append(values.cpu())
    replicas = {name: np.stack([row[name] for row in rows]) for name in chosen}
    return PredictiveCheck(
        kind=kind,
        discrepancies=chosen,
        observed=observed,
        replicated=replicas,
        corrected=corrected_p_values(observed, replicas),
        level=level,
        latents={name: values.cpu() for name, values in sites.items()},
        kept={name: torch.stack(values) for name, values in kept.items()} if keep else {},
    )
