r"""The main job on real data that need no download: features of natural images, and a representation of the digits.

1. Linear ICA of natural-image patches.   Prior: independent Laplace sources.      Entropy: Jacobian (exact).
2. Two augmented views of each digit.     Prior: z ~ N(0, I), z' ~ N(z, s^2 I).    Entropy: Joint(LogDet()).

Prints one table, with a baseline beside each result, and writes a run folder with pictures: the learned features, the
latent space, the training curves. Under three minutes on two cores.
"""

import shutil
import time
from pathlib import Path

import numpy
import torch
import two_views

import pyro_ldm as ldm


def natural_images(folder: Path, num: int, num_components: int, seed: int) -> list[tuple]:
    """ICA of patches, scored on held-out patches beside FastICA and PCA, all under the same prior."""
    from sklearn.decomposition import FastICA

    data = ldm.datasets.patches(num=num, seed=seed)
    train, test = (part.x.flatten(1) for part in data.split(seed=seed))
    prior = ldm.priors.Laplace(num_components)
    start = time.perf_counter()
    ica = ldm.ICA(num_components, prior=prior, random_state=seed).fit(train.numpy())
    seconds = time.perf_counter() - start
    start = time.perf_counter()
    fast = FastICA(num_components, whiten="unit-variance", random_state=seed, max_iter=400, tol=1e-3).fit(train.numpy())
    fast_seconds = time.perf_counter() - start

    def terms(components: numpy.ndarray, offset: numpy.ndarray | float = 0.0) -> ldm.Terms:
        """Cross-entropy of held-out patches within the ICA's principal subspace, at the best scale of each source."""
        square = torch.nn.Linear(num_components, num_components, dtype=torch.float64)
        to_sources = torch.from_numpy(components @ numpy.linalg.pinv(ica.whitening_))
        white = (test.double() - torch.from_numpy(ica.mean_)) @ torch.from_numpy(ica.whitening_).T
        white_train = (train.double() - torch.from_numpy(ica.mean_)) @ torch.from_numpy(ica.whitening_).T
        scale = (white_train @ to_sources.T).abs().mean(0, keepdim=True).T  # a Laplace source's, by maximum likelihood
        with torch.no_grad():
            square.weight.copy_(to_sources / scale)
            square.bias.zero_().add_(offset)
        return ldm.Objective(prior.double(), ldm.guides.Invertible(square)).terms(white)

    for name, matrix, title in (
        ("features", ica.mixing_.T, "what natural images are made of: columns of the mixing matrix"),
        ("filters", ica.components_, "what takes them apart: rows of the unmixing matrix, the learned filters"),
    ):
        pictures = torch.from_numpy(matrix.copy()).reshape(-1, *data.shape)
        ldm.runs.filters(pictures, title=title).savefig(folder / f"{name}.png", dpi=120)
    return [
        ("patches: ICA", terms(ica.components_), f"{seconds:.0f} s"),
        ("patches: FastICA", terms(fast.components_), f"{fast_seconds:.0f} s"),
        ("patches: PCA", terms(ica.whitening_), ""),
    ]


def main(out: str = "runs/demo", num: int = 20000, num_components: int = 100, epochs: int = 40, seed: int = 0) -> dict:
    """Run both parts; the run folder is replaced if there is one."""
    for old in (out, ldm.runs.interrupted(out)):
        shutil.rmtree(old, ignore_errors=True)
    with ldm.runs.run_folder(out) as folder:
        print(f"Features of natural images: ICA of {num} patches of 12 x 12 pixels, and FastICA beside ...", flush=True)
        rows = natural_images(folder, num, num_components, seed)
        print("A representation of the digits, from two augmented views of each ...", flush=True)
        train, _ = ldm.datasets.digits().split(seed=seed)
        fit, accuracy = two_views.learn(epochs=epochs, seed=seed)
        ldm.runs.write_run(folder, fit, train, settings={"seed": seed, **accuracy})
    print(f"\n{'':22} {'value':>8} {'alignment':>10} {'uniformity':>11}   nats per datum")
    for name, terms, note in [*rows, ("digits: two views", fit.terms, "")]:
        print(
            f"{name:22} {terms.kl:8.2f} {terms.alignment:10.2f} {terms.uniformity:11.2f}   {terms.divergence}  {note}"
        )
    print(f"\n{'digits, held out':22} {'linear probe':>12} {'5 neighbours':>13}   accuracy")
    names = [name.removeprefix("linear: ") for name in accuracy if name.startswith("linear: ")]
    for name in names:
        print(f"{name:22} {accuracy['linear: ' + name]:12.3f} {accuracy['nearest: ' + name]:13.3f}")
    print(
        f"\n{out}/: features.png, filters.png, latents.png, curves.png, summary.json, latents.npz, weights.safetensors"
    )
    return {"ica": rows[0][1].kl, "fastica": rows[1][1].kl, "pca": rows[2][1].kl, "kl": fit.terms.kl, **accuracy}


if __name__ == "__main__":
    main()
