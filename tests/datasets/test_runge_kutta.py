import math

import numpy as np
import pytest

from pyro_ldm.datasets.runge_kutta import rk4_step


def test_a_rotation_and_the_order_of_its_error():
    def turned(pieces):
        state = np.array([[1.0, 0.0], [0.0, 2.0]])
        for _ in range(pieces):
            state = rk4_step(lambda y: np.stack([-y[:, 1], y[:, 0]], -1), state, 1 / pieces)
        return state

    exact = np.array([[math.cos(1), math.sin(1)], [-2 * math.sin(1), 2 * math.cos(1)]])
    coarse, fine = (np.abs(turned(pieces) - exact).max() for pieces in (5, 10))
    assert fine < 2e-6
    assert coarse / fine == pytest.approx(2**4, rel=0.1)
