import math

import numpy as np
import pytest
from sklearn.base import BaseEstimator, ClassifierMixin
from sklearn.neighbors import KNeighborsClassifier
from sklearn.tree import DecisionTreeClassifier

from pyro_ldm.diagnostics.classifier import _halves, default_classifier, log_ratio

RNG = np.random.default_rng(0)


class Exact(ClassifierMixin, BaseEstimator):
    """Log-odds of N(0, 0.7^2) against N(0, 1), given how many rows there are of each."""

    def fit(self, rows, labels):
        self.offset_ = np.log(labels.mean() / (1 - labels.mean()))
        return self

    def decision_function(self, rows):
        return (math.log(1 / 0.7) - 0.5 * rows[:, 0] ** 2 * (1 / 0.49 - 1)) + self.offset_


def test_exact_ratio_gives_the_kl():
    ratio = log_ratio(0.7 * RNG.normal(size=(4000, 1)), lambda: RNG.normal(size=(4000, 1)), classifier=Exact())
    kl = math.log(1 / 0.7) + (0.49 - 1) / 2  # 0.102
    assert ratio.lower == pytest.approx(kl, abs=4 * ratio.standard_error)
    assert ratio.standard_error == pytest.approx(0.52 / math.sqrt(2) / math.sqrt(4000), rel=0.35)  # of the two means
    assert ratio.rows.mean() == pytest.approx(kl, abs=0.03)
    assert len(ratio.rows) == 4000 and ratio.rows.max() <= math.log(1 / 0.7)  # row by row, without the class sizes


def test_a_bad_classifier_still_gives_a_lower_bound():
    # A tree grown to the last row: its plug-in mean is far off, its bound only loose.
    rows = [RNG.normal(size=(500, 2)) for _ in range(10)]
    found = [log_ratio(z, lambda: RNG.normal(size=(500, 2)), classifier=DecisionTreeClassifier()) for z in rows]
    assert np.mean([ratio.lower for ratio in found]) < 0
    assert abs(np.mean([ratio.rows.mean() for ratio in found])) > 1


@pytest.mark.parametrize("dim", [2, 40])
def test_no_difference_is_seen_where_there_is_none(dim):
    ratio = log_ratio(RNG.normal(size=(600, dim)), lambda: RNG.normal(size=(600, dim)))
    assert ratio.lower == pytest.approx(0.0, abs=0.02)


def test_correlation_is_seen():
    shear = np.linalg.cholesky(np.array([[1.0, 0.5], [0.5, 1.0]])).T
    ratio = log_ratio(RNG.normal(size=(2000, 2)) @ shear, lambda: RNG.normal(size=(2000, 2)))
    assert ratio.lower == pytest.approx(-0.5 * math.log(0.75), abs=0.05)


def test_default_is_one_of_scikit_learns():
    assert default_classifier(2).get_params()["cv"] == 3


def test_errors():
    with pytest.raises(ValueError, match="needs 20 rows or more, got 19"):
        log_ratio(np.zeros((19, 1)), lambda: np.zeros((19, 1)))


def test_copies_of_a_row_are_in_one_half():
    # In both halves, the classifier of one would know the rows of the other: of a nearest neighbour all is certain.
    rows = RNG.normal(size=(100, 2)).repeat(3, axis=0)[RNG.permutation(300)]
    nearest = KNeighborsClassifier(n_neighbors=1)
    copied = log_ratio(rows, lambda: RNG.normal(size=(300, 2)), classifier=nearest)
    assert copied.lower < 0 and copied.rows.mean() < 5
    sizes = np.unique(rows, axis=0, return_inverse=True)[1].ravel()
    for row in range(100):
        assert np.ptp(_halves(rows)[sizes == row]) == 0
    assert _halves(rows).sum() == 150
    assert _halves(np.arange(5.0)[::-1, None]).tolist() == [0, 1, 0, 1, 0]
