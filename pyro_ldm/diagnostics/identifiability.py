r"""Identifiability: are the true latents recovered, up to what the theory leaves open?"""

from dataclasses import dataclass

import numpy as np

from pyro_ldm.diagnostics.rows import Array, as_rows, check_varies
from pyro_ldm.diagnostics.series import paired_series


@dataclass(frozen=True, eq=False)
class MCC:
    """What :func:`mcc` found; ``signs * z[:, permutation]`` estimates the true latents, up to scale.

    Args:
        score: Mean of ``correlations``, in [0, 1].
        permutation: For each true coordinate the matched column of z, (K,), integers.
        signs: Sign of each matched correlation, (K,), 1.0 or -1.0.
        correlations: Absolute correlation of each matched pair, (K,).
    """

    score: float
    permutation: np.ndarray
    signs: np.ndarray
    correlations: np.ndarray


def amari_distance(unmixing: Array, mixing: Array) -> float:
    r"""Distance of an estimated unmixing matrix from the true one, blind to order, sign and scale of the sources.

    .. math:: \frac{1}{2D(D-1)} \Bigl[
        \sum_i \Bigl( \frac{\sum_j |p_{ij}|}{\max_j |p_{ij}|} - 1 \Bigr)
        + \sum_j \Bigl( \frac{\sum_i |p_{ij}|}{\max_i |p_{ij}|} - 1 \Bigr) \Bigr], \qquad P = W A

    0 if P = W A is a permutation of a diagonal matrix, 1 if all its entries have the same size. The paper's sum lies in
    [0, 2D(D-1)]; it is divided by that here. For D = 1 the distance is 0.

    The matrices act on columns, x = A s and s = W x, as scikit-learn's ``mixing_`` and ``components_``; transpose
    matrices that act on rows.

    Args:
        unmixing: Estimated W.
        mixing: True A.

    Shape:
        unmixing (D, M) and mixing (M, D) to a number in [0, 1].

    Raises:
        ValueError: If the shapes do not fit, an entry is not finite, or W A has a row or column of zeros.

    References:
        Amari, Cichocki and Yang (1996), A new learning algorithm for blind signal separation,
        https://papers.nips.cc/paper/1115-a-new-learning-algorithm-for-blind-signal-separation.

    Example:
        >>> mixing = np.array([[1.0, 2.0], [3.0, 4.0]])
        >>> unmixing = np.linalg.inv(mixing)
        >>> round(amari_distance(-5 * unmixing[::-1], mixing), 6)      # other order, other scale: still perfect
        0.0
        >>> round(amari_distance(np.array([[1.0, 1.0], [1.0, -1.0]]), np.eye(2)), 6)
        1.0
    """
    left = as_rows(unmixing, name="unmixing", min_rows=1)
    right = as_rows(mixing, name="mixing", min_rows=1)
    if left.shape != right.T.shape:
        raise ValueError(
            f"unmixing {left.shape} and mixing {right.shape} must have shapes (D, M) and (M, D): transpose matrices "
            "that act on rows"
        )
    product = np.abs(left @ right)
    row_max, column_max = product.max(axis=1), product.max(axis=0)
    if not (row_max.all() and column_max.all()):
        raise ValueError(
            "unmixing @ mixing has a row or column of zeros, so a source is lost: pass matrices of full rank"
        )
    dim = len(product)
    if dim == 1:
        return 0.0
    excess = (product / row_max[:, None]).sum() + (product / column_max).sum() - 2 * dim
    return float(np.clip(excess / (2 * dim * (dim - 1)), 0.0, 1.0))


def mcc(z: Array, truth: Array, *, mask: Array | None = None, spearman: bool = False) -> MCC:
    r"""Mean correlation coefficient: are the true latents recovered one by one?

    .. math:: \max_{\pi} \; \frac{1}{K} \sum_{k=1}^{K} \bigl| \operatorname{corr}(z_{\pi(k)}, s_k) \bigr|

    over one-to-one matchings :math:`\pi` of true coordinates to columns of z. 1 is recovery up to order, sign and scale
    (Spearman: up to order and a monotone map of each coordinate). Columns of z that are left over do not count; a
    constant column correlates 0 with everything. The best of many chance correlations is not 0: the score of unrelated
    latents is of the order of sqrt(2 log(D) / N). The steps of all series are pooled; slow series have fewer
    independent steps than N T, so that chance scores more.

    Args:
        z: Estimated latents.
        truth: True latents of the same samples or steps.
        mask: Boolean, True where a row or step counts; the values of the others may be NaN.
        spearman: Whether to correlate ranks in place of values.

    Shape:
        z (N, D) and truth (N, K), or series z (N, T, D) and truth (N, T, K), with mask (N,) or (N, T); D >= K and
        three rows or more; to an :class:`MCC`.

    Raises:
        ValueError: If the shapes do not fit, values are not finite, fewer than 3 rows count (two rows always correlate
            perfectly), z has fewer columns than truth, or a coordinate of truth is constant.

    References:
        Hyvärinen and Morioka (2016), https://arxiv.org/abs/1605.06336 (matching by correlation).
        Khemakhem et al. (2020), ICE-BeeM, https://arxiv.org/abs/2002.11537 (this is their strong MCC; the weak one
        first aligns z linearly).

    Example:
        >>> truth = np.random.default_rng(0).normal(size=(500, 2))
        >>> found = mcc(np.column_stack([truth[:, 1], -3 * truth[:, 0]]), truth)
        >>> round(found.score, 6), found.permutation.tolist(), found.signs.tolist()
        (1.0, [1, 0], [-1.0, 1.0])
    """
    from scipy.optimize import linear_sum_assignment
    from scipy.stats import rankdata

    z_series, truth_series, keep = paired_series(z, truth, mask)
    z_rows, truth_rows = as_rows(z_series[keep], min_rows=3), as_rows(truth_series[keep], name="truth", min_rows=3)
    if z_rows.shape[1] < truth_rows.shape[1]:
        raise ValueError(
            f"z has {z_rows.shape[1]} columns for the {truth_rows.shape[1]} of truth, so that they cannot be matched "
            "one to one: pass the columns of truth that z should recover"
        )
    check_varies(truth_rows)
    if spearman:
        z_rows, truth_rows = rankdata(z_rows, axis=0), rankdata(truth_rows, axis=0)
    correlation = _unit_columns(truth_rows).T @ _unit_columns(z_rows)
    coordinates, permutation = linear_sum_assignment(np.abs(correlation), maximize=True)
    matched = correlation[coordinates, permutation]
    absolute = np.abs(matched).clip(max=1.0)
    return MCC(
        score=float(absolute.mean()),
        permutation=permutation,
        signs=np.where(matched < 0, -1.0, 1.0),
        correlations=absolute,
    )


def _unit_columns(rows: np.ndarray) -> np.ndarray:
    """Columns centred and of length one; constant columns become zero."""
    # Divided by the largest entry, a constant column is all ones, whose mean is exact, and no square overflows.
    centred = rows / np.abs(rows).max(axis=0).clip(min=np.finfo(np.float64).tiny)
    centred -= centred.mean(axis=0)
    return centred / np.linalg.norm(centred, axis=0).clip(min=np.finfo(np.float64).tiny)
