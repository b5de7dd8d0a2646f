"""Two latent spaces x three estimators x with and without mutual information: the paper's image table.

    PYRO_LDM_DATA=folder python benchmarks/ssl_table.py [--seeds 3] [--epochs 10] [--num 10000] [--resnet] ...

Twelve cells on Fashion-MNIST: plane or sphere, KDE, KNN or LogDet, `Joint` (LDM) or the marginals (+MI: `Separate`, or
`Pooled` for KDE on the sphere, which is SimCLR). All cells share augmentations, encoder, optimiser and budget; what
differs is the prior and the estimator. Features are the encoder's, before the projector; a linear and a
nearest-neighbour probe are fitted on the same training images, their settings chosen on a fifth of those, and scored
once on the 10000 test images. Beside them: raw pixels, PCA of equal dimension, the same encoder untrained, and trained
with labels.
"""

import argparse
import math
import os
import platform
import statistics
import time

import torch
import torch.nn.functional as F
from torch import nn

import pyro_ldm as ldm

E, P = ldm.entropy, ldm.priors
FEATURES, PROJECTED = 512, 64
# Of the priors, chosen on validation images. On the sphere, log-det and neighbours weigh each of the 64 dims, and under
# a concentration of 10 (views at a mean cosine of 0.15) match just that; 80 means a cosine of 0.7. The kernel is broad.
NOISE, CONCENTRATION, HIGH_CONCENTRATION = 0.3, 10.0, 80.0


