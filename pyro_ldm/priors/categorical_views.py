"""A categorical pair of views."""

import math

import pyro
import torch
from pyro import distributions as dist
from pyro.distributions import constraints
from pyro.ops.indexing import Vindex
from torch import Tensor, nn

from pyro_ldm.priors.base import Prior

# The pair is summed over all its values for each row of a batch: at 256 states and 256 rows, 2^24 numbers.
MAX_STATES = 256


class CategoricalViews(Prior):
    r"""Two views of one category: the second stays in it with probability p, or goes to any other.

    .. math:: P(k) = \frac1K, \qquad
        P(k' \mid k) = \begin{cases} p & k' = k \\ (1 - p) / (K - 1) & k' \ne k \end{cases}

    With M factors it is a product of M such pairs, independent of each other, as one categorical of K^M states: their
    transition matrix is the M-fold Kronecker product. State k has the factors' categories as its digits in base K, the
    first factor first (``torch.unravel_index(k, [K] * M)``).

    Under :class:`pyro_ldm.guides.Categorical` and ``TraceEnum_ELBO(max_plate_nesting=1)`` the objective is exact for
    the batch: KL(R || P) by ``Joint(Mixture())``, and less the mutual information by ``Separate(Mixture())``. Training
    from a large p gets stuck, with classes that share a category: let p grow from a small one, by :meth:`set_stay`.

    Args:
        num_categories: K, at least 2.
        stay: p, in (0, 1): a number (fixed), an ``nn.Parameter`` (learned) or a distribution (Bayesian), such as
            ``Beta(9.0, 1.0)``. Independent views have p = 1 / K.
        num_factors: M.

    Shape:
        z and z_prime (N,), integers from 0 to K^M - 1, N the length of the batch.

    Raises:
        ValueError: If K < 2, M < 1, K^M is above 256, or p is not in (0, 1).

    References:
        Mikulasch and Zenke (2026), Understanding Self-Supervised Learning via Latent Distribution Matching (its
        categorical model, with K = 10 and p = .99). https://arxiv.org/abs/2605.03517

    Example:
        >>> z, z_prime = CategoricalViews(10, stay=0.99)(range(1000))
        >>> bool((z == z_prime).double().mean() > 0.9)
        True
    """

    def __init__(
        self,
        num_categories: int,
        stay: float | Tensor | nn.Parameter | dist.Distribution = 0.9,
        *,
        num_factors: int = 1,
    ):
        super().__init__(latent_dim=1)
        if num_categories < 2:
            raise ValueError(
                f"num_categories must be at least 2, got {num_categories}: one category holds every datum and tells "
                "nothing of it"
            )
        if num_factors < 1:
            raise ValueError(f"num_factors must be at least 1, got {num_factors}")
        if num_categories**num_factors > MAX_STATES:
            raise ValueError(
                f"{num_factors} factors of {num_categories} categories have {num_categories**num_factors} states, all "
                f"pairs of which are summed over: use fewer, {MAX_STATES} states at most"
            )
        self.num_categories, self.num_factors = num_categories, num_factors
        if not isinstance(stay, dist.Distribution | torch.distributions.Distribution):
            _check_within(stay)
        self.hyperparameter("stay", stay, constraints.unit_interval, shape=())

    @property
    def num_states(self) -> int:
        """K^M."""
        return self.num_categories**self.num_factors

    def set_stay(self, stay: float) -> None:
        """Set p, where it is a number: for a warm-up during training.

        Raises:
            ValueError: If p is learned or Bayesian, or not in (0, 1).
        """
        if "stay" not in self._buffers:
            raise ValueError("stay is learned or Bayesian: only a stay that was given as a number can be set")
        _check_within(stay)
        self._buffers["stay"].fill_(stay)  # type: ignore[union-attr]

    def log_transition(self, stay: Tensor) -> Tensor:
        """Log of the transition matrix of all states, dims (old, new): p of shape (...) to (..., K^M, K^M)."""
        p, eye = stay[..., None, None], torch.eye(self.num_categories, dtype=torch.bool, device=stay.device)
        factor = torch.where(eye, p.log(), torch.log1p(-p) - math.log(self.num_categories - 1))
        result = factor
        for _ in range(self.num_factors - 1):  # the logarithm of a Kronecker product
            result = result[..., :, None, :, None] + factor[..., None, :, None, :]
            result = result.flatten(-4, -3).flatten(-2, -1)
        return result

    def forward(self, *batch) -> tuple[Tensor, Tensor]:
        """Sample both views; the first tensor of the batch gives N."""
        log_transition = self.log_transition(self.read("stay"))
        uniform = dist.Categorical(logits=log_transition.new_zeros(self.num_states))
        with pyro.plate("batch", len(batch[0])):
            z = pyro.sample("z", uniform)
            if bool((z >= self.num_states).any()):  # a larger guide's; as an index it would be a crash
                raise ValueError(
                    f"site 'z' has category {int(z.max())} where the prior has {self.num_states}, counted from 0: give "
                    "the prior and the guide the same num_categories and num_factors"
                )
            return z, pyro.sample("z_prime", dist.Categorical(logits=Vindex(log_transition)[..., z, :]))


def _check_within(stay: float | Tensor) -> None:
    value = torch.as_tensor(stay)
    if not bool(((value > 0) & (value < 1)).all()):
        raise ValueError(
            f"stay must be in (0, 1), got {value.tolist()}: at 0 or 1 some pairs have no probability, an infinite loss"
        )
