"""The objective as a Lightning module: a step, what is reported after each epoch, and what a checkpoint holds."""

import random
from collections.abc import Callable
from typing import Any

import numpy
import pytorch_lightning as lightning
import torch
from torch import Tensor

from pyro_ldm.devices import cuda_devices
from pyro_ldm.objective import Objective
from pyro_ldm.terms import Terms
from pyro_ldm.training.loader import as_batch, seed_of


class ObjectiveModule(lightning.LightningModule):
    """Trains an objective; keeps a row of history per epoch.

    Args:
        objective: The loss.
        optimizer: From parameters to a torch optimizer.
        views: From a batch's first tensor to a tuple of views, on the device; ``None`` leaves batches as they are.
        probe: A fixed batch, on which alignment and uniformity are reported after each epoch.
        seed: Each epoch's random numbers are a function of the seed and the epoch, so that a run can go on from any
            epoch and be the same.
    """

    def __init__(
        self,
        objective: Objective,
        *,
        optimizer: Callable,
        views: Callable | None,
        probe: tuple[Tensor, ...],
        seed: int,
    ):
        super().__init__()
        self.objective = objective
        self.optimizer, self.views, self.probe, self.seed = optimizer, views, probe, seed
        self.history: list[dict[str, float]] = []
        self.starts: tuple[float, ...] = ()
        self._losses: list[Tensor] = []
        self._validation: list[Tensor] = []

    def configure_optimizers(self) -> torch.optim.Optimizer:
        """The user's optimizer on all parameters of prior and guide."""
        return self.optimizer(self.objective.parameters())

    def on_train_epoch_start(self) -> None:
        """Begin an epoch from random numbers of its own."""
        seed = seed_of(self.seed, self.current_epoch)
        random.seed(seed)
        numpy.random.seed(seed % 2**32)
        torch.manual_seed(seed)
        self._losses.clear()

    def prepared(self, batch: Any) -> tuple[Tensor, ...]:
        """The batch as the objective takes it."""
        tensors = as_batch(batch)
        return tensors if self.views is None else (*self.views(tensors[0]), *tensors[1:])

    def training_step(self, batch: Any, _) -> Tensor:
        """Loss of a batch, nats per datum."""
        loss = self.objective(*self.prepared(batch))
        if not torch.isfinite(loss.detach()):
            raise ValueError(
                f"the loss became {loss.item()} in epoch {self.current_epoch + 1}: lower the learning rate, "
                "clip gradients (gradient_clip=1.0), or look at the data"
            )
        self._losses.append(loss.detach())
        self.log("loss", loss.detach(), batch_size=len(as_batch(batch)[0]))
        return loss

    def validation_step(self, batch: Any, _) -> None:
        """Loss of a held-out batch, nats per datum."""
        self._validation.append(self.objective(*self.prepared(batch)).detach())

    def on_validation_epoch_end(self) -> None:
        """Mean over the held-out batches."""
        self.log("validation_loss", torch.stack(self._validation).mean())

    def on_train_epoch_end(self) -> None:
        """Add a row of history."""
        with self.trainer.precision_plugin.forward_context():  # as the steps run
            terms = self.terms(training=True)
        row = {"epoch": float(self.current_epoch + 1), "loss": float(torch.stack(self._losses).mean())}
        row |= {"alignment": terms.alignment, "uniformity": terms.uniformity, "kl": terms.kl}
        row |= {"global_kl": terms.global_kl}
        row |= {} if terms.reconstruction is None else {"reconstruction": terms.reconstruction}
        if self._validation:
            row["validation_loss"] = float(torch.stack(self._validation).mean())
            self._validation.clear()
        self.history.append(row)
        shown = ("alignment", "uniformity", "kl", "reconstruction")
        self.log_dict({name: row[name] for name in shown if name in row})
        self.log("epoch_loss", row["loss"])

    def shorten_probe(self, rows: int) -> None:
        """Leave of a fixed batch of series as many as have 2048 steps together, but not fewer than ``rows``.

        Estimates from pairs take time that grows with the square of the steps.
        """
        whole = self.probe
        self.probe = tuple(tensor[:rows] for tensor in whole)
        steps = self._on_probe(self.objective.check, training=False).steps
        self.probe = tuple(tensor[: max(rows, 2048 // steps)] for tensor in whole)

    def terms(self, *, training: bool = False) -> Terms:
        """The objective's split on the fixed batch.

        In training mode (batch statistics, as the loss has them) or in evaluation mode (running statistics, as the
        encoder will be used).
        """
        return self._on_probe(self.objective.terms, training=training)

    def loss(self) -> float:
        """The objective itself on the fixed batch, in training mode."""
        return float(self._on_probe(self.objective, training=True))

    def reference(self) -> tuple[float, ...]:
        """What draws from the prior measure in place of the fixed batch's latents."""
        return self._on_probe(self.objective.reference, training=False)

    def _on_probe(self, call: Callable, *, training: bool) -> Any:
        """Call with the fixed batch, on random numbers of its own; the state is left as it was."""
        before, state = self.objective.training, [buffer.clone() for buffer in self.objective.buffers()]
        self.objective.train(training)
        probe = tuple(tensor.to(self.device) for tensor in self.probe)
        with torch.random.fork_rng(devices=cuda_devices()), torch.no_grad():
            torch.manual_seed(self.seed)
            result = call(*self.prepared(probe))
            for buffer, value in zip(self.objective.buffers(), state, strict=True):
                buffer.copy_(value)
        self.objective.train(before)
        return result

    def on_save_checkpoint(self, checkpoint: dict) -> None:
        """History goes with the state."""
        checkpoint["history"], checkpoint["starts"] = self.history, list(self.starts)

    def on_load_checkpoint(self, checkpoint: dict) -> None:
        """History comes with the state."""
        self.history, self.starts = list(checkpoint["history"]), tuple(checkpoint["starts"])
