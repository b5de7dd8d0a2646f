"""A short multi-start: several random starts, of which the lowest loss goes on."""

import math
from collections.abc import Callable
from typing import Any

import torch
from torch import Tensor

from pyro_ldm.objective import Objective


def lowest_start(make: Callable[[], Any], train: Callable[[Any], None], *, starts: int, seed: int) -> tuple[float, ...]:
    """Train each start for a short while, and leave prior and guide where the lowest loss was.

    The first start is from the parameters as they are. Each other draws them anew in every layer that has
    ``reset_parameters``, and is from the first's in all others.

    Args:
        make: Makes the module to train, around the same prior and guide each time.
        train: Trains a module.
        starts: How many.
        seed: Of the parameters drawn.

    Returns:
        Loss that each start reached on the fixed batch, nats per datum; infinite where it diverged.

    Raises:
        ValueError: If every start diverged.
    """
    module = make()
    first = best = _state(module.objective)
    reached: list[float] = []
    for start in range(starts):
        module = make()
        module.objective.load_state_dict(first)
        if start:
            torch.manual_seed(seed + start)
            _reset(module.objective)
        try:
            train(module)
            loss = module.loss()
        except ValueError:
            loss = math.inf
            if start == starts - 1 and not any(map(math.isfinite, reached)):
                raise
        reached.append(loss if math.isfinite(loss) else math.inf)
        if reached[-1] == min(reached):
            best = _state(module.objective)
    module.objective.load_state_dict(best)
    return tuple(reached)


def _state(objective: Objective) -> dict[str, Tensor]:
    return {name: tensor.detach().clone() for name, tensor in objective.state_dict().items()}


def _reset(objective: Objective) -> None:
    for layer in objective.modules():
        if hasattr(layer, "reset_parameters"):
            layer.reset_parameters()  # type: ignore[operator]
