"""A categorical encoder of one or several views, as an amortized guide."""

import pyro
import torch
from pyro.distributions import Categorical as CategoricalDistribution
from pyro.nn import PyroModule
from torch import Tensor, nn

from pyro_ldm.entropy import Arrangement, Entropy, Joint, Mixture, Zero
from pyro_ldm.guides.sample_views import sample_views


class Categorical(PyroModule):
    r"""Two sites (or more) of categories, :math:`q(k \mid x) = \mathrm{softmax} f(x)`, under one joint estimate.

    .. math:: R(k, k') = \tfrac1N \sum_i q(k \mid x_i) \, q(k' \mid x'_i)

    The sites are enumerated: the objective takes ``TraceEnum_ELBO(max_plate_nesting=1)``, and has no sampling noise.
    :func:`pyro_ldm.training.latents` gives the probabilities q(k | x), whose ``argmax(-1)`` is the category found.

    Args:
        encoder: Any module that maps a view (N, ...) to logits (N, K), or (N, M K) for M factors. The views go through
            it as one batch of N V rows, so that batch normalisation sees them together.
        num_categories: K, at least 2.
        entropy: An arrangement of :class:`~pyro_ldm.entropy.Mixture`: ``Joint(Mixture())`` by default, the exact
            R(k, k') of the batch and so its KL(R || P); ``Separate(Mixture())``, its marginals, for KL less the mutual
            information.
        num_factors: M. The encoder has a softmax per factor; their product is one categorical of K^M states, as in
            :class:`pyro_ldm.priors.CategoricalViews`.
        sites: Names of the sites, one per view.

    Shape:
        One tensor (N, ...) per view, to a dict of categories (N,), integers from 0 to K^M - 1.

    Raises:
        ValueError: If K < 2, M < 1, or the entropy is of vectors; at a call, if the views or the logits have the wrong
            shape, or the logits are not finite.

    References:
        Mikulasch and Zenke (2026), Understanding Self-Supervised Learning via Latent Distribution Matching.
        https://arxiv.org/abs/2605.03517

    Example:
        >>> from pyro.infer import TraceEnum_ELBO
        >>> guide = Categorical(torch.nn.Linear(8, 3), 3)
        >>> loss = ldm.Objective(ldm.priors.CategoricalViews(3), guide, TraceEnum_ELBO(max_plate_nesting=1))
        >>> x, x_prime = torch.randn(2, 50, 8)
        >>> bool(loss(x, x_prime) > 0)
        True
    """

    def __init__(
        self,
        encoder: nn.Module,
        num_categories: int,
        entropy: Entropy | None = None,
        *,
        num_factors: int = 1,
        sites: tuple[str, ...] = ("z", "z_prime"),
    ):
        super().__init__()
        if num_categories < 2:
            raise ValueError(
                f"num_categories must be at least 2, got {num_categories}: one category holds every datum and tells "
                "nothing of it"
            )
        if num_factors < 1:
            raise ValueError(f"num_factors must be at least 1, got {num_factors}")
        self.encoder, self.num_categories, self.num_factors = encoder, num_categories, num_factors
        self.entropy = Joint(Mixture()) if entropy is None else entropy
        inner = getattr(self.entropy, "entropy", None)
        if not isinstance(self.entropy, Zero) and not (
            isinstance(self.entropy, Arrangement) and isinstance(inner, Mixture)
        ):
            got = type(self.entropy).__name__ + (f"({type(inner).__name__}())" if inner is not None else "()")
            raise ValueError(f"categories take Joint(Mixture()) or Separate(Mixture()), got {got}: use one of them")
        self.sites = tuple(sites)

    def conditional(self, x: Tensor) -> CategoricalDistribution:
        """q(k | x), of batch shape (N,): from each factor's logits, their outer sum over all K^M states."""
        logits = self.encoder(x)
        width = self.num_factors * self.num_categories
        if logits.shape != (len(x), width):
            factors = f"{self.num_factors} x " if self.num_factors > 1 else ""
            raise ValueError(
                f"the encoder gives logits of shape {tuple(logits.shape)}, and {factors}{self.num_categories} "
                f"categories of {len(x)} rows need {(len(x), width)}: give it as many outputs"
            )
        finite = torch.isfinite(logits).all(-1)
        if not finite.all():
            raise ValueError(
                f"the encoder gives NaN or Inf in {int((~finite).sum())} of {len(x)} rows: look at the data, lower the "
                "learning rate or clip gradients"
            )
        logits = logits.to(torch.promote_types(logits.dtype, torch.float32))  # of half precision under autocast
        factors = logits.unflatten(-1, (self.num_factors, self.num_categories)).unbind(-2)
        states = factors[0]
        for factor in factors[1:]:
            states = (states.unsqueeze(-1) + factor.unsqueeze(-2)).flatten(-2)
        return CategoricalDistribution(logits=states)

    def forward(self, *views: Tensor) -> dict[str, Tensor]:
        """Encode the views and sample their sites."""
        if len(views) != len(self.sites) or len({v.shape for v in views}) != 1:
            raise ValueError(
                f"expected {len(self.sites)} views of one shape, for sites {list(self.sites)}, "
                f"got {[tuple(v.shape) for v in views]}: pair each datum with one view of itself per site"
            )
        logits = self.conditional(torch.cat(views)).logits.chunk(len(views))
        conditionals = [CategoricalDistribution(logits=part) for part in logits]
        with pyro.plate("batch", len(views[0])):
            return sample_views(
                dict(zip(self.sites, conditionals, strict=True)), self.entropy, infer={"enumerate": "parallel"}
            )
