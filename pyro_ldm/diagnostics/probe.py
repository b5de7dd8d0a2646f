r"""Probes: what labels can be read off frozen latents by a simple classifier?"""

from collections.abc import Callable, Iterable, Iterator, Sequence
from dataclasses import dataclass

import numpy as np
import torch

from pyro_ldm.diagnostics.rows import Array, as_rows, check_paired

STRENGTHS = tuple(10.0**power for power in range(-4, 4))
NEIGHBORS = (1, 3, 5, 11, 21, 51, 101, 201)  # odd: no ties between two classes
VALIDATION_SHARE = 0.2

PATIENCE = 2  # the least regularised fits take longest, and are left out where two before them did worse and worse

# (fit z, fit y, query z, settings) to the predicted labels of each setting, one after the other.
Classifier = Callable[[np.ndarray, np.ndarray, np.ndarray, Sequence[float]], Iterable[np.ndarray]]
# Number of rows to fit on, to the settings to choose from, the least flexible first.
Grid = Callable[[int], Sequence[float]]


@dataclass(frozen=True)
class Probe:
    """What a probe scored.

    Args:
        accuracy: On the test rows, in [0, 1]; the classifier was refitted on all training rows.
        validation_accuracy: Of the chosen setting on the held-out fifth of the training rows; optimistic, being the
            best of several.
        setting: What was chosen: scikit-learn's C of the linear probe, the number of neighbours of the kNN probe.
    """

    accuracy: float
    validation_accuracy: float
    setting: float


def linear_probe(train: tuple[Array, Array], test: tuple[Array, Array], *, seed: int = 0) -> Probe:
    r"""Accuracy of logistic regression on frozen latents.

    .. math:: \min_{B, b} \; \tfrac{1}{2} \lVert B \rVert^2 - C \sum_n \log \operatorname{softmax}(z_n B + b)_{y_n}

    Columns are standardised by the mean and scale of the rows fitted on. C is chosen among 1e-4 to 1e3 by the accuracy
    on a stratified fifth of the training rows, the most regularised of the best; larger ones are not tried once two in
    a row have done worse. The test rows are used once, for the score.

    Args:
        train: Latents and class labels to fit on.
        test: Latents and class labels to score on; of other images, series or subjects than those in train.
        seed: Seed of the validation split.

    Shape:
        z (N, D), y (N,), to a :class:`Probe`.

    Raises:
        ValueError: If lengths or D differ, z is not finite, y is not a vector of class labels, or train has fewer than
            two classes or two rows of a class.

    References:
        Alain and Bengio (2017), Understanding intermediate layers using linear classifier probes,
        https://arxiv.org/abs/1610.01644.
        Chen et al. (2020), SimCLR, https://arxiv.org/abs/2002.05709, section 2.3 (the protocol).

    Example:
        >>> z = np.random.default_rng(0).normal(size=(200, 2))
        >>> y = (z[:, 0] > 0).astype(int)
        >>> linear_probe((z[:100], y[:100]), (z[100:], y[100:])).accuracy > 0.9
        True
    """
    return _probe(_logistic, lambda num_fit: STRENGTHS, train, test, seed=seed)


def knn_probe(
    train: tuple[Array, Array], test: tuple[Array, Array], *, metric: str = "euclidean", seed: int = 0
) -> Probe:
    """Accuracy of the majority vote of the nearest training rows.

    Latents are compared as they are, not standardised: the geometry is what is probed. The number of neighbours is
    chosen among 1, 3, 5, 11, 21, 51, 101 and 201 by the accuracy on a stratified fifth of the training rows, the most
    neighbours of the best; the test rows are used once, for the score. Wu et al. weight the votes by similarity; here
    they count the same, and a tie goes to the label that sorts first.

    Args:
        train: Latents and class labels of the neighbours.
        test: Latents and class labels to score on; of other images, series or subjects than those in train.
        metric: "euclidean", or "cosine" for latents whose length means nothing.
        seed: Seed of the validation split.

    Shape:
        z (N, D), y (N,), to a :class:`Probe`.

    Raises:
        ValueError: If the metric is neither; if lengths or D differ, z is not finite, y is not a vector of class
            labels, or train has fewer than two classes or two rows of a class.

    References:
        Wu et al. (2018), Unsupervised feature learning via non-parametric instance discrimination,
        https://arxiv.org/abs/1805.01978, section 3.4.

    Example:
        >>> z = np.random.default_rng(0).normal(size=(200, 2))
        >>> y = (z[:, 0] > 0).astype(int)
        >>> knn_probe((z[:100], y[:100]), (z[100:], y[100:])).accuracy > 0.8
        True
    """
    if metric not in ("euclidean", "cosine"):
        raise ValueError(f'metric {metric!r} is not known: pass "euclidean" or "cosine"')

    def vote(z: np.ndarray, y: np.ndarray, query: np.ndarray, settings: Sequence[float]) -> list[np.ndarray]:
        from sklearn.neighbors import NearestNeighbors

        classes, codes = np.unique(y, return_inverse=True)
        search = NearestNeighbors(n_neighbors=int(max(settings)), metric=metric).fit(z)
        codes = codes[search.kneighbors(query, return_distance=False)]  # one search, nearest first, for every k
        cells = codes + len(classes) * np.arange(len(query))[:, None]
        votes = [np.bincount(cells[:, : int(k)].ravel(), minlength=len(query) * len(classes)) for k in settings]
        return [classes[vote.reshape(len(query), -1).argmax(axis=1)] for vote in votes]

    # Fewer neighbours is the more flexible end, so the grid runs from many to few, as C runs from small to large.
    return _probe(vote, lambda num_fit: [float(k) for k in reversed(NEIGHBORS) if k <= num_fit], train, test, seed=seed)


