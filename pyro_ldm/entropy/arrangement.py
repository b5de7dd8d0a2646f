r"""How the axis before D is treated, for views and for time alike: jointly, separately, or pooled.

An arrangement wraps an estimator, and scores rows of shape (..., N, V, D) where the estimator scores (..., N, D).
"""

from torch import Tensor

from pyro_ldm.entropy.base import Entropy


class Arrangement(Entropy):
    """An estimator around an estimator, for sites that have views or steps.

    Args:
        entropy: The estimator of a single vector's density.

    Shape:
        z (..., N, V, D), mask (N, V), to (..., N), nats, summed over V.
    """

    event_dim: int | None = 2

    def __init__(self, entropy: Entropy):
        super().__init__()
        if entropy.event_dim == 2:
            raise ValueError(f"{type(self).__name__} arranges an estimator of vectors, got another arrangement")
        self.entropy = entropy
        self.reads_conditional = entropy.reads_conditional
        self.on_sphere, self.gaussian = entropy.on_sphere, entropy.gaussian
        self.divergence = entropy.divergence


class Joint(Arrangement):
    r"""The joint density of all views or steps, as one long vector: the LDM objective.

    .. math:: \log \hat R(z_{i,1}, \dots, z_{i,V})

    A masked view or step leaves the whole row out: it scores 0.

    Example:
        >>> Joint(ldm.entropy.Zero())(torch.zeros(5, 2, 3))
        tensor([0., 0., 0., 0., 0.])
    """

    def forward(self, z: Tensor, conditional=None, mask: Tensor | None = None) -> Tensor:
        """Log of the joint density, (..., N), nats."""
        mask = None if mask is None else mask.all(-1)
        if self.reads_conditional:
            return self.entropy(z, conditional, mask)
        return self.entropy(z.flatten(-2), None, mask)


class Separate(Arrangement):
    r"""One estimate per view or step, summed: LDM plus the mutual information between them, also called InfoLDM.

    .. math:: \sum_v \log \hat R_v(z_{i,v})

    Minus the objective is KL(R || P) - I, no longer a divergence: it can be negative.

    Example:
        >>> Separate(ldm.entropy.LogDet())(torch.randn(50, 2, 3)).shape
        torch.Size([50])
    """

    def __init__(self, entropy: Entropy):
        super().__init__(entropy)
        self.divergence = "KL - I" if entropy.divergence == "KL" else entropy.divergence

    def forward(self, z: Tensor, conditional=None, mask: Tensor | None = None) -> Tensor:
        """Sum of the log marginal densities, (..., N), nats."""
        if self.reads_conditional:
            views = list(zip(z.unbind(z.dim() - conditional.event_dim), conditional.views, strict=True))
        elif mask is None:
            return self.entropy(z.movedim(-2, 0)).sum(0)  # all at once
        else:
            views = [(view, None) for view in z.unbind(-2)]
        masks = [None] * len(views) if mask is None else mask.unbind(-1)
        return sum(self.entropy(view, q, m) for (view, q), m in zip(views, masks, strict=True))


class Pooled(Arrangement):
    r"""One estimate from the rows of all views or steps together, summed over them: a stationary marginal.

    .. math:: \sum_v \log \hat R(z_{i,v}), \qquad \hat R \text{ from all } N V \text{ rows}

    Pooled views under a von Mises-Fisher :class:`KDE` are the denominators of NT-Xent, with its 2N - 1 others.
    Neighbours of a step in its own series are near by dynamics, not by density: with :class:`KNN` prefer groups of
    rows from different series, as :class:`Separate` has them.

    Example:
        >>> Pooled(ldm.entropy.LogDet())(torch.randn(50, 2, 3)).shape
        torch.Size([50])
    """

    def __init__(self, entropy: Entropy):
        super().__init__(entropy)
        if entropy.reads_conditional:
            raise ValueError(f"Pooled takes estimators that read rows alone, not {type(entropy).__name__}")
        self.divergence = "KL - I" if entropy.divergence == "KL" else entropy.divergence

    def forward(self, z: Tensor, conditional=None, mask: Tensor | None = None) -> Tensor:
        """Sum over views or steps of the pooled log-density, (..., N), nats."""
        views, mask = z.shape[-2], None if mask is None else mask.flatten()
        return self.entropy(z.flatten(-3, -2), None, mask).unflatten(-1, (-1, views)).sum(-1)
