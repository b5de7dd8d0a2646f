r"""Independent sources, mixed by a random matrix: the world in which linear ICA is right.

.. math:: s_{id} \sim p_d, \qquad x_i = s_i A, \qquad A = U \, diag(1 .. 3) \, V^T
"""

import torch

from pyro_ldm.datasets.data import Data, DataError


def sources(
    distribution: torch.distributions.Distribution | None = None,
    *,
    num_sources: int = 4,
    num: int = 5000,
    seed: int = 0,
) -> Data:
    """Independent Laplace sources mixed by a random matrix of condition number 3 (4 sources; 5000 data).

    Args:
        distribution: Any univariate torch or Pyro distribution on the CPU: one for all sources, of batch shape (), or
            one each, of batch shape (num_sources,). Laplace(0, 1) if None.
        num_sources: Number of sources, and of observed dimensions.
        num: Number of data.
        seed: Seed of the matrix and the sources; the global random state is left as it was.

    Shape:
        x (num, num_sources); truth (num, num_sources); mixing (num_sources, num_sources), x = truth @ mixing.

    Raises:
        DataError: If the distribution is multivariate or its batch shape does not fit num_sources.

    Example:
        >>> from torch.distributions import StudentT
        >>> sources(StudentT(3.0), num_sources=2, num=100)
        Data('sources', 100 x (2,), truth, mixing)
    """
    if num_sources < 1 or num < 2:
        raise DataError(f"sources: {num} data of {num_sources} sources: give at least 2 data and 1 source")
    if distribution is None:
        zero = torch.zeros((), dtype=torch.float64)
        distribution = torch.distributions.Laplace(zero, zero + 1)
    fits = distribution.batch_shape in (torch.Size(), torch.Size([num_sources]))
    if distribution.event_shape or not fits:
        raise DataError(
            f"sources: the distribution has batch shape {tuple(distribution.batch_shape)} and event shape "
            f"{tuple(distribution.event_shape)}: give a univariate one of batch shape () or ({num_sources},)"
        )
    # Torch distributions draw from the global generator only, so it is borrowed and put back.
    with torch.random.fork_rng(devices=[]), torch.no_grad():
        torch.random.default_generator.manual_seed(seed)
        u, v = (torch.linalg.qr(torch.randn(num_sources, num_sources, dtype=torch.float64))[0] for _ in range(2))
        truth = distribution.expand((num_sources,)).sample((num,)).double()
    mixing = u * torch.linspace(1, 3, num_sources, dtype=torch.float64) @ v.T
    return Data(truth @ mixing, truth=truth, mixing=mixing, name="sources")
