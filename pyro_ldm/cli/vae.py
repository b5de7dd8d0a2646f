"""VAEs beside a run: its options with the likelihood kept, all else the same."""

import difflib
from typing import Any

from torch import Tensor

BETA, PARTICLES, PSEUDO_INPUTS = 4.0, 10, 50
CONDITIONAL = {"class_path": "pyro_ldm.entropy.Conditional"}
VAES: dict[str, dict[str, Any]] = {
    "same": {},
    "beta": {"beta": BETA},
    "infovae": {"entropy": {"class_path": "pyro_ldm.entropy.Mixture"}},
    "iwae": {"particles": PARTICLES},
    "vamp": {"pseudo_inputs": PSEUDO_INPUTS},
    "flow": {"prior": {"class_path": "pyro_ldm.priors.Flow"}},
}
MIRRORED = {"ConvNet": "ConvDecoder", "ResNet18": "ConvDecoder"}  # of encoders; of all others MLPDecoder


def beside(options: dict[str, Any], kind: str, z: Tensor, *, images: bool, decoder: Any, likelihood: Any) -> dict:
    """Options of a VAE with the data, split, prior, encoder, budget and seed of a run.

    Args:
        options: Of the run, as its ``config.yaml`` has them.
        kind: One of ``VAES``.
        z: The run's latents, (N, D) or (N, T, D).
        images: Whether the encoder sees images.
        decoder: The decoder; by default the mirror image of the encoder, or that which the run has.
        likelihood: The likelihood; that which the run has, or Gaussian.

    Raises:
        ValueError: If there is no such VAE, or none of such a prior.

    Example:
        >>> ours = {"data": "digits", "entropy": {"class_path": "pyro_ldm.entropy.KNN"}, "lr": 0.01}
        >>> found = beside(ours, "beta", torch.zeros(5, 3), images=True, decoder=None, likelihood=None)
        >>> found["decoder"]["class_path"], found["entropy"]["class_path"], found["beta"], found["lr"]
        ('pyro_ldm.baselines.ConvDecoder', 'pyro_ldm.entropy.Conditional', 4.0, 0.01)
    """
    if kind not in VAES:
        near = difflib.get_close_matches(kind, VAES, n=1)
        hint = f": did you mean {near[0]}?" if near else "."
        raise ValueError(f"there is no VAE {kind!r}{hint} Known: {', '.join(VAES)}")
    series = z.dim() == 3
    if series and kind in ("infovae", "vamp", "flow"):
        raise ValueError(f"--vae {kind} is of latents that are one vector per datum, and these are series: use same")
    own = {k: v for k, v in options.items() if k not in ("beta", "particles", "pseudo_inputs", "arrangement")}
    own |= {"latent_dim": z.shape[-1], "entropy": CONDITIONAL, "likelihood": likelihood or options.get("likelihood")}
    own["decoder"] = decoder or options.get("decoder") or _mirrored(options.get("encoder"), images and not series)
    return {name: value for name, value in (own | VAES[kind]).items() if value is not None}


def _mirrored(encoder: Any, images: bool) -> dict[str, Any]:
    name = encoder["class_path"].rpartition(".")[2] if encoder else "ConvNet" if images else "MLP"
    options = (encoder or {}).get("init_args") or {}
    decoder: dict[str, Any] = {"class_path": f"pyro_ldm.baselines.{MIRRORED.get(name, 'MLPDecoder')}"}
    if name == "MLP" and "hidden" in options:
        decoder["init_args"] = {"hidden": options["hidden"][::-1]}
    if name == "ConvNet" and "channels" in options:
        decoder["init_args"] = {"channels": options["channels"][::-1]}
    return decoder


def model_of(options: dict[str, Any]) -> str:
    """What to call the model of a run's options.

    Example:
        >>> model_of({"entropy": {"class_path": "pyro_ldm.entropy.KNN"}})
        'LDM'
        >>> model_of({"entropy": CONDITIONAL, "decoder": {"class_path": "pyro_ldm.baselines.MLPDecoder"}, "beta": 4.0})
        'beta-VAE (4)'
    """
    if not options.get("decoder"):
        return "LDM"
    if _name(options, "entropy") != "Conditional":
        return "InfoVAE"
    if options.get("beta"):
        return f"beta-VAE ({options['beta']:g})"
    if options.get("particles"):
        return f"IWAE ({options['particles']})"
    if options.get("pseudo_inputs"):
        return "VampPrior VAE"
    return {"Flow": "flow-prior VAE", "Kalman": "Kalman VAE", "DeepMarkov": "deep Markov model"}.get(
        _name(options, "prior"), "VAE"
    )


def described(options: dict[str, Any]) -> str:
    """What tells models of one name apart: prior and entropy."""
    return f"{_name(options, 'prior')}, {_name(options, 'entropy')}"


def _name(options: dict[str, Any], kind: str) -> str:
    return ((options.get(kind) or {}).get("class_path") or "").rpartition(".")[2]
