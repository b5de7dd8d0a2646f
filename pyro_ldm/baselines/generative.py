"""A prior with a likelihood: the generative model of a VAE."""

from collections.abc import Callable, Mapping
from typing import Any

import pyro
import torch
from pyro import poutine
from pyro.nn import PyroModule
from torch import Tensor, nn

SITES = {"z": "x", "z_prime": "x_prime"}


class Generative(PyroModule):
    r"""A prior over latents, a decoder, and a likelihood: the same assumed latent model, with the data kept.

    .. math:: z \sim P(z), \qquad x \mid z \sim \mathrm{likelihood}(\mathrm{decoder}(z))

    Any prior program will do: of single latents, of pairs of views (x and x_prime, each decoded from its latent), of
    series (the decoder is then a :class:`~pyro_ldm.encoders.PerStep`). A VAE is this with a guide that is scored by its
    conditionals, ``guides.Gaussian(encoder, entropy.Conditional())``. Scored by its marginal, ``entropy.LogDet()`` say,
    it is an InfoVAE; and without the likelihood, latent distribution matching. (``entropy.Mixture()`` tells rows apart
    up to I(x; z) = log N of the batch: beyond it is the VAE's score again, less log N.)

    Called with data, it observes them; ``model(range(n))`` generates.

    Args:
        prior: The assumed latent model, called with the batch.
        decoder: Any module from z (N, D), or (N, T, D), to what the likelihood takes.
        likelihood: From the decoder's output to a distribution with a batch dim for each number of x:
            :class:`Bernoulli`, :class:`Gaussian`, :class:`DiscretizedLogistic`, or any function.
        sites: Name of each latent site to that of the data decoded from it; the tensors of the batch are the data in
            this order. Those of ``{"z": "x", "z_prime": "x_prime"}`` that the prior has, by default.

    Shape:
        Called with x (N, ...), one tensor for each such site, and whatever else the prior takes. A boolean mask, (N,)
        or (N, T), says which rows or steps are there: the others, which may be NaN, are not scored.

    Raises:
        ValueError: If the prior has no such site, the decoder's output does not have the shape of the data, or data are
            outside the likelihood's support.

    References:
        Kingma and Welling (2014), Auto-encoding variational Bayes, https://arxiv.org/abs/1312.6114; Zhao, Song and
        Ermon (2019), InfoVAE, https://arxiv.org/abs/1706.02262

    Example:
        >>> decoder = ldm.baselines.MLPDecoder(2, (1, 8, 8), hidden=[32])
        >>> model = Generative(ldm.priors.Gaussian(2), decoder, ldm.baselines.Bernoulli())
        >>> guide = ldm.guides.Gaussian(ldm.encoders.MLP(64, 4, hidden=[32]), ldm.entropy.Conditional())
        >>> vae = ldm.Objective(model, guide)
        >>> vae.terms(torch.rand(50, 1, 8, 8)).objective
        '-ELBO'
        >>> model(range(5)).shape
        torch.Size([5, 1, 8, 8])
    """

    def __init__(
        self,
        prior: Callable,
        decoder: Callable[[Tensor], Tensor],
        likelihood: Callable[[Tensor], Any],
        *,
        sites: Mapping[str, str] | None = None,
    ):
        super().__init__()
        # A submodule by torch's rules alone: Pyro's would rename the prior's own sites, "scale" to "prior.scale".
        self._modules["prior"] = prior if isinstance(prior, nn.Module) else None
        self._prior = (prior,)
        self.decoder, self.likelihood = decoder, likelihood
        self.sites = dict(SITES if sites is None else sites)
        self._all_sites = sites is not None  # or whichever of the usual ones there are
        self._checked: set[str] = set()

    @property
    def prior(self) -> Callable:
        """The assumed latent model."""
        return self._prior[0]

    def forward(self, *batch) -> Tensor | tuple[Tensor, ...]:
        """Sample the latents, and sample or observe the data."""
        latents: dict[str, Any] = poutine.trace(self.prior).get_trace(*batch).nodes
        found = {z: x for z, x in self.sites.items() if z in latents}
        if not found or (self._all_sites and len(found) < len(self.sites)):
            raise ValueError(
                f"the prior has no site {sorted(set(self.sites) - set(found))} to decode: it has "
                f"{[n for n, s in latents.items() if s['type'] == 'sample' and n != 'batch']}; pass sites="
            )
        if isinstance(batch[0], Tensor) and batch[0].dtype == torch.bool:
            raise ValueError("x is boolean, as a mask is: pass it as numbers, x.float()")
        mask = next((b for b in batch[1:] if isinstance(b, Tensor) and b.dtype == torch.bool), None)
        observed = [b for b in batch if isinstance(b, Tensor) and b.dtype != torch.bool][: len(found)]
        if observed and len(observed) < len(found):
            raise ValueError(f"the batch has {len(observed)} tensors of data for sites {list(found.values())}")
        plate, values = _same_plate(latents[next(iter(found))], batch), []
        for i, (z, name) in enumerate(found.items()):
            fn = self._distribution(latents[z]["value"], latents[z]["fn"].event_dim, mask)
            x = self._data(name, observed[i], fn, mask) if observed else None
            with plate:
                values.append(pyro.sample(name, fn, obs=x))
        return values[0] if len(values) == 1 else tuple(values)

    def decode(self, z: Tensor) -> Any:
        """p(x | z) of latents (N, D), or (N, T, D) of series: a distribution of batch shape (N,)."""
        return self._distribution(z, z.dim() - 1, None)

    def _distribution(self, z: Tensor, event_dim: int, mask: Tensor | None) -> Any:
        # Particles and enumeration put dims to the left of the batch: to the decoder they are more rows.
        lead = z.shape[: z.dim() - event_dim]
        output = self.decoder(z.reshape(-1, *z.shape[len(lead) :]))
        output = output.to(torch.promote_types(output.dtype, torch.float32))  # of half precision under autocast
        fn = self.likelihood(output.reshape(*lead, *output.shape[1:]))
        numbers = len(fn.batch_shape) - len(lead)
        if mask is not None:
            fn = fn.mask(mask.reshape(*mask.shape, *[1] * (numbers + 1 - mask.dim())))
        return fn.to_event(numbers)

    def _data(self, name: str, x: Tensor, fn: Any, mask: Tensor | None) -> Tensor:
        """The data, to be scored by ``fn``; what is masked is 0."""
        shape, expected = tuple(x.shape[1:]), tuple(fn.event_shape)
        if shape != expected:
            raise ValueError(
                f"{name} has data of shape {shape}, and the decoder with its likelihood gives {expected}: "
                f"give the decoder an output of that shape, as MLPDecoder(latent_dim, {shape}) has, or reshape the data"
            )
        if mask is not None:
            x = x.masked_fill(~mask.reshape(*mask.shape, *[1] * (x.dim() - mask.dim())), 0)
        if name not in self._checked and hasattr(self.likelihood, "check"):
            self.likelihood.check(x)
            self._checked.add(name)
        return x


def _same_plate(site: Any, batch: tuple) -> Any:
    """The plate that the prior has sampled a site in, to sample more in: a second statement of it would clash."""
    rows = len(batch[0])
    frame = next((frame for frame in site["cond_indep_stack"] if frame.name == "batch"), None)
    if frame is None:
        raise ValueError(f'site {site["name"]!r} of the prior is outside pyro.plate("batch", len(x)): put it inside')
    whole = frame.full_size in (None, rows)
    with poutine.block(hide=["batch"]):
        return pyro.plate("batch", rows if whole else frame.full_size, subsample=None if whole else batch[0])
