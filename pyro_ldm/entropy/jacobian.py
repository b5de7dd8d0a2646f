r"""The change of variables: :math:`\log R(f(x)) = \log p(x) - \log |\det \partial f / \partial x|`."""

import torch
from torch import Tensor

from pyro_ldm.entropy.base import Entropy


class Jacobian(Entropy):
    r"""Log-volume of an invertible encoder: exact up to the entropy of the data, which no encoder changes.

    .. math:: \log \hat R(z_i) = -\log \left| \det \frac{\partial f}{\partial x}(x_i) \right|
        = \log R(z_i) - \log p(x_i)

    The log-volume comes with the encoder's output, from :func:`pyro_ldm.encode`. What an objective reports under this
    estimator is a cross-entropy: the negative log-likelihood of x, not a KL, since H[x] is unknown.

    Nothing can exploit it: it is exact for each row, and there is no batch to be small. It exists only for square
    maps; onto fewer dimensions reduce by PCA first.

    Shape:
        The conditional's batch (..., N) to (..., N), nats (relative to the data's own log-density).

    Raises:
        ValueError: If the site's value does not come with its log-volume.

    References:
        Hyvarinen, Karhunen and Oja (2001), Independent Component Analysis, eq. 9.5.

    Example:
        >>> encoder = torch.nn.Linear(2, 2, bias=False)
        >>> z = ldm.encode(encoder, torch.randn(5, 2))
        >>> log_r = Jacobian()(z.v, z)
        >>> torch.allclose(log_r, -encoder.weight.slogdet().logabsdet.expand(5))
        True
    """

    event_dim = None
    divergence = "cross-entropy"
    reads_conditional = True

    def forward(self, z: Tensor, conditional=None, mask: Tensor | None = None) -> Tensor:
        """Minus the log-volume of each row, (..., N), nats; 0 where masked."""
        log_density = getattr(conditional, "log_density", None)
        if log_density is None:
            raise ValueError(
                "Jacobian needs an invertible encoder's output with its log-volume: "
                "sample the site from ldm.encode(encoder, x), which returns both"
            )
        log_density = log_density.expand(z.shape[: z.dim() - conditional.event_dim])
        return log_density if mask is None else torch.where(mask, log_density, 0.0)
