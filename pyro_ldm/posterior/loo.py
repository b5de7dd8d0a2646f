r"""Leave-one-out cross-validation of a prior on latents: how well it predicts each from all others.

.. math:: \mathrm{elpd} = \sum_{i=1}^{N} \log P(z_i \mid z_{-i}), \qquad
    P(z_i \mid z_{-i}) = \int P(z_i \mid \theta) \, p(\theta \mid z_{-i}) \, d\theta
"""

import hashlib
import warnings
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from functools import partial

import numpy as np
import torch
from pyro import poutine
from torch import Tensor, nn

from pyro_ldm.diagnostics.arviz import Tree, draws, has_group, psis
from pyro_ldm.diagnostics.arviz.psis import MIN_WEIGHTS
from pyro_ldm.posterior.given import rows_of
from pyro_ldm.posterior.parameters import posterior_draws
from pyro_ldm.posterior.program import global_sites, log_likelihood
from pyro_ldm.posterior.sites import as_sites

K_HAT = 0.7  # above which Pareto-smoothed importance sampling is not to be trusted (Vehtari et al. 2024)
AT_ONCE = 2**26  # numbers of the pointwise log-likelihood: half a gigabyte
REPEATED = 0.01  # share of the rows


@dataclass(frozen=True, eq=False)
class Loo:
    """What :func:`loo` found; ``str()`` of it is a sentence.

    Args:
        pointwise: Log-density of each datum's latents given all others, (N,), nats; elpd is their sum.
        p_loo: Effective number of parameters: how much better all latents together predict themselves, nats.
        k_hat: Pareto shape of each datum's importance weights, (N,), or, where it was left out in earnest, of its
            densities at the draws, whose average is taken; 0 where nothing is estimated. Above 0.7 not to be trusted.
        refitted: Which data were left out in earnest, (N,).
        num_learned: Learned numbers of the prior, held fixed: the elpd takes no account of what they have adapted to.
        latents: A fingerprint of the latents. Results of different ones do not compare.
    """

    pointwise: np.ndarray
    p_loo: float
    k_hat: np.ndarray
    refitted: np.ndarray
    num_learned: int
    latents: str

    @property
    def elpd(self) -> float:
        """Expected log predictive density of as many new latents, nats."""
        return float(self.pointwise.sum())

    @property
    def se(self) -> float:
        """Its standard error over the latents, nats."""
        return float(np.sqrt(len(self.pointwise)) * self.pointwise.std(ddof=1))

    @property
    def warning(self) -> str:
        """What to know before this is relied upon; empty if nothing."""
        notes = []
        for which, off in ((~self.refitted, "too high"), (self.refitted, "too low")):
            num = int(((self.k_hat > K_HAT) & which).sum())
            if num:
                kind = "refitted latents" if off == "too low" else "latents"
                notes.append(f"k-hat above {K_HAT} for {num} {kind}, whose densities are likely {off}")
        if self.num_learned:
            notes.append(f"{self.num_learned} learned numbers are held fixed and not counted: elpd is too high")
        return "; ".join(notes)

    def __str__(self) -> str:
        refitted = f", {self.refitted.sum()} refitted" if self.refitted.any() else ""
        found = (
            f"elpd {self.elpd:.1f} +- {self.se:.1f} nats over {len(self.pointwise)} latents "
            f"(p_loo {self.p_loo:.1f}, worst k-hat {self.k_hat.max():.2f}{refitted})"
        )
        return f"{found}; {self.warning}" if self.warning else found


