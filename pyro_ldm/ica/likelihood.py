"""Loss and derivatives of linear ICA under any prior of independent sources."""

import copy
from collections.abc import Callable, Sequence
from typing import Any, NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.infer.autoguide.initialization import init_to_median
from pyro.nn import PyroParam
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from pyro_ldm.priors import Sources

CHUNK = 4096  # rows per pass: what one pass writes stays in the cache, 1.5 x as fast as all rows at once
CURVATURE_ROWS = 2048  # a preconditioner need not be more precise
SMALLEST_CURVATURE = 0.01


class Point(NamedTuple):
    """Unmixing W (D, D) and bias b (D,) of z = W x + b, and the prior's unconstrained hyperparameters in one vector."""

    unmixing: Tensor
    bias: Tensor
    theta: Tensor

    def move(self, step: Tensor) -> "Point":
        """The point at a step: E, then b in standard deviations of the sources, then theta, in one vector."""
        relative, bias, theta = step.split([self.unmixing.numel(), len(self.bias), len(self.theta)])
        unmixing = torch.linalg.matrix_exp(relative.view_as(self.unmixing)) @ self.unmixing
        return Point(unmixing, self.bias + self.scale() * bias, self.theta + theta)

    def scale(self) -> Tensor:
        """Standard deviation of each source, x being white."""
        return torch.linalg.vector_norm(self.unmixing, dim=1)

    def encode(self, x: Tensor) -> Tensor:
        """Sources of rows x."""
        return torch.addmm(self.bias, x, self.unmixing.T)


