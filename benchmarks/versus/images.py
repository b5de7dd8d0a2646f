r"""Fashion-MNIST: what latents of one encoder are worth, learned with a decoder and without.

25000 images, 10 passes in batches of 256, 16 and 64 latents, Adam. The encoder is that of Pyro's VAE example for all
models, 784-400-D, softplus, without batch normalisation (2 D for VAEs, means and scales), and so is the decoder,
D-400-784, with its Bernoulli likelihood of grey values: no density, so that bounds compare here and nowhere else.
What is measured of an image is z itself, of VAEs its mean.

VAE, beta-VAE: z ~ N(0, I), scored by `Conditional()`; beta of 4, and of 0.1: the best probes of 0.1, 0.3, 1, 4.
InfoVAE:       scored by `KNN()`, scales of at least 0.3.
VICReg-LDM:    z ~ N(0, I), z' ~ N(z, 0.3^2 I), `Separate(LogDet())`, two views of each image.
SimCLR-LDM:    z ~ Uniform, z' ~ vMF(z, c) on the sphere, `Pooled(KDE())` with a kernel of c / 2, two views; c is 10 for
               16 latents, 20 for 64.
PCA:           the linear control. Its prior is not N(0, I), and nothing of a prior is measured.
Pyro's example: that VAE without this library: a plain model and guide, exponential scales, `SVI`; for its ELBO.

Views are crops of 0.6 to 1 of the area (VICReg-LDM of 16 latents: 0.8), flips, brightness and contrast. Settings were
chosen on 10000 other training images, from another seed, by the probes; learning rates of VAEs by the ELBO.

Columns are those of `ldm.runs.compare`, on 2000 test images. Probes are fitted on 10000 training images; that there are
no more than 2000 to score adds 0.008 to what seeds show of their error, the same for all. Bounds in nats, and bits per
dim. KL(R || P) of a pair prior is that of both views together, 2 D numbers, of augmented images; "one view" is that of
the first view alone, D numbers as all others have, its own prior N(0, I), or uniform on the sphere; it is at most the
former. R of a VAE is smoothed by its conditionals, the others' is not; KNN is biased in so many dims: each value is
less what draws from the prior measure. LogDet is undefined on the sphere. I(x; z) of a deterministic encoder is
infinite. Reconstruction of models without a decoder is by one trained afterwards on frozen latents, with the budget and
learning rate of a VAE; "by least squares" is an affine map from latents to pixels, of all models, fitted on 10000
training images: of PCA its own, in closed form. Seconds are the processor's, of an epoch; memory is the peak of a fit
over what was held before it, MiB. There is no truth here, and so no calibration, MCC or affine R2.
"""

import ctypes
import gc
import sys
import time
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from itertools import groupby
from pathlib import Path
from typing import Any

import pyro
import torch
from pyro import distributions as dist
from pyro.infer import ELBO, SVI, Trace_ELBO
from torch import Tensor, nn

import pyro_ldm as ldm

E, P = ldm.entropy, ldm.priors
Parts = tuple[ldm.datasets.Data, ldm.datasets.Data]
SHAPE, PIXELS, HIDDEN = (1, 28, 28), 784, 400
NUM, HELD_OUT, EPOCHS, BATCH = 25_000, 10_000, 10, 256
LR, LR_VIEWS = 3e-3, 1e-3
MIN_SCALE, NOISE = 0.3, 0.3
CONCENTRATION = {16: 10.0, 64: 20.0}
CROP = {16: 0.8, 64: 0.6}  # of VICReg-LDM; of SimCLR-LDM 0.6

BETAS = {"VAE": 1.0, "beta-VAE, 4": 4.0, "beta-VAE, 0.1": 0.1}
COMPARED = (*BETAS, "InfoVAE", "VICReg-LDM", "SimCLR-LDM", "PCA")
REFERENCE = "Pyro's example"
DIMS = {f"Fashion-MNIST, {dim} latents": dim for dim in (16, 64)}
WORLDS = {world: (*COMPARED, REFERENCE) for world in DIMS}
OF_A_PRIOR = ("KL(R || P) by KNN", "KL(R || P) by LogDet", "active units")
FOUND = (
    *("ELBO", "IWAE bound", "-IWAE bound", *OF_A_PRIOR, "I(x; z) at least", "I(x; z) at most", "effective rank"),
    *("linear probe", "kNN probe", "reconstruction error", "log p(x | z)", "seconds per epoch", "peak memory"),
)
ONE_VIEW, LINEAR = "KL(R || P) of one view by KNN", "reconstruction error by least squares"
COLUMNS = (*FOUND[:4], ONE_VIEW, *FOUND[4:12], LINEAR, *FOUND[12:])


