r"""Series of unequal lengths, stored end to end, as one array with a mask.

.. math:: x_{it} = X_{o_i + t}, \quad o_i = \sum_{j < i} \ell_j, \qquad m_{it} = [t < \ell_i]
"""

import numpy as np
import torch

from pyro_ldm.datasets.data import Data, DataError


def cut_series(
    x: torch.Tensor | np.ndarray,
    lengths: torch.Tensor | np.ndarray,
    *,
    y: torch.Tensor | np.ndarray | None = None,
    truth: torch.Tensor | np.ndarray | None = None,
    window: int | None = None,
    name: str = "",
) -> Data:
    """Cut an array of series that lie end to end into its series, or these into windows of equal length.

    Whole series are padded with zeros to the longest, and a mask says which steps are there. Windows follow each other
    from the start of each series without overlap; what is left at its end, shorter than a window, is dropped, as is a
    series shorter than one, and no mask is needed.

    Args:
        x: The steps of all series, one series after the other.
        lengths: Number of steps of each series, in the order of x.
        y: Labels, one per series, or one per step.
        truth: True latents, one row per step.
        window: Steps of a window; None keeps series whole.
        name: What error messages and reports call it.

    Shape:
        x (sum of lengths, \\*event) to (N, T, \\*event), N the series or windows and T their longest. y (series,) to
        (N,), or (sum of lengths,) to (N, T); truth (sum of lengths, K) to (N, T, K). mask (N, T), None if all have T.

    Raises:
        DataError: If lengths are not positive whole numbers that sum to the rows of x, y or truth fit neither, no
            series is as long as a window, or fewer than 2 pieces result.

    Example:
        >>> data = cut_series(torch.arange(1.0, 6.0).reshape(5, 1), torch.tensor([2, 3]))
        >>> data.x.squeeze(-1).tolist(), data.mask.tolist()
        ([[1.0, 2.0, 0.0], [3.0, 4.0, 5.0]], [[True, True, False], [True, True, True]])
        >>> cut_series(torch.arange(1.0, 8.0).reshape(7, 1), torch.tensor([3, 4]), window=2).x.squeeze(-1).tolist()
        [[1.0, 2.0], [4.0, 5.0], [6.0, 7.0]]
    """
    x, lengths = torch.as_tensor(x), torch.as_tensor(lengths)
    if x.ndim < 2:
        raise _error(name, f"x has shape {tuple(x.shape)} where (steps, ...) is wanted: use x.reshape(-1, 1)")
    total = len(x)
    counts = lengths.ndim == 1 and not lengths.is_floating_point() and bool((lengths > 0).all())
    if not counts or len(lengths) == 0 or int(lengths.sum()) != total:
        raise _error(name, f"the lengths are no positive whole numbers that sum to {total}, the rows of x: give such")
    if window is not None and not 1 <= window <= int(lengths.max()):
        raise _error(
            name, f"window is {window} and the longest series has {int(lengths.max())} steps: give 1 to that many"
        )
    lengths, num_series = lengths.to("cpu", torch.int64), len(lengths)
    starts = lengths.cumsum(0) - lengths
    origin = torch.arange(num_series)  # the series that each piece is from
    if window is not None:
        pieces = lengths // window
        origin = origin.repeat_interleave(pieces)
        ordinal = torch.arange(len(origin)) - (pieces.cumsum(0) - pieces)[origin]
        starts, lengths = starts[origin] + window * ordinal, torch.full((len(origin),), window)
    step = torch.arange(int(lengths.max()))
    mask = step < lengths[:, None]
    index = torch.where(mask, starts[:, None] + step, 0)

    def cut(values: torch.Tensor) -> torch.Tensor:
        found = values[index.to(values.device)]
        found[~mask.to(values.device)] = 0  # a fresh array, so that this leaves the given one alone
        return found

    def beside(field: str, values: torch.Tensor | np.ndarray | None) -> torch.Tensor | None:
        if values is None:
            return None
        values = torch.as_tensor(values)
        rows = len(torch.atleast_1d(values))
        if field == "y" and rows == num_series:
            return values[origin.to(values.device)]
        if rows != total:
            raise _error(name, f"{field} has {rows} rows where x has {total} steps: give one {field} per step")
        return cut(values)

    padding = None if bool(mask.all()) else mask.to(x.device)
    return Data(cut(x), y=beside("y", y), truth=beside("truth", truth), mask=padding, name=name)


def _error(name: str, message: str) -> DataError:
    return DataError(f"{name}: {message}" if name else message)