class Likelihood:
    """Loss and derivatives of whitened rows x (N, D) under a prior, whose hyperparameters it moves."""

    def __init__(self, x: Tensor, prior: Sources):
        self.x, self.prior = x, prior
        # In a scope of its own, as what is read in a call of the prior would be stored globally.
        with pyro.get_param_store().scope(), torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.random.default_generator.manual_seed(0)
            trace = poutine.trace(poutine.block(prior, hide=["batch", "z"])).get_trace(range(1))
            self.hyperpriors: dict[str, Any] = {
                name: site["fn"] for name, site in trace.nodes.items() if site["type"] == "sample"
            }
            for name, fn in self.hyperpriors.items():
                setattr(
                    prior,
                    name,
                    PyroParam(init_to_median(trace.nodes[name], num_samples=101).double(), constraint=fn.support),
                )
        self.params = [param for param in prior.parameters() if param.requires_grad]

    def thinned(self, stride: int) -> "Likelihood":
        """The same of every so many rows."""
        other = copy.copy(self)
        other.x = self.x[::stride].contiguous()
        return other

    @property
    def few(self) -> Tensor:
        """Rows enough for a preconditioner."""
        return self.x[:: max(1, len(self.x) // CURVATURE_ROWS)]

    @property
    def uncertainty(self) -> float:
        """Of the least loss, nats per datum: half a squared standard error for each entry of W."""
        return self.x.shape[1] ** 2 / (2 * len(self.x))

    def set(self, theta: Tensor) -> None:
        """Write the hyperparameters into the prior."""
        vector_to_parameters(theta, self.params)

    def __call__(self, point: Point) -> tuple[float, Tensor]:
        """Loss, nats per datum, and its gradient with respect to a step, one vector."""
        energy, gradient = self._energy(self.x, point)
        size, dim = point.unmixing.numel(), len(point.bias)
        gradient[: size : dim + 1] -= 1  # the diagonal: the volume grows by the trace of E
        return energy - float(torch.linalg.slogdet(point.unmixing).logabsdet), gradient

    def _energy(self, x: Tensor, point: Point) -> tuple[float, Tensor]:
        r""":math:`-\mathbb{E} \log P(z) - \tfrac{1}{N} \log P(\theta)`, and its gradient."""
        self.set(point.theta)
        source = self.prior.source()
        energy = 0.0
        by_step, by_bias, by_theta = (torch.zeros_like(part) for part in point)
        for rows in x.split(CHUNK):
            z = point.encode(rows).requires_grad_()
            total = -source.log_prob(z).sum()
            score, *rest = torch.autograd.grad(
                total, [z, *self.params], retain_graph=bool(self.params), materialize_grads=True
            )
            energy += total.item() / len(x)
            by_step.addmm_(score.T, z.detach() - point.bias, alpha=1 / len(x))
            by_bias += score.sum(0) / len(x)
            by_theta += self._flat(rest) / len(x)
        if self.hyperpriors:
            densities = [fn.log_prob(getattr(self.prior, name)).sum() for name, fn in self.hyperpriors.items()]
            total = -torch.stack(densities).sum()
            energy += total.item() / len(self.x)
            if total.requires_grad:  # a uniform hyperprior's does not: it only bounds
                by_theta += self._flat(torch.autograd.grad(total, self.params, materialize_grads=True)) / len(self.x)
        return energy, torch.cat([by_step.flatten(), point.scale() * by_bias, by_theta])

    def _flat(self, tensors: Sequence[Tensor]) -> Tensor:
        return parameters_to_vector(tensors).detach() if tensors else self.x.new_zeros(0)

    def curvature(self, point: Point) -> Callable[[Tensor], Tensor]:
        """The approximate Hessian's inverse at a point, as a function of a vector like the gradient."""
        self.set(point.theta)
        z = point.encode(self.few)
        scale = point.scale()
        width = scale * len(z) ** -0.2
        slope = (self._score(z + width) - self._score(z - width)) / (2 * width)
        off = slope.mean(0).unsqueeze(-1) * scale.square()
        # Blocks ((a, 1), (1, b)); what is not clearly positive is shifted until it is.
        smallest = (off + off.T - ((off - off.T).square() + 4).sqrt()) / 2
        off = off + (SMALLEST_CURVATURE - smallest).clamp(min=0)
        det = (off * off.T - 1).fill_diagonal_(1.0)
        own = (slope * (z - point.bias).square()).mean(0) + 1
        rest = torch.cat([slope.mean(0) * scale.square(), self._curvature_of_theta(point).abs()])
        own, rest = own.clamp(min=SMALLEST_CURVATURE), rest.clamp(min=SMALLEST_CURVATURE)

        def solve(vector: Tensor) -> Tensor:
            gradient, others = vector[: off.numel()].view_as(off), vector[off.numel() :]
            step = (off.T * gradient - gradient.T) / det
            step = step.diagonal_scatter(gradient.diagonal() / own)
            return torch.cat([step.flatten(), others / rest])

        return solve

    def _curvature_of_theta(self, point: Point) -> Tensor:
        """Diagonal, where each source has hyperparameters of its own; a fair scale, where one is shared."""
        result, at, delta = torch.ones_like(point.theta), 0, 1e-3
        if not self.params:
            return result
        base = self._energy(self.few, point)[1][-len(result) :]
        for param in self.params:
            block = slice(at, at := at + param.numel())
            moved = point.theta.clone()
            moved[block] += delta
            gradient = self._energy(self.few, point._replace(theta=moved))[1][-len(result) :]
            result[block] = ((gradient - base) / delta)[block]
        return result

    def _score(self, z: Tensor) -> Tensor:
        z = z.detach().requires_grad_()
        return torch.autograd.grad(-self.prior.source().log_prob(z).sum(), z)[0]

    @torch.no_grad()
    def start(self, unmixing: Tensor) -> Point:
        """Scale each row to the prior, by the best power of 2, as a step of the loop cannot go far."""
        z = self.few @ unmixing.T
        source, powers = self.prior.source(), 2.0 ** torch.arange(-24, 25, dtype=z.dtype)
        loss = torch.stack([-source.log_prob(power * z).mean(0) - power.log() for power in powers])
        if loss.shape[1:] != z.shape[1:] or not loss.isfinite().any(0).all():
            raise ValueError(
                f"{type(self.prior).__name__} gives the data no density: its source() must return univariate densities "
                f"on the whole real line, of batch shape () or ({z.shape[1]},)"
            )
        best = powers[loss.nan_to_num(nan=torch.inf).argmin(0)]
        return Point(best.unsqueeze(-1) * unmixing, torch.zeros_like(best), self._flat(self.params))