@dataclass(frozen=True)
class Recipe:
    """A model, and what is its own in how it is trained."""

    prior: Callable
    guide: nn.Module
    elbo: ELBO | None = None
    views: Callable | None = None
    lr: float = LR


def recipe(model: str, dim: int) -> Recipe:
    """One of the models that are trained."""

    def encoder(out_features: int) -> nn.Module:
        return ldm.encoders.MLP(PIXELS, out_features, hidden=(HIDDEN,), activation=nn.Softplus, batch_norm=False)

    if model in BETAS or model == "InfoVAE":
        decoder = ldm.baselines.MLPDecoder(dim, SHAPE, hidden=(HIDDEN,), activation=nn.Softplus)
        generative = ldm.baselines.Generative(P.Gaussian(dim), decoder, ldm.baselines.Bernoulli())
        if model == "InfoVAE":
            return Recipe(generative, ldm.guides.Gaussian(encoder(2 * dim), E.KNN(), min_scale=MIN_SCALE))
        elbo = ldm.baselines.Tempered(BETAS[model])
        return Recipe(generative, ldm.guides.Gaussian(encoder(2 * dim), E.Conditional()), elbo)
    if model == "VICReg-LDM":
        guide = ldm.guides.Views(encoder(dim), E.Separate(E.LogDet()))
        return Recipe(P.GaussianViews(dim, noise=NOISE), guide, views=views(CROP[dim]), lr=LR_VIEWS)
    kernel = E.VonMisesFisherKernel(CONCENTRATION[dim] / 2)
    guide = ldm.guides.Views(nn.Sequential(encoder(dim), ldm.encoders.Normalize()), E.Pooled(E.KDE(kernel)))
    return Recipe(P.VonMisesFisherViews(dim, CONCENTRATION[dim]), guide, views=views(0.6), lr=LR_VIEWS)


def views(crop: float) -> nn.Module:
    """Two of each image, of at least this share of its area."""
    jitter = ldm.encoders.ColorJitter(brightness=0.2, contrast=0.4)
    return ldm.encoders.TwoViews(nn.Sequential(ldm.encoders.Crop(scale=(crop, 1.0)), ldm.encoders.Flip(), jitter))


def learn(model: str, dim: int, parts: Parts, seed: int) -> ldm.runs.Candidate:
    """Train one from one seed; principal components have nothing to train."""
    train, test = parts
    shared: dict[str, Any] = {"seed": seed, "epochs": EPOCHS, "batch_size": BATCH}
    if model == "PCA":
        guide = ldm.guides.Deterministic(ldm.encoders.PCA(PIXELS, dim, whiten=False).fit(train.x), E.LogDet())
        return ldm.runs.Candidate(model, P.Gaussian(dim), guide, train, test, lr=LR, **shared)
    torch.manual_seed(seed)
    own, cost, held, start = recipe(model, dim), ldm.runs.Cost(), resident(), time.process_time()
    settings: dict[str, Any] = shared | {"elbo": own.elbo, "views": own.views, "lr": own.lr, "callbacks": (cost,)}
    ldm.fit(own.prior, own.guide, train, accelerator="cpu", progress=False, **settings)
    spent = {"seconds_per_epoch": (time.process_time() - start) / EPOCHS}
    spent["peak_memory_mib"] = cost.summary()["peak_memory_mib"] - held
    # A decoder of frozen latents has the learning rate of a VAE's.
    return ldm.runs.Candidate(model, own.prior, own.guide, train, test, views=own.views, lr=LR, cost=spent, **shared)


def resident() -> float:
    """MiB that the process holds, once it has given back what it no longer needs; NaN where that is not known."""
    if sys.platform != "linux":
        return float("nan")
    gc.collect()
    ctypes.CDLL("libc.so.6").malloc_trim(0)
    lines = Path("/proc/self/status").read_text().splitlines()
    return int(next(line for line in lines if line.startswith("VmRSS")).split()[1]) / 1024


def one_view(candidate: ldm.runs.Candidate) -> float:
    """KL of the first view's latents from that view's own prior, by KNN, less what draws from that prior measure."""
    found = candidate.bounds
    if candidate.views is not None:
        with torch.no_grad(), torch.random.fork_rng():
            torch.manual_seed(0)
            z = candidate.guide.encoder(candidate.views(candidate.scored.x)[0])
        on_sphere = isinstance(candidate.prior, P.VonMisesFisherViews)
        uniform = ldm.distributions.VonMisesFisher(torch.eye(z.shape[1])[0], torch.tensor(0.0))

        def sphere(x: Tensor) -> Tensor:
            with pyro.plate("batch", len(x)):
                return pyro.sample("z", uniform)

        found = ldm.diagnostics.kl_bounds(sphere if on_sphere else P.Gaussian(z.shape[1]), None, z, num_rows=len(z))
    return next(e.kl - e.bias for e in found.estimates if e.name == "KNN")


