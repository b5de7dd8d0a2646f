r"""An invertible encoder's output together with its log-volume."""

import sys
from collections.abc import Callable

import torch
from pyro.distributions import Delta
from torch import Tensor, nn
from torch.distributions import Transform

from pyro_ldm.encoders.linear import Linear


def encode(encoder: Callable, x: Tensor) -> Delta:
    r"""Encode a batch by an invertible map; the log-volume rides along as the log-density.

    .. math:: z = f(x), \qquad \log q = -\log \left| \det \frac{\partial f}{\partial x} \right|

    What comes back goes into :class:`pyro_ldm.Pushforward` with the :class:`~pyro_ldm.entropy.Jacobian` estimator.

    Args:
        encoder: One of

            * a square ``nn.Linear``;
            * any ``torch.distributions`` or Pyro transform;
            * a zuko flow or transform;
            * an ``nn.Sequential`` of these;
            * any other module or function that maps each row of R^D to R^D on its own: its Jacobian is taken by
              automatic differentiation, at the cost of D backward passes. Where it is trained, its activations should
              be smooth: the log-volume of a piecewise linear map has no gradient through its kinks.
        x: Rows (..., N, D).

    Shape:
        x (..., N, D) to a ``Delta`` at z, of batch shape (..., N) and event shape (D,), log-density (..., N) in nats;
        float32 or better, under autocast too.

    Raises:
        ValueError: If the map is not square, is exactly singular, has no inverse by its own account, or mixes rows.

    References:
        Papamakarios et al. (2021), Normalizing Flows for Probabilistic Modeling and Inference, eq. 2,
        https://arxiv.org/abs/1912.02762

    Example:
        >>> z = encode(torch.nn.Linear(3, 3), torch.randn(5, 3))
        >>> z.log_density.shape
        torch.Size([5])
    """
    width = getattr(encoder, "in_features", 0) or x.shape[-1]
    if x.dim() < 2 or x.shape[-1] != width:
        raise ValueError(
            f"encode takes rows x of shape (N, {width}), got {tuple(x.shape)}: "
            "flatten each datum first, as by x.flatten(1)"
        )
    batch = x.shape[:-1]
    x = x.reshape(-1, width)
    with torch.autocast(x.device.type, enabled=False):
        # A layer before this one may have run under autocast: a determinant in half precision is refused by torch.
        z, log_volume = _call_and_log_volume(encoder, x.to(torch.promote_types(x.dtype, torch.float32)))
    if not torch.isfinite(log_volume.detach()).all():
        raise ValueError(
            "the encoder's Jacobian is singular or not finite: start from an orthogonal matrix, "
            "or reduce data of deficient rank by PCA first"
        )
    return Delta(z.reshape(*batch, width), log_density=-log_volume.reshape(batch), event_dim=1)


class _NotSquare(ValueError):
    """The width changes: fatal for an encoder, not for a layer inside one."""


def _call_and_log_volume(encoder: Callable, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output (N, D) and log |det| of the Jacobian (N,)."""
    # A subclass with a forward of its own is some other map than its parts or its weight say.
    forward = getattr(type(encoder), "forward", None)
    if isinstance(encoder, nn.Sequential) and forward is nn.Sequential.forward:
        try:
            return _by_parts(encoder, x)
        except _NotSquare:  # hidden layers of another width: only the whole may be square
            return _by_differentiation(encoder, x)
    if isinstance(encoder, nn.Linear) and forward in (nn.Linear.forward, Linear.forward):
        z = _same_width(encoder(x), x)
        return z, torch.linalg.slogdet(encoder.weight).logabsdet.expand(len(x))
    flow = _zuko_transform(encoder)
    if flow is not None:
        z, log_volume = flow.call_and_ladj(x)
        return _same_width(z, x), _per_row(log_volume, x)
    if isinstance(encoder, Transform):
        # A view of x: transforms remember their last input, and a second backward would go through the freed graph.
        x = x.view_as(x)
        z = _same_width(encoder(x), x)
        try:
            return z, _per_row(encoder.log_abs_det_jacobian(x, z), x)
        except NotImplementedError as error:
            raise ValueError(f"{type(encoder).__name__} is not invertible, so it has no log-volume") from error
    return _by_differentiation(encoder, x)


def _by_parts(encoder: nn.Sequential, x: Tensor) -> tuple[Tensor, Tensor]:
    total = x.new_zeros(len(x))
    for part in encoder:
        x, log_volume = _call_and_log_volume(part, x)
        total = total + log_volume
    return x, total


def _zuko_transform(encoder: Callable):
    """The transform of a zuko flow or lazy transform, ``None`` for anything else."""
    zuko = sys.modules.get("zuko")  # whoever has a flow has imported it
    if zuko is None:
        return None
    if isinstance(encoder, zuko.lazy.Flow):
        encoder = encoder.transform
    return encoder() if isinstance(encoder, zuko.lazy.LazyTransform) else None


def _by_differentiation(encoder: Callable, x: Tensor) -> tuple[Tensor, Tensor]:
    z = _same_width(encoder(x), x)

    def row(value: Tensor) -> tuple[Tensor, Tensor]:
        out = encoder(value.unsqueeze(0)).squeeze(0)
        return out, out

    # Chunks bound what is held at once to 2^22 entries of Jacobians.
    by_row = torch.func.vmap(torch.func.jacrev(row, has_aux=True), chunk_size=max(1, 2**22 // x.shape[1] ** 2))
    try:
        jacobian, alone = by_row(x)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"the Jacobian of {type(encoder).__name__} row by row failed: an invertible encoder maps each row "
            f"on its own (no batch normalisation in training, no dropout). {error}"
        ) from error
    size = float(z.detach().abs().nan_to_num(0.0).max())
    if not torch.allclose(alone, z, rtol=0, atol=1e-3 * size, equal_nan=True):
        raise ValueError(
            f"{type(encoder).__name__} encodes a row differently alone and in its batch: "
            "an invertible encoder maps each row on its own"
        )
    return z, torch.linalg.slogdet(jacobian).logabsdet


def _same_width(z: Tensor, x: Tensor) -> Tensor:
    if z.shape != x.shape:
        raise _NotSquare(
            f"an invertible encoder keeps the shape, but maps {tuple(x.shape)} to {tuple(z.shape)}: "
            "onto fewer dimensions there is no such volume (0.5 log det J J' misses H[x | z] and picks the smallest "
            "components); reduce by encoders.PCA first, then use a square map"
        )
    return z


def _per_row(log_volume: Tensor, x: Tensor) -> Tensor:
    """Elementwise transforms give (N, D), multivariate ones (N,), volume-preserving ones a scalar."""
    log_volume = torch.as_tensor(log_volume).to(x)
    return log_volume.sum(-1) if log_volume.dim() == 2 else log_volume.expand(len(x))
