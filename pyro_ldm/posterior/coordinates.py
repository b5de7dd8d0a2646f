r"""Coordinates in which a posterior is round, so that its parameters' scales and trade-offs cost NUTS nothing.

.. math:: \theta = \hat\theta + L u, \qquad L L^\top = \bigl( \nabla^2 U(\hat\theta) \bigr)^{-1}

with U the potential energy over unconstrained parameters, and :math:`\hat\theta` where a descent from the start ends.
"""

import math
from collections.abc import Callable
from typing import NamedTuple

import torch
from torch import Tensor

STEPS = 50  # of L-BFGS: a mode that is not found in these may not be one
MOST = 500  # parameters, whose Hessian is made and factored
LEAST_CURVATURE = 1e-3  # per squared unit of an unconstrained parameter: with less there is no mode, but a slope
TRIED = 20  # points about the mode
STEEPER = 5.0  # than the curvature says: there the potential has kinks, as the location of a Laplace has at each datum


class Coordinates(NamedTuple):
    """Where parameters lie, one after another, in one vector u.

    Attributes:
        shapes: Of the unconstrained parameters, by name.
        centre: The parameters at u = 0.
        factor: L, (P, P); ``None`` for the identity.
    """

    shapes: dict[str, torch.Size]
    centre: Tensor
    factor: Tensor | None

    def parameters(self, u: Tensor) -> dict[str, Tensor]:
        """Unconstrained parameters, by name."""
        flat = self.centre + (u if self.factor is None else self.factor @ u)
        parts = flat.split([shape.numel() for shape in self.shapes.values()])
        return {name: part.reshape(shape) for (name, shape), part in zip(self.shapes.items(), parts, strict=True)}

    def begin(self) -> Tensor:
        """Where a chain begins: near the mode, as the Gaussian of its curvature has it; or at u = 0."""
        return torch.zeros_like(self.centre) if self.factor is None else torch.randn_like(self.centre)


def coordinates(potential: Callable[[dict[str, Tensor]], Tensor], start: dict[str, Tensor]) -> Coordinates:
    """Round coordinates, where a descent from the start finds a mode; else the parameters as they are, about the start.

    A posterior that has no mode, as of a hierarchy whose scale may vanish, is left as it is, and so is one whose
    curvature there says nothing of it. Of several modes it is the
    one that the start leads to.

    Args:
        potential: Energy of unconstrained parameters, nats.
        start: Where to begin the descent.
    """
    shapes = {name: value.shape for name, value in start.items()}
    plain = Coordinates(shapes, flattened(start), None)

    def energy(flat: Tensor) -> Tensor:
        return potential(Coordinates(shapes, flat, None).parameters(torch.zeros_like(flat)))

    mode = _descend(energy, plain.centre) if len(plain.centre) <= MOST else None
    if mode is None:
        return plain
    try:
        hessian = torch.autograd.functional.hessian(energy, mode)
        if not torch.isfinite(hessian).all() or torch.linalg.eigvalsh(hessian)[0] < LEAST_CURVATURE:
            return plain
        factor = torch.linalg.cholesky(torch.cholesky_inverse(torch.linalg.cholesky(hessian)))
        return plain if _steeper(energy, mode, factor) else Coordinates(shapes, mode, factor)
    except (RuntimeError, ValueError):  # an operation without a second derivative, or a matrix that is singular
        return plain


@torch.no_grad()
def _steeper(energy: Callable[[Tensor], Tensor], mode: Tensor, factor: Tensor) -> bool:
    """Whether the energy rises far more about the mode than its curvature there says: a half per parameter."""
    directions = torch.randn(TRIED, len(mode), dtype=mode.dtype, generator=torch.Generator().manual_seed(0))
    rises = torch.stack([energy(mode + factor @ direction) for direction in directions]) - energy(mode)
    return not bool(rises.nan_to_num(torch.inf).median() <= STEEPER * (1 + 0.5 * len(mode)))


def flattened(parameters: dict[str, Tensor]) -> Tensor:
    """All of them in one vector."""
    return torch.cat([value.reshape(-1) for value in parameters.values()])


def _descend(energy: Callable[[Tensor], Tensor], start: Tensor) -> Tensor | None:
    """Where L-BFGS ends; ``None`` if it runs off."""
    flat = start.clone().requires_grad_(True)
    optimizer = torch.optim.LBFGS([flat], max_iter=STEPS, line_search_fn="strong_wolfe", tolerance_change=1e-6)

    def closure() -> Tensor:
        optimizer.zero_grad()
        loss = energy(flat)
        loss.backward()
        return loss

    try:
        optimizer.step(closure)
    except (RuntimeError, ValueError):
        return None
    end = flat.detach()
    return end if bool(torch.isfinite(end).all()) and math.isfinite(float(energy(end))) else None