def least_squares(candidate: ldm.runs.Candidate) -> float:
    """Mean squared error of pixels under an affine map of the latents, fitted on training images."""
    fitted, scored = candidate.parts
    z = [torch.cat([candidate.encode(part), torch.ones(len(part), 1)], 1).double() for part in (fitted, scored)]
    weights = torch.linalg.lstsq(z[0], fitted.x.flatten(1).double()).solution
    return float((z[1] @ weights - scored.x.flatten(1)).square().mean())


def pyros_example(dim: int, parts: Parts, seed: int) -> dict[str, float]:
    """A VAE as Pyro's own example has it, without this library; its ELBO, of one sample per image."""
    pyro.set_rng_seed(seed)
    hidden = nn.Sequential(nn.Linear(PIXELS, HIDDEN), nn.Softplus())
    loc, log_scale = nn.Linear(HIDDEN, dim), nn.Linear(HIDDEN, dim)
    encoder = nn.ModuleList([hidden, loc, log_scale])
    decoder = nn.Sequential(nn.Linear(dim, HIDDEN), nn.Softplus(), nn.Linear(HIDDEN, PIXELS), nn.Sigmoid())

    def model(x: Tensor) -> None:
        pyro.module("decoder", decoder)
        with pyro.plate("data", len(x)):
            z = pyro.sample("latent", dist.Normal(torch.zeros(len(x), dim), 1.0).to_event(1))
            pyro.sample("obs", dist.Bernoulli(decoder(z), validate_args=False).to_event(1), obs=x)

    def guide(x: Tensor) -> None:
        pyro.module("encoder", encoder)
        with pyro.plate("data", len(x)):
            features = hidden(x)
            pyro.sample("latent", dist.Normal(loc(features), log_scale(features).exp()).to_event(1))

    train, test = (part.x.flatten(1) for part in parts)
    with pyro.get_param_store().scope():
        svi = SVI(model, guide, pyro.optim.Adam({"lr": LR}), Trace_ELBO())
        start = time.process_time()
        for _ in range(EPOCHS):
            for rows in torch.randperm(len(train)).split(BATCH)[: len(train) // BATCH]:
                svi.step(train[rows])
        seconds = (time.process_time() - start) / EPOCHS
        return {"ELBO": -svi.evaluate_loss(test) / len(test), "seconds per epoch": seconds}


def load(validation: bool) -> Parts:
    """Images to train on, and those to score on."""
    full = ldm.datasets.fashion_mnist()
    train, other = (
        ldm.datasets.Data(full.x[rows], y=full.y[rows], name=full.name) for rows in (slice(NUM), slice(-HELD_OUT, None))
    )
    return train, other if validation else ldm.datasets.fashion_mnist(train=False)


def rows(
    wanted: Iterable[tuple[str, str, int]], *, validation: bool
) -> Iterator[tuple[str, str, int, dict[str, float]]]:
    """Measures of each that is wanted; those of one world and seed are trained and compared together."""
    parts = load(validation)
    for (seed, world), group in groupby(sorted(wanted, key=lambda w: (w[2], w[0])), key=lambda w: (w[2], w[0])):
        models, dim = {model for _, model, _ in group}, DIMS[world]
        if models - {REFERENCE}:
            candidates = [learn(model, dim, parts, seed) for model in COMPARED]
            found = ldm.runs.compare(candidates, progress=False)
            for candidate in (c for c in candidates if c.model in models):
                own = {name: found.values[name][candidate.model][0] for name in FOUND}
                own |= {ONE_VIEW: one_view(candidate), LINEAR: least_squares(candidate)}
                if candidate.model == "PCA":
                    own = {name: value for name, value in own.items() if name not in (*OF_A_PRIOR, ONE_VIEW)}
                yield world, candidate.model, seed, own
        if REFERENCE in models:
            scored = ldm.runs.Candidate(REFERENCE, P.Gaussian(dim), nn.Identity(), *parts).scored  # the same images
            yield world, REFERENCE, seed, pyros_example(dim, (parts[0], scored), seed)


def draw(folder: Path) -> None:
    """Reconstructions, latents and measures of models trained anew from one seed, with 16 latents: some minutes."""
    parts = load(validation=False)
    candidates = [learn(model, 16, parts, seed=0) for model in COMPARED]
    ldm.runs.compare(candidates, progress=False).write(folder / "images", title="Fashion-MNIST, 16 latents")
