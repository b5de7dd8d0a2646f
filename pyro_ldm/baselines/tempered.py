"""The beta-VAE: the KL weighed against the reconstruction."""

from typing import Any

from pyro.infer import ELBO, Trace_ELBO
from pyro.poutine.messenger import Messenger

from pyro_ldm.compatibility import is_likelihood


class Tempered(ELBO):
    r"""An ELBO whose latents' part is weighed by beta: what makes a VAE a beta-VAE.

    .. math:: \mathcal L = \beta \, \mathbb{E}_x \mathrm{KL}(q(z \mid x) \,\|\, P) - \mathbb{E} \log p(x \mid z)

    All sites in plate "batch" are weighed but the observed data. For beta of 1 or more minus the loss is a bound on the
    evidence, no better than the ELBO; below 1 it is none. ``Objective.terms`` are those of the ELBO itself, unweighed.
    ``elbo.beta`` may be set at any time, by a callback that warms it up, say.

    Args:
        beta: The weight, positive.
        elbo: The ELBO to weigh, ``Trace_ELBO()`` by default.

    Raises:
        ValueError: If beta is not positive.

    References:
        Higgins et al. (2017), beta-VAE, eq. 4, https://openreview.net/forum?id=Sy2fzU9gl

    Example:
        >>> decoder = ldm.baselines.MLPDecoder(2, (8,), hidden=[32])
        >>> model = ldm.baselines.Generative(ldm.priors.Gaussian(2), decoder, ldm.baselines.Gaussian())
        >>> guide = ldm.guides.Gaussian(torch.nn.Linear(8, 4), ldm.entropy.Conditional())
        >>> loss = ldm.Objective(model, guide, Tempered(4.0))
        >>> loss(torch.randn(50, 8)).dim()
        0
    """

    def __init__(self, beta: float, elbo: ELBO | None = None):
        if not beta > 0:
            raise ValueError(f"beta weighs the KL and must be positive, got {beta}")
        super().__init__()
        self.beta = beta
        self.terms_of: Any = Trace_ELBO() if elbo is None else elbo

    def _get_trace(self, model, guide, args, kwargs):
        return self.terms_of._get_trace(model, guide, args, kwargs)

    def loss(self, model, guide, *args, **kwargs) -> float:
        """The weighed loss of the whole batch, nats."""
        with _Weigh(self.beta):
            return self.terms_of.loss(model, guide, *args, **kwargs)

    def differentiable_loss(self, model, guide, *args, **kwargs):
        """The same, to be differentiated."""
        with _Weigh(self.beta):
            return self.terms_of.differentiable_loss(model, guide, *args, **kwargs)

    def loss_and_grads(self, model, guide, *args, **kwargs) -> float:
        """The same, with its gradients: for ``SVI``."""
        with _Weigh(self.beta):
            return self.terms_of.loss_and_grads(model, guide, *args, **kwargs)


class _Weigh(Messenger):
    def __init__(self, beta: float):
        super().__init__()
        self.beta = beta

    def _pyro_sample(self, msg) -> None:
        if any(frame.name == "batch" for frame in msg["cond_indep_stack"]) and not is_likelihood(msg):
            msg["scale"] = msg["scale"] * self.beta
