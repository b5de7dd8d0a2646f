"""Running statistics of batch normalisation after a short fit."""

import math
from itertools import islice
from typing import Any

import torch
from torch import Tensor, nn
from torch.optim.swa_utils import update_bn

from pyro_ldm.devices import cuda_devices
from pyro_ldm.training.loader import as_batch
from pyro_ldm.training.module import ObjectiveModule

FORGOTTEN = 0.01  # share of its first value, of no batch, that a running mean may still hold
ROWS = 8192  # that are enough for means and variances


class _Run(nn.Module):
    """The objective of a batch, as a module called with it."""

    def __init__(self, module: ObjectiveModule):
        super().__init__()
        self.module = module

    def forward(self, batch: Any) -> Tensor:
        return self.module.objective(*self.module.prepared(batch))


def settle_batch_statistics(module: ObjectiveModule, loader: Any) -> None:
    """Where running means still remember where they began, take those of some thousand rows in their place.

    A running mean keeps a share of (1 - momentum)^n of its first value after n batches, 1 % after 44: an encoder in
    evaluation mode would not be the one that was trained.

    Args:
        module: After training.
        loader: Its training data.
    """
    layers = [layer for layer in module.modules() if isinstance(layer, nn.modules.batchnorm._BatchNorm)]
    if not any(map(_remembers, layers)):
        return
    loader.sampler.set_epoch(0)
    batches = islice(loader, math.ceil(ROWS / len(as_batch(next(iter(loader)))[0])))
    with torch.random.fork_rng(devices=cuda_devices()):
        torch.manual_seed(module.seed)
        update_bn(([batch] for batch in batches), _Run(module).eval())


def _remembers(layer: Any) -> bool:
    if layer.momentum is None or layer.num_batches_tracked is None:
        return False  # a plain mean, or none
    return layer.num_batches_tracked > 0 and (1 - layer.momentum) ** int(layer.num_batches_tracked) > FORGOTTEN