def loo(
    prior: Callable,
    z: Tensor | Mapping[str, Tensor],
    tree: Tree | None = None,
    *,
    batch: tuple | None = None,
    refit: Callable[..., Tree] | None = None,
    max_refits: int = 10,
    seed: int = 0,
) -> Loo:
    r"""Pareto-smoothed importance-sampling LOO, exact for the few latents where it fails.

    .. math:: \log P(z_i \mid z_{-i}) \approx \log \frac{\sum_s w_{is} P(z_i \mid \theta_s)}{\sum_s w_{is}}, \qquad
        w_{is} \propto \frac{1}{P(z_i \mid \theta_s)} \text{, its tail smoothed}

    Data are left out whole: both views, or all steps of a series. Of a prior without parameters elpd is the plain sum
    of log-densities, exact. Draws of an approximation, such as :func:`~pyro_ldm.posterior.svi.svi`, count by their
    importance weights, ``log_weight`` in the tree's sample_stats. Latents that an encoder learned under one prior
    favour that one.

    Args:
        prior: The assumed latent model. Its learned parameters are held fixed, and that is not free: see ``warning``.
        z: Latents, or a dict of them by site.
        tree: With the posterior's draws given these latents. None for a prior without parameters.
        batch: What the prior is called with; ``(z,)`` by default.
        refit: ``posterior(prior, z, seed=)`` (with ``batch=`` if there is one), such as
            :func:`~pyro_ldm.posterior.nuts.nuts`, called without each latent whose k-hat is above 0.7. None relies on
            importance sampling alone.
        max_refits: At most so many, those of the largest k-hat.
        seed: Of the refits.

    Shape:
        z (N, ...), N >= 2. Draws are thinned where S N would exceed half a gigabyte.

    Raises:
        ValueError: If latents are bad or do not fit the prior, a prior with parameters has no tree or one of other
            parameters, or a log-density is not finite.

    Warns:
        UserWarning: If latents remain whose k-hat is above 0.7, or over 1 % of the rows repeat another.

    References:
        Vehtari, Gelman and Gabry (2017), Practical Bayesian model evaluation using leave-one-out cross-validation and
        WAIC, https://arxiv.org/abs/1507.04544; Vehtari et al. (2024), Pareto smoothed importance sampling,
        https://arxiv.org/abs/1507.02646; Magnusson et al. (2019), Bayesian leave-one-out cross-validation for large
        data, https://arxiv.org/abs/1904.10679 (weights of approximate posteriors).

    Example:
        >>> from pyro_ldm.posterior.loo import loo
        >>> z = torch.randn(1000, 2)
        >>> print(loo(ldm.priors.Gaussian(2), z))
        elpd -28... +- 3... nats over 1000 latents (p_loo 0.0, worst k-hat 0.00)
        >>> loo(ldm.priors.Laplace(2), z).elpd < loo(ldm.priors.Gaussian(2), z).elpd
        True
    """
    from scipy.special import logsumexp

    if max_refits < 0:
        raise ValueError(f"max_refits is a number of latents, got {max_refits}: pass 0 for none, or refit=None")
    sites = as_sites(z)
    names = list(global_sites(prior, z, batch))
    num = len(next(iter(sites.values())))
    _warn_of_repeats(sites)
    module = poutine.unwrap(prior)
    learned = sum(p.numel() for p in module.parameters() if p.requires_grad) if isinstance(module, nn.Module) else 0
    finish = partial(Loo, num_learned=learned, latents=fingerprint(sites))
    if not names:
        pointwise = _pointwise(prior, z, {}, batch)[0]
        nothing = np.zeros(num)
        return finish(pointwise=pointwise, p_loo=0.0, k_hat=nothing, refitted=nothing > 0)
    if tree is None:
        raise ValueError(f"the prior has parameters {names}: pass the tree of their posterior, such as nuts(prior, z)")
    likelihood, weights = _likelihood(prior, z, tree, names, batch)
    log_weights, k_hat = psis((weights[:, None] - likelihood).T)
    k_hat = np.where(np.isneginf(k_hat), 0.0, k_hat)  # weights that are all equal
    pointwise = logsumexp(likelihood.T + log_weights, axis=-1)
    within = logsumexp(likelihood + weights[:, None], axis=0) - logsumexp(weights)
    refitted = np.zeros(num, dtype=bool)
    failing = np.flatnonzero(k_hat > K_HAT)
    coarse = float(psis(weights)[1]) if np.ptp(weights) else 0.0  # draws of the posterior itself weigh the same
    if refit is not None and coarse <= K_HAT:
        for row in failing[np.argsort(-k_hat[failing])][:max_refits]:
            others = torch.arange(num)[torch.arange(num) != int(row)]
            rest = dict(zip(sites, rows_of(tuple(sites.values()), others), strict=True))
            given = {} if batch is None else {"batch": rows_of(batch, others)}
            without = refit(prior, rest if isinstance(z, Mapping) else rest["z"], seed=seed, **given)
            left_out, weights = _likelihood(prior, z, without, names, batch)
            densities = left_out[:, row] + weights
            pointwise[row] = logsumexp(densities) - logsumexp(weights)
            refitted[row], k_hat[row] = True, max(0.0, psis(densities)[1])  # the average may hang on few draws, too
    unreliable = int(((k_hat > K_HAT) & ~refitted).sum())
    if unreliable:
        if coarse > K_HAT:
            remedy = (
                f"the tree's approximation has a k-hat of {coarse:.2f} itself: draw by NUTS, or from a richer guide"
            )
        elif refit is None:
            remedy = "pass refit=, the function that made the tree, to leave them out in earnest"
        else:
            remedy = f"pass max_refits={len(failing)} to leave all out in earnest, or a prior with heavier tails"
        warnings.warn(
            f"k-hat is above {K_HAT} for {unreliable} of {num} latents, up to {k_hat[~refitted].max():.2f}, and their "
            f"densities are likely too high; {remedy}",
            stacklevel=2,
        )
    return finish(pointwise=pointwise, p_loo=float((within - pointwise).sum()), k_hat=k_hat, refitted=refitted)


