"""Priors compared by leave-one-out on one set of latents."""

import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

import numpy as np
from torch import Tensor
from tqdm import tqdm

from pyro_ldm.diagnostics.arviz import Tree
from pyro_ldm.posterior.default_priors import default_priors
from pyro_ldm.posterior.loo import Loo, loo
from pyro_ldm.posterior.nuts import nuts
from pyro_ldm.posterior.program import global_sites
from pyro_ldm.posterior.stacking import stacking_weights

if TYPE_CHECKING:
    from pandas import DataFrame

SMALL = 4.0  # nats: differences below are small, and their standard errors unreliable (Sivula et al. 2020)
ENCODERS = (
    "priors are compared on one set of latents of one encoder: log-densities in the z-spaces of two encoders differ by "
    "the Jacobian of the map between them, which is not known; compare encoders by what their latents are good for, by "
    "probes or forecasts"
)


@dataclass(frozen=True, eq=False)
class Comparison:
    """Priors on the same latents, the best one first; ``str()`` of it is the verdict.

    Args:
        results: :class:`Loo` by the prior's name, best first.
        trees: Posteriors of the priors that have parameters, by the same names.
        warnings: What was warned of on the way, by name.
    """

    results: dict[str, Loo]
    trees: dict[str, Tree] = field(default_factory=dict, repr=False)
    warnings: dict[str, str] = field(default_factory=dict)

    @property
    def best(self) -> str:
        """The name of the prior of the largest elpd. Whether it is the best beyond noise the verdict says."""
        return next(iter(self.results))

    def difference(self, name: str) -> tuple[float, float]:
        """By how much the best prior's elpd exceeds this one's, and the standard error of that; nats.

        Args:
            name: Of a prior.
        """
        return _difference(self.results[self.best], self.results[name])

    @property
    def tied(self) -> list[str]:
        """Priors that cannot be told from the best: at most 4 nats below, or two standard errors."""
        below = {name: self.difference(name) for name in self.results}
        return [name for name, (nats, error) in below.items() if nats <= max(SMALL, 2 * error)]

    @property
    def table(self) -> "DataFrame":
        """One row a prior, best first.

        Columns: elpd_loo and se, nats; elpd_diff and dse, from the best; p_loo; weight, in a stacked mixture of all;
        k_hat, the worst; refitted, how many latents were left out in earnest; warning.
        """
        import pandas

        weights = stacking_weights(np.stack([result.pointwise for result in self.results.values()], axis=1))
        rows = {}
        for (name, result), weight in zip(self.results.items(), weights, strict=True):
            nats, error = self.difference(name)
            rows[name] = {
                "elpd_loo": result.elpd,
                "se": result.se,
                "elpd_diff": nats,
                "dse": error,
                "p_loo": result.p_loo,
                "weight": weight,
                "k_hat": float(result.k_hat.max()),
                "refitted": int(result.refitted.sum()),
                "warning": "; ".join(note for note in (result.warning, self.warnings.get(name)) if note),
            }
        return pandas.DataFrame.from_dict(rows, orient="index").rename_axis("prior")

    @property
    def verdict(self) -> str:
        """Which prior is preferred, and by how much, in words."""
        best, *tied = self.tied
        if len(self.results) == 1:
            return f"nothing to compare {best} with: {self.results[best]}"
        over = f"over {len(self.results[best].pointwise)} latents"
        next_best = next((f"{n} by {in_nats(*self.difference(n))}" for n in self.results if n not in self.tied), "")
        if not tied:
            verdict = f"{best} preferred over {next_best} {over}"
        else:
            verdict = (
                f"not distinguishable: {' and '.join(self.tied)}, {best} ahead of {tied[0]} by "
                f"{in_nats(*self.difference(tied[0]))} {over}"
            )
            verdict += f"; preferred over {next_best}" if next_best else ""
        doubtful = [name for name, result in self.results.items() if result.warning or self.warnings.get(name)]
        return verdict + (f"; see the warnings of {', '.join(doubtful)} in the table" if doubtful else "")

    def __str__(self) -> str:
        return self.verdict

    def picture(self) -> Any:
        """Each prior's elpd, and its difference from the best, with standard errors; a matplotlib figure."""
        from pyro_ldm.posterior.comparison_picture import picture

        return picture(self)


def compare(results: Mapping[str, Loo]) -> Comparison:
    """Results of :func:`~pyro_ldm.posterior.loo.loo` on the same latents, side by side.

    Args:
        results: By the prior's name.

    Raises:
        ValueError: If there are none, or they are of different latents.

    Example:
        >>> from pyro_ldm.posterior.comparison import compare
        >>> from pyro_ldm.posterior.loo import loo
        >>> z = torch.randn(2000, 2)
        >>> print(compare({"Gaussian": loo(ldm.priors.Gaussian(2), z), "Laplace": loo(ldm.priors.Laplace(2), z)}))
        Gaussian preferred over Laplace by ... +- ... nats over 2000 latents
    """
    if not results:
        raise ValueError("there is nothing to compare: pass results of loo by the prior's name")
    if len({result.latents for result in results.values()}) > 1:
        raise ValueError(f"these results are of different latents: {ENCODERS}")
    return Comparison(dict(sorted(results.items(), key=lambda item: -item[1].elpd)))