def _logistic(z: np.ndarray, y: np.ndarray, query: np.ndarray, settings: Sequence[float]) -> Iterator[np.ndarray]:
    from sklearn.linear_model import LogisticRegression
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler().fit(z)
    z, query = scaler.transform(z), scaler.transform(query)
    # Each fit starts from its more regularised neighbour, which is what makes the weak end converge in few steps.
    model = LogisticRegression(max_iter=10_000, warm_start=True)
    for strength in settings:
        yield model.set_params(C=strength).fit(z, y).predict(query)


def _probe(
    classifier: Classifier,
    grid: Grid,
    train: tuple[Array, Array],
    test: tuple[Array, Array],
    *,
    seed: int,
) -> Probe:
    """Choose the first best setting of the grid on a part of train, refit on all of train, score once on test."""
    from sklearn.model_selection import train_test_split

    train_z, train_y = _labelled(train, name="train")
    test_z, test_y = _labelled(test, name="test")
    if train_z.shape[1] != test_z.shape[1]:
        raise ValueError(
            f"train has {train_z.shape[1]} columns and test {test_z.shape[1]}: encode both by the same encoder"
        )
    classes, count = np.unique(train_y, return_counts=True)
    if len(classes) < 2:
        raise ValueError(f"train has one class only, {classes[0]}: pass rows of at least two classes")
    if count.min() < 2:
        raise ValueError(
            f"class {classes[count.argmin()]} has one row in train, which cannot be in both the fit and its "
            "validation: pass at least two rows of every class, or drop it"
        )
    num_validation = max(int(np.ceil(VALIDATION_SHARE * len(train_y))), len(classes))
    fit_z, validation_z, fit_y, validation_y = train_test_split(
        train_z, train_y, test_size=num_validation, stratify=train_y, random_state=seed
    )
    settings = grid(len(fit_y))
    scores: list[float] = []
    for predicted in classifier(fit_z, fit_y, validation_z, settings):
        scores.append(float((predicted == validation_y).mean()))
        if len(scores) > PATIENCE and (np.diff(scores[-PATIENCE - 1 :]) < 0).all():
            break
    best = int(np.argmax(scores))
    (predicted,) = classifier(train_z, train_y, test_z, settings[best : best + 1])
    return Probe(
        accuracy=float((predicted == test_y).mean()),
        validation_accuracy=scores[best],
        setting=float(settings[best]),
    )


def _labelled(pair: tuple[Array, Array], *, name: str) -> tuple[np.ndarray, np.ndarray]:
    z, y = pair
    rows = as_rows(z, name=f"z of {name}")
    labels = y.detach().cpu().numpy() if isinstance(y, torch.Tensor) else np.asarray(y)
    if labels.ndim != 1:
        raise ValueError(
            f"y of {name} must be one class label per row, (N,), got shape {labels.shape}: flatten a column with "
            "reshape(-1), or turn one-hot rows into labels with argmax(-1)"
        )
    check_paired(rows, labels, names=(f"z of {name}", f"y of {name}"))
    if labels.dtype.kind == "f" and not (np.isfinite(labels) & (labels == np.round(labels))).all():
        raise ValueError(
            f"y of {name} must be class labels, got numbers that are not finite and whole: for continuous truth use "
            "affine_r2"
        )
    return rows, labels.astype(np.int64) if labels.dtype.kind == "f" else labels
