"""Fit a prior and a guide to data."""

import warnings
from collections.abc import Callable
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import ELBO
from torch import Tensor, nn

from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.objective import Objective, Terms, keep_local_parameters
from pyro_ldm.training.loader import as_batch, make_loader, tensors_of


@dataclass(frozen=True)
class Fit:
    """What a fit ends with.

    Attributes:
        objective: The trained objective; its prior and guide are those passed, trained in place.
        terms: Alignment, uniformity and KL at the end, nats per datum, on a fixed batch of at most 2048 rows, in
            evaluation mode.
        history: A row per epoch: epoch, loss, and in training mode on the fixed batch alignment, uniformity, kl and
            global_kl; validation_loss where measured.
        starts: Loss that each start of a multi-start reached, nats per datum; empty for a single start.
    """

    objective: Objective
    terms: Terms
    history: list[dict[str, float]]
    starts: tuple[float, ...] = ()


def fit(
    prior: Callable,
    guide: nn.Module,
    data: Any,
    *,
    elbo: ELBO | None = None,
    epochs: int = 20,
    batch_size: int = 256,
    lr: float = 1e-3,
    optimizer: Callable | None = None,
    views: Callable | None = None,
    validation: Any = None,
    patience: int | None = None,
    gradient_clip: float | None = None,
    starts: int = 1,
    start_epochs: int | None = None,
    seed: int = 0,
    accelerator: str = "auto",
    progress: bool = True,
    logger: Any = False,
    callbacks: tuple = (),
    checkpoint: str | Path | None = None,
) -> Fit:
    r"""Minimise the objective of a prior and a guide over data, by PyTorch Lightning.

    Prior and guide are trained in place. The same objects go into a plain ``SVI`` loop, or :class:`~pyro_ldm.Objective`
    into any loop of one's own.

    Args:
        prior: The assumed latent model.
        guide: The encoder as a guide.
        data: A tensor (N, ...), a tuple of such, a :class:`pyro_ldm.datasets.Data`, or a ``DataLoader`` of tensors or
            tuples of tensors. A last, short batch is left out of each epoch (not of a ``DataLoader`` of one's own).
        elbo: Any of Pyro's ELBOs; ``Trace_ELBO()`` by default.
        epochs: Passes over the data.
        batch_size: Rows of a batch. Estimates of entropy depend on it.
        lr: Learning rate of Adam, where no optimizer is passed.
        optimizer: From parameters to a torch optimizer.
        views: From x to a tuple of views, applied to each batch on the device, such as
            :class:`~pyro_ldm.encoders.TwoViews`.
        validation: Held-out data, as ``data``; its loss is measured after each epoch.
        patience: Stop after so many epochs without a lower loss (held-out, where there are held-out data).
        gradient_clip: Largest norm of the gradient.
        starts: Number of random starts. Each is trained for ``start_epochs``, and the one with the lowest loss goes on.
        start_epochs: A tenth of the epochs, at least one, by default.
        seed: Of everything random.
        accelerator: ``"auto"``, ``"cpu"``, ``"gpu"``, ... as Lightning names them.
        progress: Whether to show a progress bar.
        logger: A Lightning logger, ``CSVLogger`` or ``TensorBoardLogger`` say.
        callbacks: Further Lightning callbacks.
        checkpoint: A file, written after each epoch; where it exists the fit goes on from it, to the same result on CPU
            as if it had never stopped.

    Raises:
        ValueError: If data are bad, prior and guide do not fit, or the loss is not finite: what and what to do.

    Example:
        >>> x = torch.randn(500, 8)
        >>> guide = ldm.guides.Deterministic(torch.nn.Linear(8, 2), ldm.entropy.LogDet())
        >>> result = ldm.fit(ldm.priors.Gaussian(2), guide, x, epochs=5, lr=0.1, progress=False)
        >>> bool(abs(result.terms.kl) < 0.5)
        True
    """
    if epochs < 1 or starts < 1:
        raise ValueError(f"epochs and starts must be at least 1, got {epochs} and {starts}")
    settings = {"optimizer": optimizer or (lambda parameters: torch.optim.Adam(parameters, lr=lr)), "views": views}
    loader = make_loader(data, batch_size=batch_size, seed=seed)
    held_out = None if validation is None else make_loader(validation, batch_size=batch_size, seed=seed)
    trainer_settings: dict[str, Any] = {
        "accelerator": accelerator,
        "gradient_clip_val": gradient_clip,
        "enable_progress_bar": progress,
        "num_sanity_val_steps": 0,
    }
    reached: list[float] = []
    resumed = checkpoint is not None and Path(checkpoint).exists()
    if starts > 1 and not resumed:
        module = _module(prior, guide, elbo, loader, seed=seed, **settings)
        first = best = _state(module.objective)
        for start in range(starts):
            module = _module(prior, guide, elbo, loader, seed=seed, **settings)
            module.objective.load_state_dict(first)
            if start:
                torch.manual_seed(seed + start)
                _reset(prior, guide)
            short = start_epochs or max(1, epochs // 10)
            _train(module, loader, None, max_epochs=short, logger=False, **trainer_settings)
            terms = module.terms(training=True)
            reached.append(terms.kl + terms.global_kl)
            if reached[-1] == min(reached):
                best = _state(module.objective)
    module = _module(prior, guide, elbo, loader, seed=seed, **settings)
    if reached:
        module.objective.load_state_dict(best)
    trainer_settings["enable_checkpointing"] = checkpoint is not None
    trainer_settings["callbacks"] = [*callbacks, *_callbacks(patience, held_out is not None, checkpoint)]
    ckpt = str(checkpoint) if resumed else None
    if resumed and hasattr(getattr(loader, "sampler", None), "set_epoch"):
        # The trainer opens the loader before it tells the sampler where it is.
        state = torch.load(str(checkpoint), weights_only=True, map_location="cpu")
        loader.sampler.set_epoch(len(state["history"]))  # type: ignore[attr-defined]
    _train(module, loader, held_out, max_epochs=epochs, logger=logger, ckpt_path=ckpt, **trainer_settings)
    return Fit(module.objective, module.terms(), module.history, tuple(reached))


@torch.no_grad()
def latents(guide: Callable, data: Any, *, site: str = "z", batch_size: int = 4096) -> Tensor:
    """Encode data row by row, without augmentation: the site's conditional mean.

    Args:
        guide: A trained guide; one of several views gets x for each of them.
        data: A tensor (N, ...) or a :class:`pyro_ldm.datasets.Data`.
        site: Name of the site.
        batch_size: Rows encoded at once.

    Shape:
        (N, ...) to (N, D), on the CPU.
    """
    x = tensors_of(data)[0]
    views = len(getattr(guide, "sites", ("z",)))
    modes = {module: module.training for module in guide.modules()} if isinstance(guide, nn.Module) else {}
    device = next((p.device for p in guide.parameters()), x.device) if isinstance(guide, nn.Module) else x.device
    for module in modes:
        module.training = False
    parts = []
    keep_local_parameters(guide)
    with pyro.settings.context(module_local_params=True):
        for rows in x.split(batch_size):
            trace = poutine.trace(guide).get_trace(*[rows.to(device)] * views)
            fn: Any = trace.nodes[site]["fn"]
            parts.append((fn.conditional.mean if isinstance(fn, Pushforward) else fn.mean).cpu())
    for module, training in modes.items():
        module.training = training
    return torch.cat(parts)


def _module(prior, guide, elbo, loader, *, optimizer, views, seed):
    """The objective, called once (an AutoGuide has no parameters before), as a Lightning module."""
    from pyro_ldm.training.module import ObjectiveModule

    size = len(loader.dataset) if hasattr(loader, "dataset") and hasattr(loader.dataset, "__len__") else None
    objective = Objective(prior, guide, elbo, size=size)
    if hasattr(getattr(loader, "sampler", None), "set_epoch") and hasattr(loader.dataset, "tensors"):
        probe = tuple(tensor[:2048] for tensor in loader.dataset.tensors)
    else:
        probe = as_batch(next(iter(loader)))
    module = ObjectiveModule(objective, optimizer=optimizer, views=views, probe=probe, seed=seed)
    module.terms()
    module.objective.train()
    return module


def _state(objective: Objective) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in objective.state_dict().items()}


