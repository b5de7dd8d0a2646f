"""Latents as the diagnostics read them: finite float64 rows of independent samples."""

from typing import TypeAlias

import numpy as np
import torch

Array: TypeAlias = np.ndarray | torch.Tensor


def as_array(values: Array | float) -> np.ndarray:
    """Array, tensor of any device and dtype, or number as a float64 array of the same shape; NaN is let through.

    Args:
        values: The numbers.
    """
    if isinstance(values, torch.Tensor):
        values = values.detach().cpu().double().numpy()  # on the CPU first: not every device has float64
    return np.asarray(values, dtype=np.float64)


def as_rows(values: Array, *, name: str = "z", min_rows: int = 2) -> np.ndarray:
    """Array or tensor, of any device and dtype, as a finite float64 matrix.

    Args:
        values: Rows of samples.
        name: What the caller calls them, for the message.
        min_rows: Fewest rows that the caller's measure is defined for.

    Shape:
        values (N, D), N >= min_rows, D >= 1, to (N, D), in the units of values.

    Raises:
        ValueError: If values is not a matrix, has too few rows or no columns, or is not finite.
    """
    rows = as_array(values)
    if rows.ndim != 2:
        raise ValueError(
            f"{name} must be a matrix of rows, (N, D), got shape {rows.shape}: flatten views or time steps into rows "
            f"with reshape(-1, D), or make one coordinate a column with reshape(-1, 1)"
        )
    if rows.shape[1] == 0:
        raise ValueError(f"{name} has no columns, shape {rows.shape}: pass at least one coordinate")
    if len(rows) < min_rows:
        raise ValueError(f"{name} needs at least {min_rows} rows, got {len(rows)}: pass more samples")
    finite = np.isfinite(rows).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{name} has NaN or infinite values in {(~finite).sum()} of {len(rows)} rows: drop those rows, or find "
            "where the encoder diverged"
        )
    return rows


def check_paired(first: np.ndarray, second: np.ndarray, *, names: tuple[str, str]) -> None:
    """Both describe the same samples, row by row.

    Args:
        first: N rows or labels.
        second: N rows or labels.
        names: What the caller calls them, for the message.

    Raises:
        ValueError: If their lengths differ.
    """
    if len(first) != len(second):
        raise ValueError(
            f"{names[0]} has {len(first)} rows and {names[1]} has {len(second)}: pass the same samples, in the same "
            "order, to both"
        )


def check_varies(truth: np.ndarray) -> None:
    """Every coordinate of truth takes more than one value.

    Args:
        truth: True latents to score against, (N, K).

    Raises:
        ValueError: If a coordinate is constant.
    """
    constant = np.flatnonzero(np.ptp(truth, axis=0) == 0)
    if len(constant):
        raise ValueError(
            f"truth is constant in coordinate {', '.join(map(str, constant))} over {len(truth)} rows, which no map can "
            "be scored on: drop it, or pass more rows"
        )