def fingerprint(sites: Mapping[str, Tensor]) -> str:
    """A hash of latents by site: of their values in float64, whatever their device and dtype.

    Args:
        sites: Latents by site.
    """
    digest = hashlib.sha256()
    for name, values in sorted(sites.items()):
        digest.update(f"{name} {tuple(values.shape)}".encode())
        digest.update((values.detach().cpu().double() + 0.0).contiguous().numpy().tobytes())  # no -0.0
    return digest.hexdigest()


def _pointwise(prior: Callable, z, parameters: dict[str, Tensor], batch: tuple | None) -> np.ndarray:
    """Log-likelihood (S, N), checked."""
    values = log_likelihood(prior, z, parameters, batch=batch).cpu().double().numpy()
    bad = np.flatnonzero(~np.isfinite(values).all(axis=0))
    if len(bad):
        raise ValueError(
            f"the log-density of {len(bad)} latents is not finite, first of row {bad[0]}: they are outside the prior's "
            "support at some draw; use a prior that has density everywhere, or drop the rows"
        )
    return values


def _likelihood(prior: Callable, z, tree: Tree, names: list[str], batch: tuple | None) -> tuple[np.ndarray, np.ndarray]:
    """Log-likelihood (S, N) at draws of the posterior, thinned evenly, and the draws' log-weights (S,)."""
    drawn = posterior_draws(tree, names)
    total, num = len(drawn[names[0]]), len(z if torch.is_tensor(z) else next(iter(z.values())))
    if total < MIN_WEIGHTS:
        raise ValueError(
            f"the tree has {total} draws, and LOO weighs at least {MIN_WEIGHTS}: draw more, some hundreds for reliable "
            "tails"
        )
    most = min(total, max(MIN_WEIGHTS, AT_ONCE // num))
    every = torch.arange(most) * total // most
    stats = draws(tree, "sample_stats") if has_group(tree, "sample_stats") else {}
    weights = stats.get("log_weight", torch.zeros(total))[every]
    likelihood = _pointwise(prior, z, {name: values[every] for name, values in drawn.items()}, batch)
    return likelihood, weights.double().numpy()


def _warn_of_repeats(sites: Mapping[str, Tensor]) -> None:
    rows = torch.cat([values.flatten(1).double().cpu() for values in sites.values()], 1)
    _, counts = torch.unique(rows, dim=0, return_counts=True)
    repeated = int(counts[counts > 1].sum())
    if repeated > REPEATED * len(rows):
        warnings.warn(
            f"{repeated} of {len(rows)} latents repeat another, and LOO takes them for independent: each is predicted "
            "from its copies, and standard errors are too small; drop repeated data",
            stacklevel=3,
        )