def _reset(*programs: Callable) -> None:
    """Draw parameters anew, in every layer that knows how."""
    for program in programs:
        for layer in program.modules() if isinstance(program, nn.Module) else ():
            if hasattr(layer, "reset_parameters"):
                layer.reset_parameters()  # type: ignore[operator]


def _callbacks(patience: int | None, held_out: bool, checkpoint: str | Path | None) -> list:
    from pytorch_lightning.callbacks import EarlyStopping

    from pyro_ldm.training.checkpoint import SaveEachEpoch

    stopping = []
    if patience is not None:
        stopping = [EarlyStopping("validation_loss" if held_out else "epoch_loss", patience=patience, min_delta=0.0)]
    return stopping + ([SaveEachEpoch(Path(checkpoint))] if checkpoint is not None else [])


def _train(module, loader, held_out, *, ckpt_path=None, **settings) -> None:
    import pytorch_lightning as lightning

    with _quiet(), pyro.validation_enabled(False):
        trainer = lightning.Trainer(
            enable_model_summary=False, log_every_n_steps=1, **({"enable_checkpointing": False} | settings)
        )
        trainer.fit(module, loader, held_out, ckpt_path=ckpt_path, weights_only=True if ckpt_path else None)
        if trainer.interrupted:
            raise KeyboardInterrupt
    module.objective.eval()


@contextmanager
def _quiet():
    """Without Lightning's hints about workers, loggers and accelerators; other warnings pass."""
    import logging

    logger = logging.getLogger("pytorch_lightning")
    level = logger.level
    with warnings.catch_warnings():
        for hint in (".*does not have many workers.*", ".*You defined a `validation_step`.*", ".*log_every_n_steps.*"):
            warnings.filterwarnings("ignore", message=hint)
        warnings.filterwarnings("ignore", module="(pytorch_lightning|lightning_utilities|torch.utils._pytree).*")
        logger.setLevel(logging.ERROR)
        try:
            yield
        finally:
            logger.setLevel(level)
