"""A small transformer over series, with a causal mask."""

import math

import torch
from torch import Tensor, nn
from torch.nn.functional import scaled_dot_product_attention


class CausalAttention(nn.Module):
    r"""Transformer whose steps attend to themselves and to those before: a causal predictor for long dependences.

    .. math:: h \leftarrow h + \mathrm{attention}_{\le t}(\mathrm{norm}(h)), \qquad
        h \leftarrow h + \mathrm{MLP}(\mathrm{norm}(h))

    Positions are sines and cosines, so that series may be of any length.

    Args:
        in_features: F, numbers per step: latent dims, and those of the inputs where there are any.
        out_features: P, numbers out per step.
        hidden: Width, a multiple of ``num_heads``, and even.
        num_heads: Heads of each attention.
        num_layers: Blocks.

    Shape:
        x (..., T, F) to h (..., T, P); h_t depends on x up to t.

    Raises:
        ValueError: If ``hidden`` is odd, or no multiple of ``num_heads``.

    References:
        Vaswani et al. (2017), sections 3.2.3 and 3.5, https://arxiv.org/abs/1706.03762; normalisation before each part
        as in Xiong et al. (2020), https://arxiv.org/abs/2002.04745

    Example:
        >>> CausalAttention(2, 3, hidden=8)(torch.randn(5, 7, 2)).shape
        torch.Size([5, 7, 3])
    """

    def __init__(
        self, in_features: int, out_features: int, *, hidden: int = 64, num_heads: int = 4, num_layers: int = 2
    ):
        super().__init__()
        if hidden % num_heads or hidden % 2:
            raise ValueError(f"hidden must be even and a multiple of num_heads, got {hidden} for {num_heads} heads")
        self.lift = nn.Linear(in_features, hidden)
        self.blocks = nn.ModuleList(_Block(hidden, num_heads) for _ in range(num_layers))
        self.head = nn.Sequential(nn.LayerNorm(hidden), nn.Linear(hidden, out_features))

    def forward(self, x: Tensor) -> Tensor:
        """Attend over the steps."""
        h = self.lift(x.reshape(-1, *x.shape[-2:]))
        h = h + _positions(h)
        for block in self.blocks:
            h = block(h)
        return self.head(h).reshape(*x.shape[:-1], -1)


class _Block(nn.Module):
    """Attention and a perceptron, each on normalised rows, each added to them."""

    def __init__(self, width: int, num_heads: int):
        super().__init__()
        self.num_heads = num_heads
        self.attend = nn.Sequential(nn.LayerNorm(width), nn.Linear(width, 3 * width))
        self.join = nn.Linear(width, width)
        self.mlp = nn.Sequential(
            nn.LayerNorm(width), nn.Linear(width, 4 * width), nn.GELU(), nn.Linear(4 * width, width)
        )

    def forward(self, h: Tensor) -> Tensor:
        query, key, value = self.attend(h).unflatten(-1, (3, self.num_heads, -1)).permute(2, 0, 3, 1, 4)
        heads = scaled_dot_product_attention(query, key, value, is_causal=True)
        h = h + self.join(heads.transpose(1, 2).flatten(2))
        return h + self.mlp(h)


def _positions(h: Tensor) -> Tensor:
    """Sines and cosines (T, hidden) of wavelengths from 2 pi to 2 pi 10^4 steps."""
    length, width = h.shape[-2:]
    rate = torch.exp(-math.log(1e4) / (width // 2) * torch.arange(width // 2, device=h.device))
    phase = torch.arange(length, device=h.device).unsqueeze(-1) * rate
    return torch.cat([phase.sin(), phase.cos()], -1).to(h.dtype)
