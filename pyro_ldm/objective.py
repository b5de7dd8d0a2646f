r"""The objective: a stock ELBO, per datum, in nats, and its split into alignment and uniformity."""

import warnings
from collections.abc import Callable
from typing import NamedTuple

import pyro
import torch
from pyro import poutine
from pyro.distributions import (
    Delta,
    ExpandedDistribution,
    ImproperUniform,
    LowRankMultivariateNormal,
    MaskedDistribution,
    MultivariateNormal,
    Normal,
    Unit,
)
from pyro.infer import ELBO, Trace_ELBO
from pyro.poutine.messenger import Messenger
from pyro.poutine.util import site_is_subsample
from torch import Tensor, nn
from torch.distributions import Independent

from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.entropy import Zero

GAUSSIAN = (Normal, MultivariateNormal, LowRankMultivariateNormal, ImproperUniform, Delta)


class Terms(NamedTuple):
    """An objective's split, in nats per datum; loss = kl + global_kl.

    Attributes:
        alignment: Expected log-probability of the latents under the prior, E log P(z).
        uniformity: Entropy of the latents, H[z].
        kl: Minus their sum. What it is, ``divergence`` says.
        global_kl: KL of the posterior of global sites (the prior's parameters) from their prior, divided by the data.
        divergence: ``"KL"``: KL(R || P) itself; ``"KL - I"``: less the mutual information between views;
            ``"cross-entropy"``: up to the unknown entropy of the data; ``"score"``: no entropy, or a flat prior.
    """

    alignment: float
    uniformity: float
    kl: float
    global_kl: float
    divergence: str


class Objective(nn.Module):
    r"""Loss of a prior and a guide: a stock ELBO per datum, which for a pushforward guide is a KL divergence.

    .. math:: \mathcal L = -\mathbb{E}_R[\log P(z)] - H_R[z] = \mathrm{KL}(R \,\|\, P)

    The objective runs under Pyro's ``module_local_params``: parameters live in the modules, for any torch optimizer, and the
    global parameter store stays empty. Prior and guide that have parameters are modules (``PyroModule`` where they
    sample or constrain them). In a plain ``SVI`` loop the same pair runs under Pyro's default, which fills the store.

    Args:
        prior: The assumed latent model, a Pyro program called with the batch.
        guide: The encoder as an amortized guide, called with the same batch.
        elbo: Any of Pyro's ELBOs; ``Trace_ELBO()`` by default.
        size: Number of data in the whole set, where a batch is a part of it: scales the sites in plate "batch"
            against the global sites. Not needed without global sites.

    Shape:
        ``(*batch)`` tensors whose first dim is N, to a scalar, nats per datum.

    Raises:
        ValueError: On the first call, if the prior's sites do not match the guide's, differ in shape, or a
            pushforward is outside the plate or its batch is not the rightmost dim.

    Example:
        >>> def prior(x):
        ...     with pyro.plate("batch", len(x)):
        ...         pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
        >>> def guide(x):
        ...     with pyro.plate("batch", len(x)):
        ...         pyro.sample("z", ldm.Pushforward(x, ldm.entropy.LogDet()))
        >>> loss = ldm.Objective(prior, guide)
        >>> x = torch.randn(1000, 2)
        >>> bool(loss(x).abs() < 0.01)
        True
        >>> loss.terms(x).divergence
        'KL'
    """

    def __init__(self, prior: Callable, guide: Callable, elbo: ELBO | None = None, *, size: int | None = None):
        super().__init__()
        if size is not None and size < 1:
            raise ValueError(f"size is the number of data in the whole set, got {size}")
        self.elbo = (Trace_ELBO() if elbo is None else elbo)(prior, guide)
        # A module within effect handlers is no submodule of theirs; its parameters are to be seen all the same.
        within = [poutine.unwrap(program) for program in (prior, guide) if not isinstance(program, nn.Module)]
        self.within_handlers = nn.ModuleList(program for program in within if isinstance(program, nn.Module))
        for module in self.modules():
            context = getattr(module, "_pyro_context", None)
            if context is not None and not hasattr(context, "param_state"):
                # Pyro makes this where a module is built, and only if the setting is on by then.
                context.param_state = {"params": {}, "constraints": {}}
        self.size = size
        self._divergence: str | None = None

    @property
    def prior(self) -> Callable:
        """The assumed latent model."""
        return self.elbo.model

    @property
    def guide(self) -> Callable:
        """The encoder as a guide."""
        return self.elbo.guide

    def forward(self, *batch) -> Tensor:
        """Loss in nats per datum."""
        self._check(*batch)
        return self._per_datum(self.elbo, *batch)

    @torch.no_grad()
    def terms(self, *batch) -> Terms:
        """Alignment, uniformity, their KL, and the global sites' KL, for this batch, in nats per datum.

        Each is a run of the same ELBO on the same random numbers: without the guide's entropy, and with the data's
        share of the ELBO weighted by zero. So enumerated and vectorised models are split as well.
        """
        divergence = self._check(*batch)
        runs = []
        devices = [batch[0].device] if torch.is_tensor(batch[0]) and batch[0].is_cuda else []
        seed = int(torch.randint(2**31, ()))
        elbo, prior, guide = self.elbo.elbo, self.prior, self.guide
        for run_guide, weight in ((guide, 1.0), (_without_entropy(guide), 1.0), (guide, 0.0)):
            with torch.random.fork_rng(devices=devices):
                torch.manual_seed(seed)
                run = lambda *args, g=run_guide: elbo.loss(prior, g, *args)  # noqa: E731
                runs.append(float(self._per_datum(run, *batch, weight=weight)))
        loss, without_entropy, global_kl = runs
        return Terms(global_kl - without_entropy, without_entropy - loss, loss - global_kl, global_kl, divergence)

    def _per_datum(self, elbo: Callable, *batch, weight: float = 1.0) -> Tensor:
        rows = len(batch[0])
        plate = _BatchPlate(weight if self.size is None else weight * self.size / rows)
        with pyro.settings.context(module_local_params=True), plate:
            loss = elbo(*batch)
        return torch.as_tensor(loss) / (self.size or plate.full_size or rows)

    def _check(self, *batch) -> str:
        """What the objective is; refuses, once, a prior and a guide that do not fit."""
        if self._divergence is None:
            # The extra run leaves no trace: neither in the random state nor in batch statistics.
            modes = {module: module.training for module in self.modules()}
            self.eval()
            devices = [batch[0].device] if torch.is_tensor(batch[0]) and batch[0].is_cuda else []
            try:
                with pyro.settings.context(module_local_params=True), torch.no_grad(), torch.random.fork_rng(devices):
                    self._divergence = check(self.prior, self.guide, *batch)
            finally:
                for module, training in modes.items():
                    module.training = training
        return self._divergence


