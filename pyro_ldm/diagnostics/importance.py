r"""Do the latents cover their prior, and the prior them? The tail of the importance weights between the two."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any, NamedTuple

import numpy as np

from pyro_ldm.diagnostics.arviz.programs import running
from pyro_ldm.diagnostics.classifier import log_ratio
from pyro_ldm.diagnostics.encoded import Encoded
from pyro_ldm.diagnostics.estimates import flattened

GOOD, BAD = 0.5, 0.7
NEARLY_EQUAL = 0.9  # effective share above which weights have no tail worth the name, whatever its index
FEW, MANY = 0.01, 0.2  # so many of the prior's draws where so few of the latents are is a hole


class Tail(NamedTuple):
    """Importance weights from one distribution's rows to another's.

    Attributes:
        k_hat: Their Pareto tail index; minus infinity where all are equal.
        effective_share: Share of the rows that weighting leaves, in (0, 1].
    """

    k_hat: float
    effective_share: float

    def heavier(self, k_hat: float) -> bool:
        """Whether the tail is heavier than so, and matters."""
        return self.k_hat > k_hat and self.effective_share < NEARLY_EQUAL


@dataclass(frozen=True, eq=False)
class Importance:
    """What :func:`importance_khat` found; ``str()`` of it is the verdict.

    Args:
        latents: Weights P / R at rows of R: do the latents cover the prior?
        prior: Weights R / P at draws from P: does the prior cover the latents?
        missed: Share of the prior's draws where 1 % of the latents are, those of least R / P: 0.01 if R is P.
        strayed: Share of the latents where 1 % of the prior's draws are, those of most R / P: likewise.
        num_rows: Rows of the encoder.
        verdict: The finding, in one sentence.
    """

    latents: Tail
    prior: Tail
    missed: float
    strayed: float
    num_rows: int
    verdict: str

    def __str__(self) -> str:
        return self.verdict


def importance_khat(
    prior: Callable,
    guide: Callable | None,
    data: Any,
    *,
    parameters: Any = None,
    views: Callable | None = None,
    classifier: Any = None,
    num_rows: int = 4000,
    seed: int = 0,
) -> Importance:
    r"""Pareto tail index k of the importance weights between prior and pushforward, in both directions.

    .. math:: w_i = P(z_i) / R(z_i), \quad z_i \sim R, \qquad \Pr(w > t) \sim t^{-1/k}

    Below 0.5 the weights have a variance, and what the latents say of the prior can be trusted; above 0.7 the prior has
    mass that (almost) none of the latents cover. The other direction, R / P over draws from the prior, asks for latents
    where the prior has no mass, such as heavier tails: k above 0.7 there. For R = N(0, s^2), s < 1, and P = N(0, 1), k
    is 1 - s^2 in the limit; its estimate, from a tail of few rows, is uncertain by about 0.15 at N = 3000. So the
    verdict is *not covered*, too, where a fifth of the one are where 1 % of the other are; and where the effective
    share is over nine tenths, so that weights are nearly equal, k does not count. Whether the two match where most mass
    is, :func:`~pyro_ldm.diagnostics.bounds.kl_bounds` says.

    The ratio is from a classifier (:func:`~pyro_ldm.diagnostics.classifier.log_ratio`), which is within 0.2 of the k of
    the exact ratio for Gaussians of 1, 2 and 8 dims, on average; kernels overstate k (0.9 where R = P at D = 8), and
    nearest neighbours miss it (0.1 for 0.9).

    Args:
        prior: The assumed latent model.
        guide: The trained encoder as a guide; ``None`` where the data are latents themselves, (N, D) or (N, T, D).
        data: A tensor (N, ...), a tuple of such, or a :class:`pyro_ldm.datasets.Data`. Rows with masked steps are left
            out.
        parameters: Values of the prior's parameters, by site, or a tree with a posterior of them; by default draws from
            the guide, where it samples them.
        views: From x to a tuple of views, as for :func:`pyro_ldm.fit`.
        classifier: A scikit-learn classifier; :func:`~pyro_ldm.diagnostics.classifier.default_classifier` by default.
        num_rows: Rows used at most, drawn at random.
        seed: Of everything random; the global random state is left as it was.

    Shape:
        N rows of data, at least 100, to an :class:`Importance`.

    Raises:
        ValueError: If there are too few rows for a tail, or as for :func:`~pyro_ldm.diagnostics.bounds.kl_bounds`.

    References:
        Vehtari, Simpson, Gelman, Yao and Gabry (2024), Pareto smoothed importance sampling,
        https://arxiv.org/abs/1507.02646.

    Example:
        >>> print(importance_khat(ldm.priors.Gaussian(2), None, 0.5 * torch.randn(2000, 2)))
        not covered: the prior has mass where (almost) no latents are; k-hat ...
    """
    from pyro_ldm.diagnostics.arviz import psis

    with running(*filter(None, (prior, guide)), seed=seed):
        encoded = Encoded(prior, guide, data, parameters=parameters, views=views, num_rows=num_rows)
        if encoded.num_rows < 100:
            raise ValueError(f"the tail of weights takes 100 rows or more, got {encoded.num_rows}: pass more data")
        rows = flattened(encoded.values).numpy()
        ratio = log_ratio(rows, lambda: flattened(encoded.draw()).numpy(), classifier=classifier)
    latents, prior_tail = _tail(-ratio.rows, psis), _tail(ratio.draws, psis)
    missed = float((ratio.draws <= np.quantile(ratio.rows, FEW)).mean())
    strayed = float((ratio.rows >= np.quantile(ratio.draws, 1 - FEW)).mean())
    verdict = _verdict(latents, prior_tail, missed, strayed)
    return Importance(latents, prior_tail, missed, strayed, len(rows), verdict)


def _tail(log_weights: np.ndarray, psis: Callable) -> Tail:
    with np.errstate(over="ignore"):  # of the fit to a tail that is bounded
        smoothed, k_hat = psis(log_weights)
    return Tail(float(k_hat), float(1 / (len(smoothed) * (np.exp(smoothed) ** 2).sum())))


def _verdict(latents: Tail, prior: Tail, missed: float, strayed: float) -> str:
    values = (
        f"k-hat {latents.k_hat:.2f} and {prior.k_hat:.2f} the other way, {missed:.0%} of the prior's draws where 1 % "
    )
    values += f"of the latents are and {strayed:.0%} the other way"
    holes = []
    if latents.heavier(BAD) or missed > MANY:
        holes.append("the prior has mass where (almost) no latents are")
    if prior.heavier(BAD) or strayed > MANY:
        holes.append("there are latents where the prior has (almost) no mass")
    if holes:
        return f"not covered: {' and '.join(holes)}; {values}"
    barely = latents.heavier(GOOD) or prior.heavier(GOOD)
    return f"{'barely ' if barely else ''}covered: {values}"
