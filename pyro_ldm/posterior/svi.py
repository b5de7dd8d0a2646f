r"""Posterior of the prior's parameters by variational inference, latents fixed."""

import warnings
from collections.abc import Callable, Mapping, Sequence
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.infer import Trace_ELBO, TraceEnum_ELBO, config_enumerate
from pyro.infer.autoguide import AutoNormal
from torch import Tensor, nn

from pyro_ldm.diagnostics.arviz import Tree, add_groups, draws, from_svi
from pyro_ldm.diagnostics.arviz.programs import plate_dims
from pyro_ldm.objective import Objective
from pyro_ldm.posterior.given import Given, parameters_of, rows_of
from pyro_ldm.posterior.program import given_latents
from pyro_ldm.posterior.progress import progress_bar
from pyro_ldm.posterior.sites import as_sites
from pyro_ldm.posterior.unexpanded import Unexpanded, can_be_unexpanded

K_HAT = 0.7


def svi(
    prior: Callable,
    z: Tensor | Mapping[str, Tensor],
    *,
    batch: tuple | None = None,
    autoguide: Callable[[Callable], nn.Module] = AutoNormal,
    num_steps: int = 3000,
    lr: float = 0.05,
    batch_size: int | None = None,
    num_samples: int = 1000,
    seed: int = 0,
    progress: bool = True,
    dims: Mapping[str, Sequence[str]] | None = None,
    coords: Mapping[str, Sequence] | None = None,
) -> Tree:
    r"""Draws from an approximation of the posterior given latents, fitted by maximising the ELBO.

    .. math:: q^* = \arg\max_q \; \mathbb{E}_{q(\theta)} \Big[ \log P(\theta) - \log q(\theta)
        + \tfrac{N}{B} \sum_{i \in \text{batch}} \log P(z_i \mid \theta) \Big]

    Faster than :func:`~pyro_ldm.posterior.nuts.nuts` for many latents, in minibatches. Its intervals may be too narrow:
    an ``AutoNormal`` leaves out correlations between parameters, and any guide what does not fit its family. The k-hat
    of its importance weights, in the tree's attributes, says how far off it is: above 0.7, use NUTS or a richer guide,
    such as ``AutoMultivariateNormal``.

    Adam's learning rate falls to zero by a cosine, which averages out the noise of draws and of minibatches.

    Args:
        prior: The assumed latent model; as for :func:`~pyro_ldm.posterior.nuts.nuts`.
        z: Latents (N, ...), or a dict of them by site.
        batch: What the prior is called with; ``(z,)``, of the first site, by default.
        autoguide: From a program to its guide: an AutoGuide's class, or a function that makes one.
        num_steps: Of the optimizer.
        lr: Learning rate at the start.
        batch_size: B, of latents in a step; all N by default.
        num_samples: Draws from the guide at the end.
        seed: Of everything random; the global random state is left as it was.
        progress: Whether to show a bar, on stderr.
        dims: Names of a parameter's dims, by parameter.
        coords: Labels by dim.

    Returns:
        A tree with groups posterior (one chain of independent draws), sample_stats (lp and log_weight, nats) and
        observed_data.

    Raises:
        ValueError: If there is nothing to infer, latents are bad or do not fit the prior, or the loss is not finite.

    References:
        Kucukelbir et al. (2017), Automatic differentiation variational inference,
        https://jmlr.org/papers/v18/16-107.html; Yao et al. (2018), Yes, but did it work?,
        https://proceedings.mlr.press/v80/yao18a.html

    Example:
        >>> from pyro_ldm.diagnostics.arviz import summary
        >>> prior = ldm.priors.Laplace(2, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
        >>> z = dist.Laplace(0.0, torch.tensor([1.0, 2.0])).sample((500,))
        >>> summary(svi(prior, z, num_steps=500, progress=False))["mean"].round(1).tolist()
        [1.0, 2.0]
    """
    given = given_latents(prior, z, batch)
    parameters = parameters_of(given)
    if num_steps < 1 or lr <= 0:
        raise ValueError(f"num_steps must be at least 1 and lr positive, got {num_steps} and {lr}")
    if batch_size is not None and not 1 <= batch_size <= given.num_data:
        raise ValueError(f"batch_size must be between 1 and the {given.num_data} latents, got {batch_size}")
    model = Model(given)
    guide = autoguide(poutine.block(model, expose=parameters))
    with given.running(), given.seeded(seed):
        elbo = _fit(model, guide, num_steps=num_steps, lr=lr, batch_size=batch_size, progress=progress)
        tree = from_svi(
            guide,
            model=model,
            model_args=model.data,
            num_samples=num_samples,
            seed=seed,
            observed_data=as_sites(z),
            dims=dims,
            coords=coords,
            attrs={"num_steps": num_steps, "batch_size": batch_size or given.num_data, "elbo": elbo},
        )
    if given.computed_sites:
        drawn = draws(tree)
        tree = add_groups(
            tree,
            posterior={name: value[None] for name, value in (drawn | given.computed(drawn)).items()},
            dims=plate_dims(given.parameters | given.computed_sites) | dict(dims or {}),
            coords=coords,
        )
    k_hat = tree.attrs.get("k_hat", 0.0)
    if k_hat > K_HAT:
        warnings.warn(
            f"the guide is far from the posterior: k-hat of its importance weights is {k_hat:.2f}, above {K_HAT}; do "
            "not rely on its intervals: use nuts, a richer autoguide (AutoMultivariateNormal), or more num_steps",
            stacklevel=2,
        )
    return tree