def backbone(shape: tuple[int, ...]) -> nn.Sequential:
    """Three convolutions and a layer of 512 features."""
    layers: list[nn.Module] = []
    channels = shape[0]
    for size in (32, 64, 64):
        layers += [nn.Conv2d(channels, size, 3, 2, padding=1, bias=False), nn.BatchNorm2d(size), nn.ReLU()]
        channels = size
    side = -(-shape[1] // 8)
    layers += [nn.Flatten(), nn.Linear(channels * side**2, FEATURES, bias=False), nn.BatchNorm1d(FEATURES), nn.ReLU()]
    return nn.Sequential(*layers)


def projector(out_features: int, features: int = FEATURES) -> nn.Sequential:
    """Two hidden layers, as the paper has them."""
    layers: list[nn.Module] = []
    for _ in range(2):
        layers += [nn.Linear(features, FEATURES, bias=False), nn.BatchNorm1d(FEATURES), nn.ReLU()]
        features = FEATURES
    return nn.Sequential(*layers, nn.Linear(features, out_features))


def cells(dim: int = PROJECTED) -> dict[str, tuple]:
    """Name of each cell to its prior, its estimator, and whether it is on the sphere."""
    plane = lambda: P.GaussianViews(dim, noise=NOISE)  # noqa: E731
    sphere = lambda concentration=CONCENTRATION: P.VonMisesFisherViews(dim, concentration=concentration)  # noqa: E731
    kernel, pair = (E.VonMisesFisherKernel(CONCENTRATION / 2, num_spheres=n) for n in (1, 2))
    return {
        "plane, KDE, LDM": (plane(), E.Joint(E.KDE()), False),
        "plane, KDE, +MI": (plane(), E.Separate(E.KDE()), False),
        "plane, KNN, LDM": (plane(), E.Joint(E.KNN()), False),
        "plane, KNN, +MI": (plane(), E.Separate(E.KNN()), False),
        "plane, LogDet, LDM": (plane(), E.Joint(E.LogDet()), False),
        "plane, LogDet, +MI": (plane(), E.Separate(E.LogDet()), False),
        "sphere, KDE, LDM": (sphere(), E.Joint(E.KDE(pair)), True),
        "sphere, KDE, +MI (SimCLR)": (sphere(), E.Pooled(E.KDE(kernel)), True),
        "sphere, KNN, LDM": (sphere(HIGH_CONCENTRATION), E.Joint(E.KNN(space=E.Sphere(num_spheres=2))), True),
        "sphere, KNN, +MI": (sphere(HIGH_CONCENTRATION), E.Separate(E.KNN(space=E.Sphere())), True),
        "sphere, LogDet, LDM": (sphere(HIGH_CONCENTRATION), E.Joint(E.LogDet()), True),
        "sphere, LogDet, +MI": (sphere(HIGH_CONCENTRATION), E.Separate(E.LogDet()), True),
    }


def augmentation() -> nn.Module:
    """Crops, flips, brightness and contrast, drawn for each image on its own."""
    return nn.Sequential(
        ldm.encoders.Crop(scale=(0.3, 1.0)), ldm.encoders.Flip(), ldm.encoders.ColorJitter(brightness=0.2, contrast=0.4)
    )


@torch.no_grad()
def features(encoder: nn.Module, part: ldm.datasets.Data) -> torch.Tensor:
    """Of images as they are, in evaluation mode."""
    device = next(encoder.parameters()).device
    return torch.cat([encoder.eval()(x.to(device)).float().cpu() for x in part.x.split(1000)])


def probe(encode, train: ldm.datasets.Data, test: ldm.datasets.Data) -> dict[str, float]:
    """Test accuracies of the linear and the nearest-neighbour probe, effective rank, number of features."""
    z, z_test = encode(train), encode(test)
    return {
        "linear": ldm.diagnostics.linear_probe((z, train.y), (z_test, test.y)).accuracy,
        "nearest": ldm.diagnostics.knn_probe((z, train.y), (z_test, test.y), metric="cosine").accuracy,
        "rank": ldm.diagnostics.collapse(z_test).effective_rank,
        "features": z.shape[1],
    }


def one_cycle(optimizer: torch.optim.Optimizer, lr: float, steps: int) -> dict:
    """The optimizer with a learning rate that rises and falls once."""
    schedule = torch.optim.lr_scheduler.OneCycleLR(optimizer, lr, total_steps=steps)
    return {"optimizer": optimizer, "lr_scheduler": {"scheduler": schedule, "interval": "step"}}


def make_encoder(train: ldm.datasets.Data, args) -> nn.Module:
    """The small encoder, or ResNet-18."""
    return ldm.encoders.ResNet18(train.shape, FEATURES) if args.resnet else backbone(train.shape)


def learn(name: str, train, test, args, seed: int) -> dict[str, float]:
    """One cell from one seed."""
    prior, entropy, on_sphere = cells()[name]
    torch.manual_seed(seed)
    encoder = make_encoder(train, args)
    projected = nn.Sequential(encoder, projector(PROJECTED), *([ldm.encoders.Normalize()] if on_sphere else []))
    steps = args.epochs * (len(train) // args.batch)
    start = time.perf_counter()
    fit = ldm.fit(
        prior,
        ldm.guides.Views(projected, entropy),
        train,
        views=ldm.encoders.TwoViews(augmentation()),
        epochs=args.epochs,
        batch_size=args.batch,
        optimizer=lambda parameters: one_cycle(torch.optim.Adam(parameters, lr=args.lr), args.lr, steps),
        seed=seed,
        precision="bf16-mixed",
        accelerator=args.accelerator,
        progress=False,
    )
    seconds = time.perf_counter() - start
    reference = statistics.mean(fit.reference) if fit.reference else math.nan
    terms = {"value": fit.terms.kl, "reference": reference, "is": fit.terms.divergence, "seconds": seconds}
    return terms | probe(lambda part: features(encoder, part), train, test)


def with_labels(train, test, args, seed: int) -> dict[str, float]:
    """The ceiling: the same encoder, augmentations and budget, trained with the labels."""
    torch.manual_seed(seed)
    encoder = make_encoder(train, args)
    model = nn.Sequential(encoder, nn.Linear(FEATURES, 10))
    steps = args.epochs * (len(train) // args.batch)
    made = one_cycle(torch.optim.Adam(model.parameters(), lr=args.lr), args.lr, steps)
    optimizer, schedule = made["optimizer"], made["lr_scheduler"]["scheduler"]
    augment, start = augmentation(), time.perf_counter()
    for _ in range(args.epochs):
        for rows in torch.randperm(len(train)).split(args.batch)[: len(train) // args.batch]:
            with torch.autocast("cpu", dtype=torch.bfloat16):
                loss = F.cross_entropy(model(augment(train.x[rows])), train.y[rows].long())
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
            schedule.step()
    return {"seconds": time.perf_counter() - start} | probe(lambda part: features(encoder, part), train, test)


def baselines(train, test, args) -> dict[str, list[dict[str, float]]]:
    """Raw pixels, PCA of equal dimension, the encoder untrained and trained with labels."""
    dims = min(FEATURES, train.x[0].numel())
    pca = ldm.encoders.PCA(train.x[0].numel(), dims, whiten=False).fit(train.x)
    untrained = []
    for seed in range(args.seeds):
        torch.manual_seed(seed)
        encoder = make_encoder(train, args)
        with torch.no_grad():  # batch statistics of the images, as training would leave them
            encoder.train()(train.x[:1000])
        untrained.append(probe(lambda part, e=encoder: features(e, part), train, test))
    return {
        "raw pixels": [probe(lambda part: part.x.flatten(1), train, test)],
        f"PCA, {dims} dims": [probe(lambda part: pca(part.x), train, test)],
        "untrained encoder": untrained,
        "trained with labels": [with_labels(train, test, args, seed) for seed in range(args.seeds)],
    }


def show(name: str, runs: list[dict]) -> None:
    """A row of the table: means, and spread from the lowest to the highest."""

    def cell(key: str, digits: int) -> str:
        values = [run[key] for run in runs if key in run]
        if not values or any(math.isnan(value) for value in values):
            return ""
        mean = f"{statistics.mean(values):.{digits}f}"
        spread = f" ({min(values):.{digits}f} to {max(values):.{digits}f})" if len(values) > 1 and digits > 2 else ""
        return mean + spread

    row = [cell("linear", 3), cell("nearest", 3), cell("value", 2), runs[0].get("is", ""), cell("reference", 2)]
    row += [cell("rank", 0), cell("features", 0), cell("seconds", 0)]
    print(f"| {name} | " + " | ".join(row) + " |", flush=True)


def main() -> None:
    """Print the table, a row as it is measured."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--data", choices=("fashion_mnist", "cifar10", "cifar100"), default="fashion_mnist")
    parser.add_argument("--num", type=int, default=10_000, help="training images")
    parser.add_argument("--epochs", type=int, default=10)
    parser.add_argument("--batch", type=int, default=256)
    parser.add_argument("--lr", type=float, default=4e-3)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--resnet", action="store_true", help="ResNet-18 in place of the small encoder: for a GPU")
    parser.add_argument("--accelerator", default="cpu")
    parser.add_argument("--validation", action="store_true", help="score on other training images, for tuning")
    parser.add_argument("--cells", nargs="*", help="only these; none for the baselines alone")
    args = parser.parse_args()
    load = getattr(ldm.datasets, args.data)
    order = torch.randperm(len(full := load()), generator=torch.Generator().manual_seed(0))
    rows = lambda index: ldm.datasets.Data(full.x[index], y=full.y[index], name=full.name)  # noqa: E731
    train = rows(order[: args.num])
    test = rows(order[args.num : args.num + 10_000]) if args.validation else load(train=False)
    print(f"{args}\n{os.cpu_count()} cores, Python {platform.python_version()}, torch {torch.__version__}\n")
    print("| | linear probe | nearest neighbours | value, nats | is | draws from the prior | rank | features | s |")
    print("|---|---|---|---|---|---|---|---|---|")
    if args.cells is None or not args.cells:
        for name, runs in baselines(train, test, args).items():
            show(name, runs)
    for name in cells() if args.cells is None else args.cells:
        show(name, [learn(name, train, test, args, seed) for seed in range(args.seeds)])


if __name__ == "__main__":
    main()
