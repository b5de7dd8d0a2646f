r"""Kernel density estimate: each row is scored by the others' kernels."""

import math

import torch
from torch import Tensor

from pyro_ldm.entropy.base import SampleEntropy
from pyro_ldm.entropy.kernels import GaussianKernel, Kernel, VonMisesFisherKernel
from pyro_ldm.entropy.pairwise import logsumexp_inner


class KDE(SampleEntropy):
    r"""Leave-one-out kernel estimate of the log-density of encoder outputs.

    .. math:: \log \hat R(z_i) = \log \tfrac{1}{N-1} \sum_{j \ne i} k(z_i, z_j)

    With the von Mises-Fisher kernel and pooled views this is the denominator of NT-Xent.

    Bias: consistent as N grows and the bandwidth shrinks; upwards by the kernel's smoothing, the more the higher the
    dimension (whitened Gaussian rows, N = 4000, Scott: +0.4 nats at D = 8, +5 at 32). Bound: leave-one-out, the
    expected value is a cross-entropy, at least H; with ``include_self=True`` it is smaller, by up to the share of the
    row's own kernel. Exploited by: a kernel much narrower than the rows' spacing, where leave-one-out scores run to
    minus infinity, hence the whitened default and no trained bandwidth.

    Args:
        kernel: The kernel, by default Gaussian on whitened rows with Scott's bandwidth.
        include_self: Whether a row's own kernel counts, as in InfoNCE.
        memory: Number of past rows (detached) kept as additional support while training, as in MoCo; 0 keeps none.

    Shape:
        z (..., N, D), N >= 2, to (..., N), nats.

    Raises:
        ValueError: If N < 2 or z is not finite; if N < D + 1 where the kernel whitens.

    References:
        Ahmad and Lin (1976), A nonparametric estimation of the entropy for absolutely continuous distributions.
        Wang and Isola (2020), https://arxiv.org/abs/2005.10242 (uniformity as a kernel entropy).
        He et al. (2020), MoCo, https://arxiv.org/abs/1911.05722 (the memory).

    Example:
        >>> entropy = -KDE()(torch.randn(1000, 2)).mean()      # true value log(2 pi e) = 2.838
        >>> bool(abs(entropy - 2.838) < 0.15)
        True
    """

    bank: Tensor

    def __init__(self, kernel: Kernel | None = None, *, include_self: bool = False, memory: int = 0):
        super().__init__()
        if memory < 0:
            raise ValueError(f"memory must be a number of rows, 0 or more, got {memory}")
        self.kernel = GaussianKernel() if kernel is None else kernel
        self.include_self, self.memory = include_self, memory
        self.on_sphere = isinstance(self.kernel, VonMisesFisherKernel)
        self.register_buffer("bank", torch.empty(0, 0))

    def extra_repr(self) -> str:
        """The settings."""
        return f"include_self={self.include_self}, memory={self.memory}"

    def log_prob(self, z: Tensor, support: Tensor, start: int) -> Tensor:
        """Log of the mean kernel, (..., N), nats."""
        rows = support
        if self.memory and self.bank.numel():
            bank = self.bank.to(support).expand(*support.shape[:-2], *self.bank.shape)
            rows = torch.cat([support, bank], dim=-2)
        queries, keys, scale, bias, constant = self.kernel(z, rows)
        count = rows.shape[-2] - (not self.include_self)
        log_sum = logsumexp_inner(queries, keys, bias, scale=scale, skip=None if self.include_self else start)
        if self.memory and self.training and torch.is_grad_enabled():
            past = support.detach().reshape(-1, support.shape[-1])
            self.bank = torch.cat([past, self.bank.to(past).reshape(-1, past.shape[-1])])[: self.memory]
        return log_sum + constant - math.log(count)

    def _load_from_state_dict(self, state_dict, prefix, *args, **kwargs):
        if prefix + "bank" in state_dict:  # the bank's size is the training's, not the constructor's
            self.bank = self.bank.new_empty(state_dict[prefix + "bank"].shape)
        super()._load_from_state_dict(state_dict, prefix, *args, **kwargs)
