"""Series as the diagnostics read them: float64 arrays, and a mask of the steps that count."""

import numpy as np
import torch

from pyro_ldm.diagnostics.rows import Array, as_array, as_rows, check_paired


def as_mask(mask: Array | None, shape: tuple[int, ...]) -> np.ndarray:
    """Which steps count, as a boolean array; without a mask, all.

    Args:
        mask: Boolean, True where a step counts.
        shape: The shape that it must have, of the values without their last axis.

    Raises:
        ValueError: If mask is not boolean, has another shape, or counts nothing.
    """
    if mask is None:
        return np.ones(shape, dtype=bool)
    keep = mask.detach().cpu().numpy() if isinstance(mask, torch.Tensor) else np.asarray(mask)
    if keep.dtype != bool:
        raise ValueError(f"mask must be boolean, True where a step counts, got {keep.dtype}: pass mask == 1")
    if keep.shape != shape:
        raise ValueError(
            f"mask has shape {keep.shape} and the steps {shape}: pass one entry per step, for all coordinates together"
        )
    if not keep.any():
        raise ValueError("mask is False everywhere, so no step counts: pass True where a step was observed")
    return keep


def counted(values: np.ndarray, keep: np.ndarray, *, name: str) -> np.ndarray:
    """The values of the steps that count, in order; those of the others may be NaN.

    Args:
        values: Numbers, (..., K) or (...).
        keep: Boolean (...).
        name: What the caller calls the values, for the message.

    Raises:
        ValueError: If one of them is not finite.
    """
    rows = values[keep]
    finite = np.isfinite(rows.reshape(len(rows), -1)).all(axis=1)
    if not finite.all():
        raise ValueError(
            f"{name} has NaN or infinite values in {(~finite).sum()} of {len(rows)} steps that count: pass a mask that "
            "is False there, or find where they come from"
        )
    return rows


def paired_series(
    z: Array, truth: Array, mask: Array | None, *, names: tuple[str, str] = ("z", "truth")
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Latents, the truth of the same steps, and which of them count; rows are returned as series of one step.

    Args:
        z: Estimated latents, (N, T, D) or (N, D).
        truth: True latents, (N, T, K) or (N, K).
        mask: Boolean (N, T) or (N,), or None.
        names: What the caller calls z and truth, for the message.

    Shape:
        To (N, T, D), (N, T, K) and (N, T), T = 1 for rows. Rows that do not count are left out, steps are kept.

    Raises:
        ValueError: If the shapes do not fit, a value that counts is not finite, or nothing counts.
    """
    first, second = as_array(z), as_array(truth)
    if {first.ndim, second.ndim} == {2, 3}:
        rows_at, series_at = (0, 1) if first.ndim == 2 else (1, 0)
        raise ValueError(
            f"{names[series_at]} must be a matrix of rows, as {names[rows_at]} is, got shapes {first.shape} and "
            f"{second.shape}: pass both as rows (N, D) or both as series (N, T, D); one coordinate is values[..., None]"
        )
    if not (first.ndim == second.ndim == 3):
        if mask is not None and first.ndim == second.ndim == 2:
            check_paired(first, second, names=names)
            keep = as_mask(mask, first.shape[:1])
            first, second = first[keep], second[keep]
        rows, truth_rows = as_rows(first, name=names[0]), as_rows(second, name=names[1])
        check_paired(rows, truth_rows, names=names)
        return rows[:, None], truth_rows[:, None], np.ones((len(rows), 1), dtype=bool)
    if first.shape[:2] != second.shape[:2]:
        raise ValueError(
            f"{names[0]} has {first.shape[0]} series of {first.shape[1]} steps and {names[1]} has {second.shape[0]} of "
            f"{second.shape[1]}: pass the same series, in the same order, to both"
        )
    keep = as_mask(mask, first.shape[:2])
    for values, name in zip((first, second), names, strict=True):
        if 0 in values.shape:
            raise ValueError(f"{name} is empty, shape {values.shape}: pass series (N, T, D) of at least one step")
        counted(values, keep, name=name)
    return first, second, keep
