"""What the built-in priors share: hyperparameters that are fixed, learned or Bayesian, by what is passed."""

import copy
from abc import abstractmethod
from collections.abc import Callable
from contextlib import nullcontext
from typing import Any

import pyro
import torch
from pyro.distributions import TorchDistribution, constraints
from pyro.distributions.torch_distribution import TorchDistributionMixin
from pyro.nn import PyroModule, PyroParam, PyroSample
from torch import Tensor, nn
from torch.distributions import Distribution, Transform


class Prior(PyroModule):
    r"""An assumed latent model with hyperparameters, as a small Pyro program.

    Each hyperparameter is what is passed for it:

    * a number or a tensor: fixed (a buffer);
    * an ``nn.Parameter``: learned, from that value, kept within its constraint;
    * a distribution: Bayesian, a global ``pyro.sample`` site of the hyperparameter's name, outside the plate. The
      guide then samples it too (:class:`pyro_ldm.guides.Compose` with an AutoGuide), or NUTS does.

    To write a prior of one's own no class is needed: any function of the batch that samples the sites will do.
    """

    def __init__(self, latent_dim: int):
        super().__init__()
        if latent_dim < 1:
            raise ValueError(f"latent_dim must be at least 1, got {latent_dim}")
        self.latent_dim = latent_dim
        self.shapes: dict[str, tuple[int, ...]] = {}  # of each hyperparameter, in full
        self._event_dims: dict[str, int] = {}

    def hyperparameter(
        self, name: str, value, constraint=constraints.positive, *, shape: tuple[int, ...] | None = None
    ) -> None:
        """Register one: fixed, learned or Bayesian, as the class says.

        Args:
            name: Its name.
            value: A number or tensor, an ``nn.Parameter``, or a distribution.
            constraint: What its value satisfies.
            shape: Its shape in full, (D,) by default. A scalar will do as well.
        """
        shape = (self.latent_dim,) if shape is None else shape
        self.shapes[name] = shape
        shapes = ((), shape, *([(1,)] if len(shape) == 1 else []))
        if isinstance(value, Distribution):
            if not isinstance(value, TorchDistributionMixin):
                raise TypeError(f"{name} got a torch distribution: take it from pyro.distributions")
            if tuple(value.shape()) not in shapes or len(value.batch_shape):
                raise ValueError(
                    f"the distribution of {name} must have shape {_or(shape)}, all of it event dims: "
                    f"got batch shape {tuple(value.batch_shape)} and event shape {tuple(value.event_shape)}; "
                    "use .to_event(1)"
                )
            self._event_dims[name] = value.event_dim
            setattr(self, name, PyroSample(value))
            return
        tensor = torch.as_tensor(value)
        if not tensor.is_floating_point():
            tensor = tensor.to(torch.get_default_dtype())
        if tuple(tensor.shape) not in shapes:
            wanted = f"a number or have shape {shape}" if shape else "a number"
            raise ValueError(f"{name} must be {wanted}, got shape {tuple(tensor.shape)}")
        if not bool(constraint.check(tensor).all()):
            raise ValueError(f"{name} must satisfy {constraint}, got {tensor.tolist()}")
        if isinstance(value, nn.Parameter):
            setattr(self, name, PyroParam(value.detach().clone(), constraint=constraint))
        else:
            self.register_buffer(name, tensor.clone())

    def _apply(self, fn: Callable, *args, **kwargs):
        super()._apply(fn, *args, **kwargs)
        # Bayesian hyperparameters go along: torch moves parameters and buffers, and knows of no distributions.
        device = fn(torch.empty(0)).device
        for name in self._event_dims:
            setattr(self, name, PyroSample(_moved(self._pyro_samples[name], device)))
        return self

    def read(self, name: str) -> Tensor:
        """A hyperparameter's value, to broadcast against (N, D); call it outside the plate."""
        # Outside a call of the prior, as in ``Kalman.distribution``, a module's sites are hidden from effect handlers:
        # within its context they are not, so that pyro.condition holds there as well.
        hidden = name in self._event_dims and not self._pyro_context.active
        with self._pyro_context if hidden else nullcontext():
            value = getattr(self, name)
        # A scalar site has no event dim: with vectorised particles its shape is (P, 1), and D goes to the right of it.
        missing = len(self.shapes[name]) - self._event_dims.get(name, len(self.shapes[name]))
        return value[(..., *[None] * missing)] if missing else value


def _moved(thing: Any, device: torch.device) -> Any:
    """A distribution, its tensors on a device, those of what it is made of as well."""
    if torch.is_tensor(thing):
        return thing.to(device)
    if isinstance(thing, list | tuple):
        return type(thing)(_moved(part, device) for part in thing)
    if not isinstance(thing, Distribution | Transform) or isinstance(thing, nn.Module):
        return thing
    new = copy.copy(thing)
    for name, part in vars(thing).items():
        if name not in ("_inv", "_cached_x_y"):  # of transforms, which go back to the old ones
            new.__dict__[name] = _moved(part, device)
    return new


def _or(shape: tuple[int, ...]) -> str:
    return f"() or {shape}" if shape else "()"


class Sources(Prior):
    r"""Independent sources: every latent dim has a univariate density of its own.

    .. math:: P(z) = \prod_{d=1}^{D} p(z_d)

    To add one, register its hyperparameters and write :meth:`source`; the contract tests find it.
    """

    @abstractmethod
    def source(self) -> TorchDistribution:
        """The univariate densities, of batch shape (..., D)."""

    def forward(self, *batch) -> Tensor:
        """Sample z (N, D); the first tensor of the batch gives N."""
        source = self.source()
        with pyro.plate("batch", len(batch[0])):
            return pyro.sample("z", source.to_event(1))
