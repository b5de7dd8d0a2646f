r"""One step of the classical Runge-Kutta scheme.

.. math:: y_{t+1} = y_t + \tfrac{h}{6} (k_1 + 2 k_2 + 2 k_3 + k_4)
"""

from collections.abc import Callable

import numpy as np


def rk4_step(flow: Callable[[np.ndarray], np.ndarray], state: np.ndarray, dt: float) -> np.ndarray:
    """The state after dt under y' = flow(y), for all series at once; the error of a step is of order dt^5.

    Args:
        flow: From states to their rates of change.
        state: The states.
        dt: Time step, in the flow's unit of time.

    Shape:
        (..., D) to (..., D).

    Example:
        >>> import numpy as np
        >>> rk4_step(lambda y: -y, np.array([1.0]), 0.1).round(6).item()  # exp(-0.1) is 0.904837
        0.904838
    """
    k1 = flow(state)
    k2 = flow(state + dt / 2 * k1)
    k3 = flow(state + dt / 2 * k2)
    k4 = flow(state + dt * k3)
    return state + dt / 6 * (k1 + 2 * k2 + 2 * k3 + k4)
