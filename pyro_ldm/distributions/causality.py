r"""Whether a sequence module is causal: its output at step t depends on its inputs up to t alone."""

import weakref
from collections.abc import Callable

import torch
from torch import Tensor, nn

# Modes (training or not) in which a predictor has passed; it is forgotten as soon as nobody else holds it.
_PASSED: weakref.WeakKeyDictionary = weakref.WeakKeyDictionary()


def check_causal(predictor: Callable, x: Tensor, *, probes: int = 16) -> None:
    r"""Refuse a predictor whose output at step t changes with its inputs after t.

    .. math:: x_{\le t} = x'_{\le t} \implies h_t(x) = h_t(x')

    Random series are changed after each of up to ``probes`` steps, and what the predictor says up to that step is
    compared. Checked once per predictor and mode: batch normalisation leaks in training only. No trace is left, neither
    in the random state nor in batch statistics.

    Args:
        predictor: From (M, T, F) to (M, T, P).
        x: An input of it (..., T, F), for its T, F, dtype and device; its values are not used.
        probes: At how many steps to look.

    Raises:
        ValueError: If it is not causal, or its output has another number of steps.

    Example:
        >>> check_causal(torch.nn.Linear(2, 3), torch.zeros(5, 2))
        >>> check_causal(lambda x: x.flip(-2), torch.zeros(5, 2))
        Traceback (most recent call last):
        ...
        ValueError: the predictor is not causal: its output at step 1 changes with its inputs after step 1...
    """
    length, mode = x.shape[-2], getattr(predictor, "training", False)
    try:
        passed = _PASSED.setdefault(predictor, set())
    except TypeError:  # takes no weak reference
        passed = set()
    if mode in passed or length < 2:
        return
    steps = torch.linspace(0, length - 2, min(length - 1, probes), device=x.device).long()
    later = torch.arange(length, device=x.device) > steps.unsqueeze(-1)
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []):
        shape = (2, len(steps), *x.shape[-2:])
        series, change = torch.randn(shape, dtype=x.dtype, device=x.device).unbind()
        # Each run starts from the same random state, so that dropout is the same in both.
        said, changed = run_aside(predictor, series), run_aside(predictor, series + later.unsqueeze(-1) * change)
    if said.dim() != 3 or said.shape[:2] != series.shape[:2]:
        raise ValueError(
            f"the predictor maps {tuple(series.shape)} to {tuple(said.shape)}: it is to keep all dims but the last, "
            "with one output per step (return a recurrent network's outputs, not its final state)"
        )
    tolerance = 100 * torch.finfo(said.dtype).eps * said.abs().max()
    leaks = ((said - changed).abs().amax(-1) > tolerance) & ~later
    if leaks.any():
        step = int(leaks.any(0).nonzero()[0]) + 1
        after = int(steps[leaks[:, step - 1]].min()) + 1
        raise ValueError(
            f"the predictor is not causal: its output at step {step} changes with its inputs after step {after}, or "
            "with other series. Use a causal module, such as encoders.Recurrent, CausalConv or CausalAttention: no "
            "bidirectional cell, no attention without a causal mask, no batch normalisation"
        )
    passed.add(mode)


@torch.no_grad()
def run_aside(predictor: Callable, x: Tensor) -> Tensor:
    """The predictor's output, leaving no trace: no gradient, nothing in the random state or its buffers."""
    with torch.random.fork_rng(devices=[x.device] if x.is_cuda else []), torch.autocast(x.device.type, enabled=False):
        if not isinstance(predictor, nn.Module):
            return predictor(x)
        buffers = {name: buffer.clone() for name, buffer in predictor.named_buffers()}
        return torch.func.functional_call(predictor, buffers, (x,))
