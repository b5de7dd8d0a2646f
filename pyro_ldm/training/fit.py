"""Fit a prior and a guide to data."""

from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro.infer import ELBO
from torch import Tensor, nn

from pyro_ldm.objective import Objective
from pyro_ldm.terms import Terms
from pyro_ldm.training.loader import Rows, as_batch, make_loader
from pyro_ldm.training.starts import lowest_start


@dataclass(frozen=True)
class Fit:
    """What a fit ends with.

    Attributes:
        objective: The trained objective; its prior and guide are those passed, trained in place.
        terms: Alignment, uniformity and KL at the end, nats per datum, on a fixed batch of at most 2048 rows
            (of series, that many steps; but at least ``batch_size`` rows), in evaluation mode.
        history: A row per epoch: epoch, loss, and in training mode on the fixed batch alignment, uniformity, kl and
            global_kl, and reconstruction where the prior has a likelihood; validation_loss where measured.
        reference: What latents drawn from the prior itself measure in that batch, nats per datum: the estimator's bias
            and noise, beside which ``terms.kl`` is to be read; see :meth:`pyro_ldm.Objective.reference`.
        starts: Loss that each start of a multi-start reached, nats per datum, infinite where it diverged; empty for a
            single start.
    """

    objective: Objective
    terms: Terms
    history: list[dict[str, float]]
    reference: tuple[float, ...] = ()
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
    precision: str = "32-true",
    progress: bool = True,
    logger: Any = False,
    callbacks: tuple = (),
    checkpoint: str | Path | None = None,
) -> Fit:
    r"""Minimise the objective of a prior and a guide over data, by PyTorch Lightning.

    Prior and guide are trained in place, on the accelerator, and are on the CPU at the end. The same objects go into a
    plain ``SVI`` loop, or :class:`~pyro_ldm.Objective` into any loop of one's own. Where batch normalisation has seen
    too few batches (44 at its usual momentum) to have forgotten where it began, its running statistics are taken from
    8192 rows at the end.

    Args:
        prior: The assumed latent model.
        guide: The encoder as a guide.
        data: A tensor (N, ...), a tuple of such, a :class:`pyro_ldm.datasets.Data`, or a ``DataLoader`` of tensors or
            tuples of tensors. A last, short batch is left out of each epoch (a ``DataLoader`` of one's own says
            ``drop_last=True`` for that).
        elbo: Any of Pyro's ELBOs; ``Trace_ELBO()`` by default. :class:`pyro_ldm.baselines.IWAE` and
            :class:`~pyro_ldm.baselines.Tempered` are further ones.
        epochs: Passes over the data.
        batch_size: Rows of a batch. Estimates of entropy depend on it.
        lr: Learning rate of Adam, where no optimizer is passed.
        optimizer: From parameters to a torch optimizer, or to a dict of one and its schedule, as Lightning's
            ``configure_optimizers`` returns it.
        views: From x to a tuple of views, applied to each batch on the device, such as
            :class:`~pyro_ldm.encoders.TwoViews`.
        validation: Held-out data, as ``data``; its loss is measured after each epoch.
        patience: Stop after so many epochs without a lower loss (held-out, where there are held-out data).
        gradient_clip: Largest norm of the gradient.
        starts: Number of random starts. Each is trained for ``start_epochs``, and the one with the lowest loss goes on.
            The first is from the parameters as passed, the others from new ones (``reset_parameters`` of each layer).
        start_epochs: A tenth of the epochs, at least one, by default.
        seed: Of everything random, 0 to 2^32 - 1. It sets the global random state at the start of each epoch.
        accelerator: ``"auto"``, ``"cpu"``, ``"gpu"``, ... as Lightning names them; one device of it.
        precision: ``"bf16-mixed"`` runs the encoder under autocast, as Lightning names it; estimators and priors stay
            in float32. Twice as fast for convolutions where the processor has bfloat16.
        progress: Whether to show a progress bar.
        logger: A Lightning logger, ``CSVLogger`` or ``TensorBoardLogger`` say.
        callbacks: Further Lightning callbacks.
        checkpoint: A file, written after each epoch; where it exists the fit goes on from it, to the same result on CPU
            as if it had never stopped.

    Raises:
        ValueError: If data are bad, prior and guide do not fit, a ``pyro.param`` would not be trained, or the loss is
            not finite: what and what to do.
        KeyboardInterrupt: On Ctrl-C; a checkpoint stays.

    Example:
        >>> x = torch.randn(500, 8)
        >>> guide = ldm.guides.Deterministic(torch.nn.Linear(8, 2), ldm.entropy.LogDet())
        >>> result = ldm.fit(ldm.priors.Gaussian(2), guide, x, epochs=5, lr=0.1, progress=False)
        >>> bool(abs(result.terms.kl) < 0.5)
        True
    """
    _check(epochs=epochs, starts=starts, seed=seed, gradient_clip=gradient_clip, patience=patience)
    loader = make_loader(data, batch_size=batch_size, seed=seed)
    held_out = None if validation is None else make_loader(validation, batch_size=batch_size, seed=seed)
    # Imported here: Lightning takes seconds.
    from pyro_ldm.training.batch_statistics import settle_batch_statistics
    from pyro_ldm.training.checkpoint import read_checkpoint
    from pyro_ldm.training.module import ObjectiveModule
    from pyro_ldm.training.trainer import train

    def make() -> ObjectiveModule:
        module = ObjectiveModule(
            Objective(prior, guide, elbo, size=_size(loader)),
            # Plain numbers: a checkpoint that is to be read with weights_only=True holds nothing else.
            optimizer=optimizer or (lambda parameters: torch.optim.Adam(parameters, lr=float(lr))),
            views=views,
            probe=_probe(loader),
            seed=seed,
        )
        module.cpu()  # from wherever its parts are: the trainer moves it to the accelerator, and back
        _call_once(module, rows=batch_size)
        return module

    settings: dict[str, Any] = {
        "accelerator": accelerator,
        "precision": precision,
        "gradient_clip": gradient_clip,
        "progress": progress,
    }
    path = None if checkpoint is None else Path(checkpoint)
    state = read_checkpoint(path) if path is not None and path.exists() else None
    module = make()
    if state is not None:
        # The trainer opens the loader before it tells the sampler where it is.
        loader.sampler.set_epoch(state.epochs)
        epochs = state.epochs if state.stopped else epochs
    elif starts > 1:
        short = start_epochs or max(1, epochs // 10)
        module.starts = lowest_start(
            make, lambda each: train(each, loader, epochs=short, **settings), starts=starts, seed=seed
        )
    train(
        module,
        loader,
        held_out,
        epochs=epochs,
        patience=patience,
        checkpoint=path,
        resume=state is not None,
        logger=logger,
        callbacks=callbacks,
        **settings,
    )
    settle_batch_statistics(module, loader)
    return Fit(module.objective, module.terms(), module.history, module.reference(), module.starts)


def _check(*, epochs: int, starts: int, seed: int, gradient_clip: float | None, patience: int | None) -> None:
    if epochs < 1 or starts < 1:
        raise ValueError(f"epochs and starts must be at least 1, got {epochs} and {starts}")
    if not 0 <= seed < 2**32:
        raise ValueError(f"seed must be between 0 and 2^32 - 1, got {seed}")
    if gradient_clip is not None and gradient_clip <= 0:
        raise ValueError(f"gradient_clip is the largest norm of the gradient and must be positive, got {gradient_clip}")
    if patience is not None and patience < 0:
        raise ValueError(f"patience is a number of epochs, got {patience}")


def _size(loader: Any) -> int | None:
    return len(loader.dataset) if hasattr(loader.dataset, "__len__") else None


def _probe(loader: Any) -> tuple[Tensor, ...]:
    """The fixed batch."""
    if isinstance(loader.dataset, Rows):
        return tuple(tensor[:2048] for tensor in loader.dataset.tensors)
    return as_batch(next(iter(loader)))


def _call_once(module: Any, *, rows: int) -> None:
    """Call the objective, since an AutoGuide has no parameters before; refuse parameters that no optimizer will see."""
    try:
        with pyro.get_param_store().scope() as stored:
            module.shorten_probe(rows)
            module.terms()
        lost = bool(stored["params"])
    except NotImplementedError as error:  # Pyro's own check, which validation turns on
        lost = "pyro.param" in str(error)
        if not lost:
            raise
    if lost:
        raise ValueError(
            "a pyro.param statement makes a parameter that no optimizer would see here: make the prior or guide a "
            "PyroModule with a PyroParam or an nn.Parameter"
        )
