"""Lightning's trainer, as ``fit`` uses it: without its hints, and with Ctrl-C as Python has it."""

import logging
import signal
import warnings
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyro
import pytorch_lightning as lightning
from pytorch_lightning.callbacks import EarlyStopping, ProgressBar
from pytorch_lightning.utilities.exceptions import MisconfigurationException

from pyro_ldm.training.checkpoint import SaveEachEpoch
from pyro_ldm.training.module import ObjectiveModule
from pyro_ldm.training.progress import FitProgress


def train(
    module: ObjectiveModule,
    loader: Any,
    held_out: Any = None,
    *,
    epochs: int,
    accelerator: str,
    precision: Any,
    gradient_clip: float | None,
    progress: bool,
    patience: int | None = None,
    checkpoint: Path | None = None,
    resume: bool = False,
    logger: Any = False,
    callbacks: tuple = (),
) -> None:
    """Train a module for so many epochs, on one device; it ends in evaluation mode.

    Args are those of :func:`pyro_ldm.fit`; ``resume`` goes on from the checkpoint.

    Raises:
        ValueError: If there is no such accelerator or precision.
        KeyboardInterrupt: If it is interrupted.
    """
    extra: list[Any] = []
    if progress and not any(isinstance(callback, ProgressBar) for callback in callbacks):
        extra.append(FitProgress())
    if patience is not None:
        watched = "epoch_loss" if held_out is None else "validation_loss"
        extra.append(EarlyStopping(watched, patience=int(patience), min_delta=0.0))
    if checkpoint is not None:
        extra.append(SaveEachEpoch(checkpoint))
    module.objective.train()
    with _quiet(), _interruptible(), pyro.validation_enabled(False):
        try:
            # One device: with all of them Lightning would run the caller's script once more for each.
            trainer = lightning.Trainer(
                accelerator=accelerator,
                devices=1,
                precision=precision,
                max_epochs=epochs,
                gradient_clip_val=gradient_clip,
                enable_progress_bar=progress,
                enable_model_summary=False,
                enable_checkpointing=checkpoint is not None,
                num_sanity_val_steps=0,
                log_every_n_steps=1,
                logger=logger,
                callbacks=[*callbacks, *extra],
            )
        except (MisconfigurationException, ImportError) as error:
            raise ValueError(f"accelerator {accelerator!r} cannot be used here: {error}") from error
        path = str(checkpoint) if resume else None
        trainer.fit(module, loader, held_out, ckpt_path=path, weights_only=True if resume else None)
        if trainer.interrupted:  # as Lightning had it before 2.5
            raise KeyboardInterrupt
    module.objective.eval()


@contextmanager
def _interruptible() -> Iterator[None]:
    """Let Ctrl-C through: Lightning ignores it from then on, and ends the whole process."""
    handler = signal.getsignal(signal.SIGINT)
    try:
        yield
    except SystemExit as exit:
        if isinstance(exit.__context__, KeyboardInterrupt):
            raise KeyboardInterrupt from None
        raise
    finally:
        if signal.getsignal(signal.SIGINT) is not handler:
            signal.signal(signal.SIGINT, handler)


@contextmanager
def _quiet() -> Iterator[None]:
    """Without Lightning's hints about workers, loggers and accelerators, and warnings of what is raised as an error."""
    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    hints = ("does not have many workers", "You defined a `validation_step`", "log_every_n_steps", "Encountered NaN")
    with warnings.catch_warnings():
        for hint in hints:
            warnings.filterwarnings("ignore", message=f".*{hint}.*")
        warnings.filterwarnings("ignore", module="(pytorch_lightning|lightning_utilities|torch.utils._pytree).*")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