class _BatchPlate(Messenger):
    """Weighs the sites in plate "batch", and notes how large the plate says the data are."""

    def __init__(self, weight: float):
        super().__init__()
        self.weight, self.full_size = weight, None

    def _pyro_sample(self, msg) -> None:
        for frame in msg["cond_indep_stack"]:
            if frame.name == "batch":
                self.full_size = frame.full_size or frame.size
                if self.weight != 1.0:
                    msg["scale"] = msg["scale"] * self.weight


class _WithoutEntropy(Messenger):
    """Scores a guide's sites in the plate zero: what is left of an ELBO is the alignment."""

    def _pyro_sample(self, msg) -> None:
        if not any(frame.name == "batch" for frame in msg["cond_indep_stack"]):
            return
        if isinstance(msg["fn"], Pushforward):
            site = msg["fn"]
            msg["fn"] = Pushforward(site.conditional, Zero()).expand(site.batch_shape)
        elif isinstance(msg["fn"], Unit):
            msg["fn"] = Unit(torch.zeros_like(msg["fn"].log_factor), has_rsample=True)
        elif msg["type"] == "sample":
            msg["mask"] = False


def _without_entropy(guide: Callable) -> Callable:
    return lambda *batch: _run(_WithoutEntropy(), guide, batch)


def _run(handler: Messenger, program: Callable, batch: tuple):
    with handler:
        return program(*batch)


