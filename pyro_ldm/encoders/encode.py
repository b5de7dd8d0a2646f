r"""An invertible encoder's output together with its log-volume."""

import sys
from collections.abc import Callable

import torch
from pyro.distributions import Delta
from torch import Tensor, nn
from torch.distributions import Transform


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
              automatic differentiation, at the cost of D backward passes.
        x: Rows (N, D).

    Shape:
        x (N, D) to a ``Delta`` at z, of batch shape (N,) and event shape (D,), log-density (N,) in nats.

    Raises:
        ValueError: If the map is not square, is singular, or mixes rows.

    Example:
        >>> z = encode(torch.nn.Linear(3, 3), torch.randn(5, 3))
        >>> z.log_density.shape
        torch.Size([5])
    """
    if x.dim() != 2:
        raise ValueError(f"encode takes rows x of shape (N, D), got {tuple(x.shape)}: flatten each datum first")
    with torch.autocast(x.device.type, enabled=False):
        z, log_volume = _call_and_log_volume(encoder, x)
    if not torch.isfinite(log_volume.detach()).all():
        raise ValueError(
            "the encoder's Jacobian is singular or not finite: start from an orthogonal matrix, "
            "or reduce data of deficient rank by PCA first"
        )
    return Delta(z, log_density=-log_volume, event_dim=1)


def _call_and_log_volume(encoder: Callable, x: Tensor) -> tuple[Tensor, Tensor]:
    """Output (N, D) and log |det| of the Jacobian (N,)."""
    if isinstance(encoder, nn.Sequential):
        total = x.new_zeros(len(x))
        for part in encoder:
            x, log_volume = _call_and_log_volume(part, x)
            total = total + log_volume
        return x, total
    if isinstance(encoder, nn.Linear):
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
        return z, _per_row(encoder.log_abs_det_jacobian(x, z), x)
    return _by_differentiation(encoder, x)


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

    def row(value: Tensor) -> Tensor:
        return encoder(value.unsqueeze(0)).squeeze(0)

    try:
        jacobian = torch.func.vmap(torch.func.jacrev(row), chunk_size=max(1, 2**22 // x.shape[1] ** 2))(x)
    except (RuntimeError, ValueError) as error:
        raise ValueError(
            f"the Jacobian of {type(encoder).__name__} row by row failed: an invertible encoder maps each row "
            f"on its own (no batch normalisation in training, no dropout). {error}"
        ) from error
    return z, torch.linalg.slogdet(jacobian).logabsdet


def _same_width(z: Tensor, x: Tensor) -> Tensor:
    if z.shape != x.shape:
        raise ValueError(
            f"an invertible encoder keeps the shape, but maps {tuple(x.shape)} to {tuple(z.shape)}: "
            "onto fewer dimensions there is no such volume (0.5 log det J J' misses H[x | z] and picks the smallest "
            "components); reduce by encoders.PCA first, then use a square map"
        )
    return z


def _per_row(log_volume: Tensor, x: Tensor) -> Tensor:
    """Elementwise transforms give (N, D), multivariate ones (N,), volume-preserving ones a scalar."""
    log_volume = torch.as_tensor(log_volume).to(x)
    return log_volume.sum(-1) if log_volume.dim() == 2 else log_volume.expand(len(x))
