r"""The log-ratio of two densities from a classifier that tells their rows apart, and the bound on KL that it gives."""

from collections.abc import Callable
from typing import Any, NamedTuple

import numpy as np

LARGEST = 20.0  # log-ratios beyond are cut off: any function gives a bound, and a bounded one a stable bound
EVALUATED = 2000  # fresh draws from the prior, at least, for each of the two means of a bound
INTERACTIONS = 32  # most coordinates whose products are features: more would outnumber the rows


class Ratio(NamedTuple):
    r"""What :func:`log_ratio` found.

    Attributes:
        rows: :math:`\log R(z_i) / P(z_i)` at each row, by a classifier that has not seen it, (N,), nats.
        draws: The same at fresh draws from P, (M,), nats.
        lower: Lower bound on KL(R || P), in expectation, nats.
        standard_error: Of the bound, nats.
    """

    rows: np.ndarray
    draws: np.ndarray
    lower: float
    standard_error: float


def log_ratio(rows: np.ndarray, draw: Callable[[], np.ndarray], *, classifier: Any = None) -> Ratio:
    r"""Log-ratio :math:`T = \log R / P` by a classifier between rows of R and draws from P, cross-fitted on two halves.

    .. math:: \mathrm{KL}(R \,\|\, P) \ge \mathbb{E}_R[T] - \log a - \tfrac1a \mathbb{E}_P[e^T] + 1
        \quad \text{for any } T, a

    The classifier of one half scores the other half; a is the mean of :math:`e^T` over draws of its own, which leaves
    the bound true in expectation. (Donsker and Varadhan's :math:`\mathbb{E}_R[T] - \log \mathbb{E}_P[e^T]`, its maximum
    over a, is not one once the mean within the logarithm is of a sample.)

    Args:
        rows: Rows of R.
        draw: Gives as many fresh rows of P each time.
        classifier: A scikit-learn classifier with ``decision_function`` or ``predict_proba``, unfitted;
            :func:`default_classifier` by default.

    Shape:
        rows (N, D), N >= 20, to a :class:`Ratio`.

    Raises:
        ValueError: If there are fewer than 20 rows.

    References:
        Sugiyama, Suzuki and Kanamori (2012), Density Ratio Estimation in Machine Learning, chapter 4.
        Poole et al. (2019), On variational bounds of mutual information, eq. 8. https://arxiv.org/abs/1905.06922

    Example:
        >>> rng = np.random.default_rng(0)
        >>> ratio = log_ratio(0.7 * rng.normal(size=(2000, 2)), lambda: rng.normal(size=(2000, 2)))
        >>> bool(abs(ratio.lower - 0.203) < 0.06)            # KL = 2 (log(1 / 0.7) - (1 - 0.49) / 2) = 0.203
        True
    """
    from sklearn.base import clone
    from threadpoolctl import threadpool_limits

    if len(rows) < 20:
        raise ValueError(f"a classifier needs 20 rows or more, got {len(rows)}: encode more data")
    model = default_classifier(rows.shape[1]) if classifier is None else classifier
    halves = _halves(rows)
    found, scores, draws, variance = np.empty(len(rows)), [], [], []
    for half in (0, 1):
        seen, unseen = rows[halves != half], rows[halves == half]
        others = draw()
        labels = np.repeat([1, 0], [len(seen), len(others)])
        with threadpool_limits(1, user_api="openmp"):  # boosted trees of so few rows only wait for one another
            fitted = clone(model).fit(np.concatenate([seen, others]), labels)
        offset = np.log(len(others) / len(seen))

        def score(z: np.ndarray, fitted: Any = fitted, offset: float = offset) -> np.ndarray:
            return (_logit(fitted, z) + offset).clip(-LARGEST, LARGEST)

        repeats = -(-EVALUATED // len(rows))
        log_a = np.log(np.exp(score(np.concatenate([draw() for _ in range(repeats)]))).mean())
        found[halves == half] = score(unseen)
        draws.append(score(np.concatenate([draw() for _ in range(repeats)])))
        share = np.exp(draws[-1] - log_a)
        scores.append(found[halves == half].mean() - log_a - share.mean() + 1)
        variance.append(found[halves == half].var() / len(unseen) + share.var() / len(share))
    return Ratio(found, np.concatenate(draws), float(np.mean(scores)), float(np.sqrt(np.mean(variance) / 2)))


def default_classifier(dim: int) -> Any:
    """A stack of logistic regressions and boosted trees, which shrinks to no difference where there is none to be seen.

    The regressions see squares, products, moduli and logarithms: scale, correlation and heavy tails. The trees see the
    rest, in few dimensions.

    Args:
        dim: D; above 32, products are left out.
    """
    from sklearn.ensemble import HistGradientBoostingClassifier, StackingClassifier
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline, make_union
    from sklearn.preprocessing import FunctionTransformer, PolynomialFeatures, StandardScaler

    def regression(strength: float) -> Any:
        powers: Any = PolynomialFeatures(2, include_bias=False)
        if dim > INTERACTIONS:
            powers = make_union("passthrough", FunctionTransformer(np.square))
        features = make_union(powers, FunctionTransformer(np.abs), FunctionTransformer(_log_square))
        return make_pipeline(
            StandardScaler(), features, StandardScaler(), LogisticRegression(C=strength, max_iter=1000)
        )

    trees = HistGradientBoostingClassifier(max_iter=300, learning_rate=0.05, max_leaf_nodes=8, random_state=0)
    trees.set_params(early_stopping=True)
    parts = [("weak", regression(0.003)), ("strong", regression(10.0)), ("trees", trees)]
    return StackingClassifier(parts, LogisticRegression(), cv=3, stack_method="decision_function")


def _halves(rows: np.ndarray) -> np.ndarray:
    """Which half each row is of, 0 or 1: in turn, but copies of a row in one half, or the classifier knows them."""
    _, first, copy_of = np.unique(rows, axis=0, return_index=True, return_inverse=True)
    order = first.argsort().argsort()  # callers pass rows in random order or independent ones
    return order[copy_of.ravel()] % 2


def _log_square(z: np.ndarray) -> np.ndarray:
    return np.log1p(z**2)


def _logit(fitted: Any, z: np.ndarray) -> np.ndarray:
    """Log-odds of R at each row."""
    if hasattr(fitted, "decision_function"):
        return fitted.decision_function(z)
    share = fitted.predict_proba(z)[:, 1].clip(1e-9, 1 - 1e-9)
    return np.log(share) - np.log1p(-share)
