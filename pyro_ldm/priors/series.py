"""What priors of series share: a batch of series, inputs and masks, and one site over all steps."""

from abc import abstractmethod
from typing import NamedTuple

import pyro
import torch
from pyro.distributions import TorchDistribution
from torch import Tensor

from pyro_ldm.priors.base import Prior


class Parts(NamedTuple):
    """What a batch of series is made of.

    Attributes:
        x: Its first, (N, T, ...), or ``range(N)``.
        num_steps: T.
        inputs: u, (N, T, U), if there are any.
        mask: Boolean (N, T), if there is one.
    """

    x: Tensor
    num_steps: int
    inputs: Tensor | None
    mask: Tensor | None


class Series(Prior):
    r"""Series of latent vectors, :math:`P(z_{1:T})`, as one site z of event shape (T, D).

    It is called as ``prior(x)``, ``prior(x, actions)``, ``prior(x, mask)`` or with both, in any order: what is boolean
    is the mask, what is not are inputs. To add one, register its hyperparameters and write :meth:`distribution`.

    Args:
        latent_dim: D.
        num_steps: T; by default that of the batch, ``x.shape[1]``. ``prior(range(n))`` needs it.
    """

    def __init__(self, latent_dim: int, num_steps: int | None):
        super().__init__(latent_dim)
        self.num_steps = num_steps

    @abstractmethod
    def distribution(self, *batch) -> TorchDistribution:
        """The distribution that the prior, called with this batch, draws z from: to score, to sample, to forecast."""

    def parts(self, batch: tuple) -> Parts:
        """The batch, told apart.

        Raises:
            ValueError: If the number of steps is not known, or two tensors are of one kind.
        """
        x, *others = batch
        steps = self.num_steps
        if steps is None:
            if not isinstance(x, Tensor) or x.dim() < 2:
                raise ValueError(
                    "a prior of series takes its number of steps from the batch (N, T, ...): pass num_steps= to it, "
                    "or torch.empty(n, T) in place of range(n) to generate"
                )
            steps = x.shape[1]
        given: dict[str, Tensor] = {}
        for other in others:
            name = "mask" if other.dtype == torch.bool else "inputs"
            if name in given:
                raise ValueError(f"the batch has two tensors of {name}: a mask is boolean, inputs (actions) are not")
            given[name] = other
        mask = given.get("mask")
        if mask is not None and mask.dim() == 1:
            mask = mask.unsqueeze(-1).expand(-1, steps)
        return Parts(x, steps, given.get("inputs"), mask)

    def forward(self, *batch) -> Tensor:
        """Sample z (N, T, D); the first of the batch gives N and, unless ``num_steps`` does, T."""
        series = self.distribution(*batch)  # outside the plate, where hyperparameters are read
        with pyro.plate("batch", len(batch[0])):
            return pyro.sample("z", series)
