r"""Videos of a bouncing ball, in the format of the Kalman VAE's authors, from the user's own copy."""

import os
from typing import Literal

import numpy as np
import torch

from pyro_ldm.datasets.arrays import read_npz
from pyro_ldm.datasets.data import Data, DataError
from pyro_ldm.datasets.local import find_folder

_WORLDS = ("box", "box_gravity", "polygon", "pong")


def kvae_physics(
    world: Literal["box", "box_gravity", "polygon", "pong"] = "box",
    *,
    train: bool = True,
    folder: str | os.PathLike[str] | None = None,
) -> Data:
    """A ball in a box, or in one of three other worlds, 32 x 32 pixels of 0 or 1 (5000 series; your own copy).

    In the files an image belongs to the state one step before it. Here both are brought to one step, for which the
    first image, which has no state, and the last state, which has no image, are left out; `pong` has no states and
    keeps its 20 images. Row 31 - j shows the height j. The ball is drawn on whole pixels, some 0.86 left of the state
    and 1.02 below it on average: decode by an affine map. In `box_gravity` about 1 % of the balls leave the frame; such
    series are left out.

    Args:
        world: One of the four.
        train: The 5000 series to train on; the 1000 to test on if False.
        folder: Holds `box.npz` and so on. By default the first of `$PYRO_LDM_DATA/kvae_physics`,
            `~/.cache/pyro_ldm/kvae_physics` and `/usr/share/datasets/kvae_physics`.

    Shape:
        x (N, 19, 1, 32, 32), of `pong` (N, 20, 1, 32, 32); truth (N, 19, 4), of `pong` none: position from the left and
        from the bottom in pixels, and velocity in pixels per unit of time, of which a step takes about 0.2.

    Raises:
        DataError: If there is no such world, or the file is not there (a `MissingDataError`), damaged, or other than
            these.

    References:
        M. Fraccaro, S. Kamronn, U. Paquet and O. Winther (2017), https://arxiv.org/abs/1710.05741; their scripts make
        such files. Of an .npz file are read `images_train_packed` (N, 20, 32, 4), the bits of the pixels as
        `numpy.packbits` leaves them, `state_train` (N, 20, 4), and the same of `test`.

    Example:
        >>> kvae_physics("box", train=False)  # doctest: +SKIP
        Data('kvae_physics:box', 1000 x (19, 1, 32, 32), truth)
    """
    if world not in _WORLDS:
        raise DataError(f"kvae_physics: there is no world {world!r}: give one of {', '.join(_WORLDS)}")
    path = find_folder("kvae_physics", folder, files=[f"{world}.npz"]) / f"{world}.npz"
    part = "train" if train else "test"
    bits = read_npz(path, key=f"images_{part}_packed")
    if bits.dtype != np.uint8 or bits.ndim != 4 or bits.shape[2:] != (32, 4):
        raise DataError(
            f"{path}: images_{part}_packed holds {bits.dtype} of shape {bits.shape} where bytes of shape (N, T, 32, 4) "
            "are wanted: pack the images by numpy.packbits(images, axis=-1)"
        )
    name = f"kvae_physics:{world}"
    if world == "pong":
        return Data(_unpacked(bits), name=name)
    state = read_npz(path, key=f"state_{part}")
    if state.shape != (*bits.shape[:2], 4):
        raise DataError(
            f"{path}: state_{part} has shape {state.shape} where {(*bits.shape[:2], 4)} is wanted: make both again"
        )
    bits, state = bits[:, 1:], state[:, :-1]
    seen = ((state[..., :2] >= 0) & (state[..., :2] <= 32)).all((1, 2))
    return Data(_unpacked(bits[seen]), truth=torch.from_numpy(state[seen]), name=name)


def _unpacked(bits: np.ndarray) -> torch.Tensor:
    """Pixels of 0 and 1, (N, T, 1, 32, 32)."""
    return torch.from_numpy(np.unpackbits(bits, axis=-1)).unsqueeze(2).to(torch.float32)