class Model:
    """The prior given a minibatch of latents, and of what it is called with."""

    def __init__(self, given: Given):
        self.given, self.data = given, (*given.z.values(), *given.batch)
        self.unexpanded = can_be_unexpanded(given.sites, given.z)

    def __call__(self, *data) -> Any:
        """Run it on rows of the data."""
        z, batch = dict(zip(self.given.z, data, strict=False)), data[len(self.given.z) :]
        return Unexpanded(self.unexpanded)(config_enumerate(poutine.condition(self.given.prior, data=z)))(*batch)

    def rows(self, num: int) -> tuple:
        """Data of so many random rows."""
        return rows_of(self.data, torch.randperm(self.given.num_data)[:num])


def _fit(model: Model, guide: nn.Module, *, num_steps: int, lr: float, batch_size: int | None, progress: bool) -> float:
    """Maximise the ELBO; its mean over the last tenth of the steps, nats for all data."""
    discrete = any(site["fn"].has_enumerate_support for site in model.given.sites.values() if not site["is_observed"])
    elbo = TraceEnum_ELBO(max_plate_nesting=model.given.nesting) if discrete else Trace_ELBO()
    size = model.given.num_data
    objective = Objective(model, guide, elbo, size=size)
    objective.check(*model.data)  # an AutoGuide has no parameters before
    guide.to(model.given.dtype)
    optimizer = torch.optim.Adam(guide.parameters(), lr=lr)
    schedule = torch.optim.lr_scheduler.CosineAnnealingLR(optimizer, num_steps)
    last: list[Tensor] = []
    with pyro.validation_enabled(False), progress_bar("SVI", num_steps, show=progress) as steps:
        for step in range(num_steps):
            data = model.data if batch_size is None else model.rows(batch_size)
            optimizer.zero_grad()
            loss = objective(*data)
            if not torch.isfinite(loss):
                raise ValueError(f"the loss became {loss.item()} in step {step + 1}: lower lr, or look at the prior")
            loss.backward()
            optimizer.step()
            schedule.step()
            steps.update()
            last = [*last[-(num_steps // 10) :], loss.detach()] if num_steps > 10 else [loss.detach()]
    return -size * float(torch.stack(last).mean())
