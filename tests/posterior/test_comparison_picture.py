"""A prior far behind does not squeeze the others to a point."""

import numpy as np
import pytest

from pyro_ldm.posterior.comparison import compare
from pyro_ldm.posterior.loo import Loo

NUM = 100
SPREAD = np.tile([1.0, -1.0], NUM // 2)


def a_loo(nats, *, error=1.0):
    """So many nats behind, with a standard error of about ``error``."""
    pointwise = -nats / NUM + error / NUM**0.5 * SPREAD
    return Loo(pointwise, 0.0, np.zeros(NUM), np.zeros(NUM, dtype=bool), 0, "the same")


def shown(**behind):
    found = compare({name: a_loo(nats, error=0.0 if not nats else 1.0) for name, nats in behind.items()})
    return found.picture().axes


def numbers(axes):
    return [text.get_text() for text in axes.texts]


def test_the_outlier_is_at_the_edge_with_its_number():
    left, right = shown(best=0.0, near=7.0, middle=17.0, far=4000.0)
    assert numbers(left) == ["-4000 +- 1"] and numbers(right) == ["-4000 +- 2"]
    for axes in (left, right):
        low, high = axes.get_xlim()
        assert -60 < low < -19 and 0 <= high < 10  # the others are to be told apart, whole
        assert [text.get_position()[1] for text in axes.texts] == [3]
    assert left.get_ylim() == (3.5, -0.5)


@pytest.mark.parametrize("behind", [(0.0, 5.0, 17.0), (0.0, 4000.0)])
def test_without_one_all_are_on_the_scale(behind):
    left, right = shown(**{f"prior {i}": nats for i, nats in enumerate(behind)})
    assert numbers(left) == numbers(right) == [] and right.get_xlim()[0] < -max(behind)


def test_several_far_behind():
    _, right = shown(best=0.0, near=5.0, far=300.0, farther=9000.0)
    assert numbers(right) == ["-300 +- 2", "-9000 +- 2"] and right.get_xlim()[0] > -30


def test_each_side_by_its_own_errors():
    """Where elpd itself is too uncertain for an outlier, its difference from the best may be one."""
    noise = 3.0 * SPREAD  # in common: of se 30, and no error of differences
    results = {
        name: Loo(a_loo(nats).pointwise + noise, 0.0, np.zeros(NUM), np.zeros(NUM, dtype=bool), 0, "the same")
        for name, nats in {"best": 0.0, "near": 2.0, "far": 40.0}.items()
    }
    left, right = compare(results).picture().axes
    assert numbers(left) == [] and numbers(right) == ["-40 +- 0"]
    assert left.get_xlim()[0] < -40 - 30


def test_equal_ones_and_one_far_behind():
    _, right = shown(best=0.0, same=0.0, far=50.0)
    low, high = right.get_xlim()
    assert low < 0 < high and numbers(right) == ["-50 +- 2"]
