"""A checkpoint after each finished epoch, replaced atomically."""

import os
from pathlib import Path

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
