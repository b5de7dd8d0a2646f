"""One progress bar for a whole fit, with the loss and its split in nats."""

import sys
from typing import Any

from pytorch_lightning.callbacks import ProgressBar
from tqdm.auto import tqdm

SHOWN = ("loss", "validation_loss", "alignment", "uniformity", "global_kl")


class FitProgress(ProgressBar):
    """A bar over all steps of all epochs, where Lightning's own begins anew with each epoch; on stderr.

    Where nobody watches (a log), it writes a line every thirty seconds at most.
    """

    def __init__(self) -> None:
        super().__init__()
        self.bar: Any = None

    def disable(self) -> None:
        """Called by Lightning on all processes but one."""
        self.bar = tqdm(disable=True)

    def on_train_start(self, trainer, pl_module) -> None:
        """Open the bar, where the fit is."""
        steps = trainer.num_training_batches
        if self.bar is None:
            self.bar = tqdm(
                desc="fit",
                total=steps * trainer.max_epochs,
                initial=steps * trainer.current_epoch,
                unit="step",
                dynamic_ncols=True,
                mininterval=0.1 if sys.stderr.isatty() else 30.0,
            )

    def on_train_batch_end(self, trainer, pl_module, outputs, batch, batch_idx) -> None:
        """One step on."""
        self.bar.update()

    def on_train_epoch_start(self, trainer, pl_module) -> None:
        """Show what the epochs before have reached."""
        self._show(pl_module.history)

    def on_train_end(self, trainer, pl_module) -> None:
        """Show what was reached, and close the bar."""
        self._show(pl_module.history)
        self.bar.close()

    def _show(self, history: list[dict[str, float]]) -> None:
        """The last row of history, nats per datum."""
        if history:
            terms = [f"{name.replace('_', ' ')} {history[-1][name]:.4g}" for name in SHOWN if history[-1].get(name)]
            self.bar.set_postfix_str(f"epoch {len(history)}, {', '.join(terms)} nats", refresh=False)

    def on_exception(self, trainer, pl_module, exception) -> None:
        """Leave the line, so that what went wrong stands on its own."""
        if self.bar is not None:
            self.bar.close()
