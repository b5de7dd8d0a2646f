"""A prior that is the encoder's own conditional at learned pseudo-inputs."""

from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro.nn import PyroModule
from torch import Tensor, nn


class VampPrior(PyroModule):
    r"""A mixture of the encoder's conditionals at K learned pseudo-inputs: a prior near the aggregated posterior.

    .. math:: P(z) = \tfrac1K \sum_{k=1}^{K} q(z \mid u_k)

    The encoder is the guide's, which is trained from both sides; the pseudo-inputs are the prior's. Give the encoder no
    batch normalisation, or statistics of data and of pseudo-inputs mix.

    Args:
        guide: A guide with a ``conditional``, such as :class:`pyro_ldm.guides.Gaussian`.
        pseudo_inputs: u, (K, ...), what learning starts from: some of the data, say.

    Shape:
        z (N, *event), N the length of the batch.

    Raises:
        ValueError: If the guide has no conditional.

    References:
        Tomczak and Welling (2018), VAE with a VampPrior, eq. 9, https://arxiv.org/abs/1705.07120

    Example:
        >>> x = torch.randn(100, 8)
        >>> guide = ldm.guides.Gaussian(torch.nn.Linear(8, 4), ldm.entropy.Conditional())
        >>> VampPrior(guide, x[:10])(range(5)).shape
        torch.Size([5, 2])
    """

    def __init__(self, guide: nn.Module, pseudo_inputs: Tensor):
        super().__init__()
        if not callable(getattr(guide, "conditional", None)):
            raise ValueError(
                f"{type(guide).__name__} has no conditional(x), q(z | x), to make a prior of: use guides.Gaussian"
            )
        # In a tuple: the guide is no part of the prior, or its parameters would be saved twice.
        self._guide: tuple[Any, ...] = (guide,)
        self.pseudo_inputs = nn.Parameter(pseudo_inputs.detach().clone())

    def distribution(self) -> dist.TorchDistribution:
        """The mixture."""
        components = self._guide[0].conditional(self.pseudo_inputs)
        logits = torch.zeros(len(self.pseudo_inputs), device=self.pseudo_inputs.device)
        return dist.MixtureSameFamily(dist.Categorical(logits=logits), components)

    def forward(self, *batch) -> Tensor:
        """Sample z (N, D); the first tensor of the batch gives N."""
        mixture = self.distribution()
        with pyro.plate("batch", len(batch[0])):
            return pyro.sample("z", mixture)
