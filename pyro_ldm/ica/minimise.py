"""Preconditioned L-BFGS along the exponential map."""

from collections.abc import Callable

from torch import Tensor

from pyro_ldm.ica.likelihood import Likelihood, Point

LARGEST_STEP = 0.5
MEMORY = 7
HALVINGS = 12
KINKS = 0.02  # share of the loss's uncertainty; the kinks of a density hide one of about 5 K / N


def minimise(likelihood: Likelihood, point: Point, *, max_iter: int, tol: float) -> tuple[Point, float, int, bool]:
    """Preconditioned L-BFGS with backtracking: where it ends, the loss there, iterations, whether it converged."""
    loss, gradient = likelihood(point)
    memory: list[tuple[Tensor, Tensor]] = []
    for iteration in range(1, max_iter + 1):
        solve = likelihood.curvature(point)
        for pairs in (memory, []):  # where a step gains nothing, the next is tried without the memory
            step = -_two_loops(gradient, pairs, solve)
            expected = -float(gradient @ step) / 2
            if expected < tol:
                continue
            shrink = min(1.0, LARGEST_STEP / float(step.abs().max()))
            # Where a step of next to no use fails, it fails by a kink, and no shorter one would be of more use.
            for halving in range(HALVINGS if expected > KINKS * likelihood.uncertainty else 1):
                share = shrink * 0.5**halving
                trial = point.move(share * step)
                new_loss, new_gradient = likelihood(trial)
                if new_loss < loss - 1e-4 * share * expected and bool(new_gradient.isfinite().all()):
                    break
            else:
                continue
            break
        else:
            return point, loss, iteration, True
        change = new_gradient - gradient
        if shrink < 1:
            memory = []  # what is learned about the curvature so far away misleads
        elif float(step @ change) > 0:
            memory = [*pairs, (share * step, change)][-MEMORY:]
        point, loss, gradient = trial, new_loss, new_gradient
    return point, loss, max_iter, False


def _two_loops(gradient: Tensor, memory: list[tuple[Tensor, Tensor]], solve: Callable[[Tensor], Tensor]) -> Tensor:
    """L-BFGS's inverse Hessian times the gradient, from the approximation and (step, change of gradient) pairs."""
    weights = []
    for step, change in reversed(memory):
        weights.append(step @ gradient / (step @ change))
        gradient = gradient - weights[-1] * change
    result = solve(gradient)
    for (step, change), weight in zip(memory, reversed(weights), strict=True):
        result = result + (weight - change @ result / (step @ change)) * step
    return result
