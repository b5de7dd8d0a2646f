r"""Collapse: do the latents still differ from row to row, and in how many directions?"""

from collections import Counter
from dataclasses import dataclass

import numpy as np

from pyro_ldm.diagnostics.rows import Array, as_rows

SAME_POINT = 1e-3  # root-mean-square distance from the mean, in units of `scale`, below which all rows are one point
ROUNDING = 1e-6  # the same, in units of the rows' own length: what float32 cannot tell from a constant
DEAD = 1e-4  # variance relative to the largest dimension's: 1 % of its standard deviation
# With too few rows, isotropic Gaussian rows keep on average down to exp(-1/2) = 0.61 of the attainable rank, reached at
# N = D (entropy log m - m / 2n of a random spectrum, Page 1993, https://arxiv.org/abs/gr-qc/9305007). Below a half,
# lack of rows no longer explains it.
COLLAPSED_RANK = 0.5
DUPLICATES = 0.05


@dataclass(frozen=True, eq=False)
class Collapse:
    """What :func:`collapse` measured; ``str()`` of it is the verdict.

    Args:
        effective_rank: Exponential of the covariance spectrum's entropy, in [1, D]; 0 if all rows are equal.
        latent_dim: D, the number of dimensions.
        variance: Per dimension, (D,), in squared units of z, with denominator N - 1.
        spread: Root-mean-square distance of a row from the mean, in units of z.
        duplicate_share: Share of the rows that equal another row exactly, in [0, 1].
        num_dead: Dimensions with a variance below 1e-4 of the largest; all D under complete collapse.
        verdict: The finding and its remedy, in one sentence.
    """

    effective_rank: float
    latent_dim: int
    variance: np.ndarray
    spread: float
    duplicate_share: float
    num_dead: int
    verdict: str

    def __str__(self) -> str:
        return self.verdict


def collapse(z: Array, *, scale: float = 1.0) -> Collapse:
    r"""Whether latents have collapsed, how, and what to do about it.

    .. math:: \text{effective rank} = \exp\Bigl(-\sum_{d} p_d \log p_d\Bigr), \quad
        p_d = \lambda_d \Big/ \sum_{e} \lambda_e

    with :math:`\lambda_d` the eigenvalues of the covariance of z, rows centred: Roy and Vetterli's definition for the
    matrix Cov(z). RankMe (Garrido et al. 2023) takes the singular values of the uncentred z instead, square roots of
    such eigenvalues, so that the numbers do not compare. Scale counts: latents of full rank but unequal variances have
    an effective rank below D. N rows show at most N - 1 directions; pass several times as many rows as dimensions (at
    N = D + 1 = 4 one of seven healthy samples is called collapsed).

    The verdict says *complete collapse* where the spread is below 1e-3 ``scale`` (or 1e-6 of the rows' length, which
    is rounding), *dimensional collapse* where the effective rank is below half of min(D, N - 1), *dead dimensions*
    where any has a variance below 1e-4 of the largest, *duplicates* where over 5 % of the rows repeat another.

    Args:
        z: Latents, one row per sample.
        scale: Standard deviation of the prior, in units of z. Positive.

    Shape:
        z (N, D), N >= 2, to a :class:`Collapse`.

    Raises:
        ValueError: If z is not a matrix, has one row, or is not finite; if scale is not positive.

    References:
        Roy and Vetterli (2007), The effective rank: a measure of effective dimensionality,
        https://ieeexplore.ieee.org/document/7098875.
        Garrido et al. (2023), RankMe, https://arxiv.org/abs/2210.02885.

    Example:
        >>> z = np.random.default_rng(0).normal(size=(2000, 4))
        >>> print(collapse(z))
        not collapsed: effective rank 4.0 of 4
        >>> print(collapse(z[:, :1] * np.ones(4)))
        dimensional collapse: effective rank 1.0 of 4; unless the prior has such ...
    """
    rows = as_rows(z)
    if not 0 < scale < np.inf:
        raise ValueError(f"scale must be positive, got {scale}: pass the prior's standard deviation in units of z")
    num_rows, latent_dim = rows.shape
    centred = rows - rows[0]  # equal rows become exact zeros, which the rounded mean alone does not ensure
    centred -= centred.mean(axis=0)
    variance = (centred**2).sum(axis=0) / (num_rows - 1)
    spread = float(np.sqrt((centred**2).sum(axis=1).mean()))
    length = float(np.sqrt((rows**2).sum(axis=1).mean()))
    complete = spread < SAME_POINT * scale or spread <= ROUNDING * length
    num_dead = latent_dim if complete else int((variance < DEAD * variance.max()).sum())
    effective_rank = _effective_rank(centred)
    # Hashing is linear in N where sorting rows is not; adding zero turns -0.0 into 0.0, equal but of other bytes.
    copies = Counter(row.tobytes() for row in rows + 0.0)
    duplicate_share = sum(count for count in copies.values() if count > 1) / num_rows

    findings, remedies = [], []
    attainable = min(latent_dim, num_rows - 1)
    of = f"{latent_dim}" if attainable == latent_dim else f"the {attainable} that {num_rows} rows can show"
    rank = f"effective rank {effective_rank:.1f} of {of}"
    see_rank = "use an estimator that sees rank (LogDet, or one that whitens), or choose fewer dimensions"
    if complete:
        findings.append(
            f"complete collapse: all rows are (nearly) the same point, spread {spread:.2g}, scale {scale:.2g}"
        )
        remedies.append(
            "train with an entropy estimator in place of Zero, or with stop_gradient and a predictor; "
            "where z is meant to be this small, pass its scale"
        )
    else:
        if effective_rank < COLLAPSED_RANK * attainable:
            findings.append(f"dimensional collapse: {rank}")
            remedies.append(f"unless the prior has such unequal variances itself, {see_rank}")
        elif num_dead:
            findings.append(f"dead dimensions: {num_dead} of {latent_dim} hardly vary, {rank}")
            remedies.append(see_rank)
        if duplicate_share > DUPLICATES:
            findings.append(f"duplicates: {100 * duplicate_share:.0f} % of the rows repeat another row")
            remedies.append("drop repeated data, or, if the data do not repeat, look for a saturated encoder")
    if not findings:
        verdict = f"not collapsed: {rank}"
    else:
        verdict = f"{', and '.join(findings)}; {'; '.join(remedies)}"
    return Collapse(
        effective_rank=effective_rank,
        latent_dim=latent_dim,
        variance=variance,
        spread=spread,
        duplicate_share=duplicate_share,
        num_dead=num_dead,
        verdict=verdict,
    )


def _effective_rank(centred: np.ndarray) -> float:
    """Exponential of the entropy of the normalised covariance eigenvalues; 0 for the zero matrix."""
    largest = np.abs(centred).max()
    if largest == 0:
        return 0.0
    centred = centred / largest  # no underflow of squares; the rank does not depend on scale
    # The smaller of the two Gram matrices has the same nonzero eigenvalues.
    gram = centred.T @ centred if centred.shape[0] >= centred.shape[1] else centred @ centred.T
    share = np.linalg.eigvalsh(gram).clip(min=0)
    share = share[share > 0] / share.sum()
    return float(np.exp(-(share * np.log(share)).sum()))
