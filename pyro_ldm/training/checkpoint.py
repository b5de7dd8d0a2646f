"""A checkpoint after each finished epoch, replaced atomically."""

import os
import pickle
from pathlib import Path
from typing import NamedTuple

import torch
from pytorch_lightning.callbacks import Checkpoint


class SaveEachEpoch(Checkpoint):
    """Writes the state after each epoch to one file; a kill at any time leaves the last whole one.

    A ``Checkpoint`` by Lightning's classes: those run last, when history and early stopping know the epoch.

    Args:
        path: The file. It is read back with ``weights_only=True``.
    """

    def __init__(self, path: Path):
        self.path = path

    def on_train_epoch_end(self, trainer, pl_module) -> None:
        """Write beside, then replace."""
        beside = self.path.with_name(self.path.name + ".new")
        trainer.save_checkpoint(beside)
        os.replace(beside, self.path)


class Progress(NamedTuple):
    """How far a checkpoint is: finished epochs, and whether early stopping had ended the run there."""

    epochs: int
    stopped: bool


def read_checkpoint(path: Path) -> Progress:
    """How far a checkpoint is.

    Raises:
        ValueError: If it is none of ours.
    """
    try:
        state = torch.load(path, weights_only=True, map_location="cpu")
        stopped = any(isinstance(own, dict) and own.get("stopped_epoch") for own in state["callbacks"].values())
        return Progress(len(state["history"]), stopped)
    except (pickle.UnpicklingError, RuntimeError, EOFError, KeyError, TypeError) as error:
        reason = str(error).splitlines()[0] if str(error) else type(error).__name__
        raise ValueError(f"{path} is no checkpoint to go on from: remove it to start again ({reason})") from error