def compare_priors(
    z: Tensor | Mapping[str, Tensor],
    priors: Mapping[str, Callable] | None = None,
    *,
    batch: tuple | None = None,
    posterior: Callable[..., Tree] | None = None,
    refit: bool = True,
    max_refits: int = 10,
    seed: int = 0,
    progress: bool = True,
) -> Comparison:
    """Which prior predicts left-out latents best: a posterior of each prior's parameters, and its LOO.

    Latents that an encoder learned under one prior favour that one: to choose a prior, compare on latents of each in
    turn, or of an encoder that was trained without (PCA, say). NUTS takes its time; a variational posterior is several
    times faster and its draws are weighted: ``posterior=partial(svi, autoguide=AutoMultivariateNormal)``.

    Args:
        z: One set of latents, or a dict of them by site.
        priors: Programs by name; with or without parameters. None compares
            :func:`~pyro_ldm.posterior.default_priors.default_priors`, for latents (N, D).
        batch: What the priors are called with; ``(z,)`` by default.
        posterior: ``posterior(prior, z, seed=)`` (with ``batch=`` if there is one); NUTS with 2 chains of 250 + 500
            draws by default.
        refit: Whether the few latents on which importance sampling fails are left out in earnest, by ``posterior``.
        max_refits: At most so many for each prior.
        seed: Of the posteriors.
        progress: Whether to show a bar over the priors.

    Raises:
        ValueError: If there are latents of several encoders, no priors, or latents and a prior do not fit.

    Example:
        >>> from pyro_ldm.posterior.comparison import compare_priors
        >>> z = dist.StudentT(3.0, torch.zeros(2), 1.0).sample((1000,))
        >>> priors = {"Gaussian": ldm.priors.Gaussian(2), "Student-t": ldm.priors.StudentT(2, df=3.0)}
        >>> compare_priors(z, priors, progress=False).best
        'Student-t'
    """
    _one_encoder(z)
    programs = default_priors(z) if priors is None else dict(priors)  # type: ignore[arg-type]
    if not programs:
        raise ValueError("there is no prior to compare: pass some by name, or None for the default ones")
    for name, prior in programs.items():
        if not callable(prior):
            raise TypeError(
                f"prior {name!r} is a {type(prior).__name__}: pass a Pyro program; results of loo go to compare"
            )
    run = _modest_nuts if posterior is None else posterior
    given = {} if batch is None else {"batch": batch}
    results, trees, noted, said = {}, {}, {}, set()
    bar = tqdm(programs.items(), disable=not progress, desc="priors")
    for name, prior in bar:
        bar.set_postfix_str(name)
        with warnings.catch_warnings(record=True) as caught:
            warnings.simplefilter("always", UserWarning)
            if _parameters(prior, z, batch):
                trees[name] = run(prior, z, seed=seed, **given)
            of_posterior = len(caught)
            results[name] = loo(
                prior, z, trees.get(name), batch=batch, refit=run if refit else None, max_refits=max_refits, seed=seed
            )
        texts = [str(warning.message) for warning in caught]
        noted[name] = "; ".join(texts[:of_posterior])  # what loo warns of its result says itself
        for text in texts:
            if text not in said:  # repeated latents, say, are so under every prior
                warnings.warn(f"{name}: {text}", stacklevel=2)
        said.update(texts)
    compared = compare(results)
    return Comparison(compared.results, trees, {name: note for name, note in noted.items() if note})


def _modest_nuts(prior: Callable, z, *, seed: int, batch: tuple | None = None) -> Tree:
    return nuts(prior, z, batch=batch, num_samples=500, warmup_steps=250, num_chains=2, seed=seed, progress=False)


def _one_encoder(z: Any) -> None:
    """Refuses what looks like latents of several encoders."""
    several = isinstance(z, list | tuple) or (
        isinstance(z, Mapping) and not all(isinstance(v, Tensor) for v in z.values())
    )
    if several:
        raise ValueError(f"z holds several sets of latents: {ENCODERS}")


def _parameters(prior: Callable, z, batch: tuple | None) -> list[str]:
    try:
        return list(global_sites(prior, z, batch))
    except ValueError as error:
        if isinstance(z, Mapping) and len(z) > 1:
            raise ValueError(f"{error}. If these are latents of several encoders: {ENCODERS}") from error
        raise


def _difference(best: Loo, other: Loo) -> tuple[float, float]:
    pointwise = best.pointwise - other.pointwise
    return float(pointwise.sum()), float(np.sqrt(len(pointwise)) * pointwise.std(ddof=1))


def in_nats(value: float, error: float) -> str:
    """A difference and its standard error, in words.

    Example:
        >>> from pyro_ldm.posterior.comparison import in_nats
        >>> in_nats(120.3, 14.2), in_nats(1.52, 0.31)
        ('120 +- 14 nats', '1.5 +- 0.3 nats')
    """
    digits = 1 if max(value, error) < 20 else 0
    return f"{value:.{digits}f} +- {error:.{digits}f} nats"