def check(prior: Callable, guide: Callable, *batch) -> str:
    """Run the pair once; say what its objective is (see :class:`Terms`), or raise a ValueError naming the misfit."""
    rows = len(batch[0])
    guide_trace = poutine.trace(guide).get_trace(*batch)
    guide_sites = {n: s for n, s in _sample_sites(guide_trace).items() if not s["infer"].get("is_auxiliary")}
    for name, site in guide_sites.items():
        if isinstance(site["fn"], Pushforward):
            _check_plate(name, site, rows, "guide")
            bad = int((~torch.isfinite(site["value"])).reshape(rows, -1).any(-1).sum()) if site["fn"].has_rsample else 0
            if bad:
                raise ValueError(f"site {name!r} has NaN or Inf in {bad} of {rows} rows: look at the data and the encoder")
    try:
        prior_trace = poutine.trace(poutine.replay(prior, trace=guide_trace)).get_trace(*batch)
    except NotImplementedError as error:
        raise ValueError(
            f"the prior has a flat site that the guide does not sample (the guide samples {sorted(guide_sites)}): {error}"
        ) from error
    prior_sites = _sample_sites(prior_trace)
    latent = {n for n, s in prior_sites.items() if not s["is_observed"] and not s["infer"].get("enumerate")}
    extra, missing = sorted(set(guide_sites) - set(prior_sites)), sorted(latent - set(guide_sites))
    if extra or missing:
        raise ValueError(
            f"the prior's sites {sorted(latent)} do not match the guide's {sorted(guide_sites)}: "
            + "; ".join(
                ([f"the guide lacks {missing} (add an AutoGuide for global ones)"] if missing else [])
                + ([f"the prior lacks {extra}"] if extra else [])
            )
        )
    kinds = {"KL"}
    estimated = [((n,), s["fn"].entropy) for n, s in guide_sites.items() if isinstance(s["fn"], Pushforward) and "views" not in s["infer"]]
    estimated += [(s["infer"]["sites"], s["infer"]["entropy"]) for s in guide_trace.nodes.values() if "entropy" in s.get("infer", {})]
    for name, site in guide_sites.items():
        fn, expected = site["fn"], prior_sites[name]["fn"]
        if not isinstance(fn, Pushforward):
            continue
        _check_plate(name, prior_sites[name], rows, "prior")
        if tuple(fn.event_shape) != tuple(expected.event_shape):
            raise ValueError(
                f"site {name!r} has event shape {tuple(expected.event_shape)} in the prior and {tuple(fn.event_shape)} in the guide: "
                "give the encoder as many outputs as the prior has latent dims"
            )
        if isinstance(_base(expected), ImproperUniform):
            kinds.add("score")
    for names, entropy in estimated:
        kinds.add(entropy.divergence)
        for name in names if entropy.gaussian else ():
            _warn_unless_gaussian(name, prior_sites[name]["fn"])
    return next(kind for kind in ("score", "cross-entropy", "KL - I", "KL") if kind in kinds)


def _sample_sites(trace) -> dict:
    return {n: s for n, s in trace.nodes.items() if s["type"] == "sample" and not site_is_subsample(s)}


def _check_plate(name: str, site: dict, rows: int, program: str) -> None:
    frames = {frame.dim: frame for frame in site["cond_indep_stack"]}
    if -1 not in frames or frames[-1].name != "batch":
        where = "outside the plate" if not frames else f"in plates {[f.name for f in frames.values()]}"
        raise ValueError(
            f"site {name!r} of the {program} is {where}, and a pushforward is estimated from the batch: "
            'sample it within pyro.plate("batch", len(x)), the rightmost plate'
        )
    if frames[-1].size != rows:
        raise ValueError(f'plate "batch" of the {program} has {frames[-1].size} rows, the batch {rows}: write pyro.plate("batch", len(x))')


def _base(fn):
    while isinstance(fn, MaskedDistribution | ExpandedDistribution | Independent):
        fn = fn.base_dist
    return fn


def _warn_unless_gaussian(name: str, fn) -> None:
    if not isinstance(_base(fn), GAUSSIAN) and not getattr(_base(fn), "gaussian", False):
        warnings.warn(
            f"site {name!r} pairs LogDet with a {type(_base(fn)).__name__} prior: the log-determinant overestimates the entropy "
            "of non-Gaussian latents, and a flexible encoder will exploit that (a loss below zero). "
            "Use KNN, KDE or, for an invertible encoder, Jacobian",
            stacklevel=2,
        )
