r"""The encoder's own conditional, in place of its marginal: how a VAE scores its guide."""

import torch
from torch import Tensor
from torch.distributions import Independent

from pyro_ldm.entropy.base import Entropy


class Conditional(Entropy):
    r"""Log-density of each latent under its own datum's conditional q(z | x_i): no estimate, and no marginal.

    .. math:: \log q(z_i \mid x_i), \qquad
        -\mathbb{E}[\log P(z) - \log q(z \mid x)] = \mathbb{E}_x \mathrm{KL}(q(z \mid x) \,\|\, P)
        = \mathrm{KL}(R \,\|\, P) + I(x; z)

    It makes of a guide that of a VAE: with the likelihood kept
    (:class:`pyro_ldm.baselines.Generative`) the objective is minus the stock ELBO, a bound on the evidence. Without one
    it rewards latents that tell nothing of x, and posterior collapse is its optimum.

    Shape:
        z (..., N, *event) with its conditional of batch shape (N,), to (..., N), nats. A mask is (N,), or (N, T) for
        series whose conditional is independent over the steps: rows or steps that are there.

    Raises:
        ValueError: If the encoder is deterministic, or steps are masked under a conditional that is not independent
            over them.

    References:
        Kingma and Welling (2014), Auto-encoding variational Bayes, eq. 3, https://arxiv.org/abs/1312.6114
        Hoffman and Johnson (2016), ELBO surgery (the split into KL and mutual information).

    Example:
        >>> q = dist.Normal(torch.randn(100, 2), 0.5).to_event(1)
        >>> z = q.sample()
        >>> torch.equal(Conditional()(z, q), q.log_prob(z))
        True
    """

    event_dim = None
    divergence = "KL + I"
    reads_conditional = True

    def forward(self, z: Tensor, conditional=None, mask: Tensor | None = None) -> Tensor:
        """Log q(z_i | x_i), (..., N), nats; masked rows and steps score 0."""
        if conditional is None or hasattr(conditional, "log_density"):
            raise ValueError(
                "Conditional scores latents under q(z | x), and a deterministic encoder has no such density: sample "
                "the site from a distribution of batch shape (N,), such as Normal(loc, scale).to_event(1)"
            )
        with torch.autocast(z.device.type, enabled=False):
            if mask is None:
                return conditional.log_prob(z)
            if mask.dim() == 1:
                return torch.where(mask, conditional.log_prob(z), 0.0)
            return _by_step(z, conditional, mask)


def _by_step(z: Tensor, conditional, mask: Tensor) -> Tensor:
    """Sum over the steps (N, T) that are there."""
    factors, event_dim = conditional, conditional.event_dim
    while isinstance(factors, Independent):
        factors = factors.base_dist
    if len(factors.batch_shape) < 2 or mask.shape != factors.batch_shape[:2]:
        raise ValueError(
            f"a mask of shape {tuple(mask.shape)} needs a conditional that is independent over those steps, such as "
            f"Normal(loc, scale).to_event(2), got {type(factors).__name__} of batch shape "
            f"{tuple(factors.batch_shape)}: drop the mask, or encode each step on its own"
        )
    log_prob = factors.log_prob(z)
    steps = log_prob.flatten(log_prob.dim() - event_dim + 1).sum(-1) if event_dim > 1 else log_prob
    return torch.where(mask, steps, 0.0).sum(-1)
