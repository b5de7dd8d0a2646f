r"""The objective: a stock ELBO, per datum, in nats, and its split into alignment, uniformity and reconstruction."""

from collections.abc import Callable
from typing import Any, cast

import pyro
import torch
from pyro import poutine
from pyro.distributions import Unit
from pyro.infer import ELBO, Trace_ELBO, TraceEnum_ELBO, TraceTMC_ELBO
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyro_ldm.compatibility import Pair, estimates, fit_together, is_likelihood
from pyro_ldm.devices import cuda_devices, on_device_of
from pyro_ldm.distributions.pushforward import Pushforward
from pyro_ldm.entropy import Zero
from pyro_ldm.terms import Terms


class Objective(nn.Module):
    r"""Loss of a prior and a guide: a stock ELBO per datum, which for a pushforward guide is a KL divergence.

    .. math:: \mathcal L = -\mathbb{E}_R[\log P(z)] - H_R[z] = \mathrm{KL}(R \,\|\, P)

    The objective runs under Pyro's ``module_local_params``: parameters live in the modules, for any torch optimizer,
    and the global parameter store stays empty. A prior or guide that has parameters is a module (a ``PyroModule`` where
    it samples or constrains them). In a plain ``SVI`` loop the same pair runs under Pyro's default, which fills the
    store. What a prior makes without saying where, ``torch.zeros(8)`` say, is made on the batch's device.

    A prior that observes data (:class:`pyro_ldm.baselines.Generative`) keeps the likelihood; with a guide scored by its
    conditionals (:class:`~pyro_ldm.entropy.Conditional`, or plain Pyro distributions) the loss is a VAE's, minus the
    ELBO.

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
        self.elbo = (Trace_ELBO() if elbo is None else elbo)(prior, guide)  # type: ignore[arg-type]
        # A module within effect handlers is no submodule of theirs; its parameters are to be seen all the same.
        within = [poutine.unwrap(program) for program in (prior, guide) if not isinstance(program, nn.Module)]
        self.within_handlers = nn.ModuleList(program for program in within if isinstance(program, nn.Module))
        keep_local_parameters(self)
        self.size = size
        self._pair: Pair | None = None

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
        self.check(*batch)
        prior, elbo = on_device_of(self.prior, batch), cast(Any, self.elbo.elbo)
        # Some ELBOs refuse to be differentiable without gradients.
        loss = elbo.differentiable_loss if torch.is_grad_enabled() else elbo.loss
        return self._per_datum(lambda *args: loss(prior, self.guide, *args), *batch)

    @torch.no_grad()
    def terms(self, *batch) -> Terms:
        """Alignment, uniformity, their KL, reconstruction, and the global sites' KL, for this batch, nats per datum.

        Each is a run of the same ELBO on the same random numbers: without the guide's entropy, without the likelihood,
        and with the data's share of the ELBO weighted by zero. So enumerated and vectorised models are split as well.
        A bound that is no sum of these (:class:`pyro_ldm.baselines.IWAE`, say) names an ELBO that is, in ``terms_of``.
        """
        elbo = cast(Any, self.elbo.elbo)
        return self._terms(self.check(*batch), getattr(elbo, "terms_of", elbo), self.guide, batch)

    @torch.no_grad()
    def reference(self, *batch, draws: int = 5) -> tuple[float, ...]:
        """The ``kl`` that latents drawn from the prior itself would have: a perfect match, as the estimator sees it.

        Were the estimator exact, a KL would be zero. What it is instead is bias and noise at this batch's size and the
        prior's dimension; a ``kl`` of :meth:`terms` well below it says that an estimate has been exploited.

        Args:
            *batch: As for :meth:`forward`.
            draws: How many times to draw.

        Returns:
            One number per draw, nats per datum; none where the prior is flat, or the guide is scored by the encoder's
            own conditionals (``Jacobian``, ``Mixture``) or not at all.
        """
        pair = self.check(*batch)
        if pair.divergence not in ("KL", "KL - I"):
            return ()
        with pyro.settings.context(module_local_params=True):
            prior = on_device_of(self.prior, batch)
            guides = [_from_the_prior(prior, self.guide, batch) for _ in range(draws)]
        return tuple(self._terms(pair, Trace_ELBO(), guide, batch).kl for guide in guides if guide is not None)

    def _terms(self, pair: Pair, elbo: Any, guide: Callable, batch: tuple) -> Terms:
        own_prior, seed = on_device_of(self.prior, batch), int(torch.randint(2**31, ()))

        def run(prior: Callable, guide: Callable, weight: float = 1.0) -> float:
            with torch.random.fork_rng(devices=cuda_devices()):
                torch.manual_seed(seed)
                loss = self._per_datum(lambda *args: elbo.loss(prior, guide, *args), *batch, weight=weight)
                return float(loss) + 0.0  # no -0.0

        loss = run(own_prior, guide)
        without_entropy = run(own_prior, _under(_WithoutEntropy(), guide))
        global_kl = run(own_prior, guide, weight=0.0) if pair.global_sites else 0.0
        reconstruction = run(_under(_WithoutLikelihood(), own_prior), guide) - loss if pair.likelihood else None
        kl = loss - global_kl + (reconstruction or 0.0)
        uniformity = without_entropy - loss
        return Terms(0.0 - kl - uniformity, uniformity, kl, global_kl, pair.divergence, reconstruction)

    def _per_datum(self, elbo: Callable, *batch, weight: float = 1.0) -> Tensor:
        rows = len(batch[0])
        plate = _BatchPlate(weight if self.size is None else weight * self.size / rows)
        with pyro.settings.context(module_local_params=True), plate:
            loss = elbo(*batch)
        return torch.as_tensor(loss) / (self.size or plate.full_size or rows)

    def check(self, *batch) -> Pair:
        """What prior and guide are together; refuses, once, those that do not fit, as the first call does by itself."""
        if self._pair is None:
            # The extra run leaves no trace: neither in the random state nor in batch statistics.
            modes = {module: module.training for module in self.modules()}
            self.eval()
            # The guide too: an AutoGuide makes its parameters now, by running the prior.
            prior, guide = (on_device_of(program, batch) for program in (self.prior, self.guide))
            forked = torch.random.fork_rng(cuda_devices())
            try:
                with pyro.settings.context(module_local_params=True), torch.no_grad(), forked:
                    pair = fit_together(prior, guide, *batch)
            finally:
                for module, training in modes.items():
                    module.training = training
            elbo = getattr(self.elbo.elbo, "terms_of", self.elbo.elbo)
            if pair.enumerated and not isinstance(elbo, TraceEnum_ELBO | TraceTMC_ELBO):
                raise ValueError(
                    "the guide has sites to be enumerated: pass the ELBO for it, TraceEnum_ELBO(max_plate_nesting=1)"
                )
            self._pair = pair
        return self._pair


def keep_local_parameters(program: Callable) -> None:
    """Give a program's modules the place for parameters that ``module_local_params`` needs.

    Pyro makes it where a module is built, and only if the setting is on by then.
    """
    for module in program.modules() if isinstance(program, nn.Module) else ():
        context = getattr(module, "_pyro_context", None)
        if context is not None and not hasattr(context, "param_state"):
            context.param_state = {"params": {}, "constraints": {}}


def _from_the_prior(prior: Callable, guide: Callable, batch: tuple) -> Callable | None:
    """The guide, its pushforward sites at values drawn from the prior; ``None`` where it reads its conditionals."""
    trace = poutine.trace(guide).get_trace(*batch)
    if any(entropy.reads_conditional for _, entropy in estimates(trace)):
        return None
    sites = [name for names, _ in estimates(trace) for name in names]
    others = trace.copy()
    for name in sites:
        others.remove_node(name)
    drawn = poutine.trace(poutine.replay(prior, trace=others)).get_trace(*batch)
    for name in sites:
        trace.nodes[name]["value"] = drawn.nodes[name]["value"]
    return poutine.replay(guide, trace=trace)


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


class _WithoutLikelihood(Messenger):
    """Scores observed data zero: what is left of an ELBO is the latents' part."""

    def _pyro_sample(self, msg) -> None:
        if is_likelihood(msg):
            msg["mask"] = False


def _under(handler: Messenger, program: Callable) -> Callable:
    def run(*batch):
        with handler:
            return program(*batch)

    return run
