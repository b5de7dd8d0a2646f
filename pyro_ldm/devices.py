"""Where programs run: on the device of what they are given, and of what they hold."""

from collections.abc import Callable

import torch
from pyro import poutine
from torch import nn


def on_device_of(program: Callable, batch: tuple) -> Callable:
    """A program, what it makes without saying where, such as ``torch.zeros(8)``, made where the batch is."""
    device = batch[0].device if torch.is_tensor(batch[0]) else torch.device("cpu")
    if device.type == "cpu":
        return program

    def run(*args):
        with device:
            return program(*args)

    return run


def cuda_devices() -> list[int]:
    """Those whose random state ``torch.manual_seed`` sets beside the CPU's: all of them, once CUDA is in use."""
    return list(range(torch.cuda.device_count())) if torch.cuda.is_initialized() else []


def device_of(*programs: Callable, default: torch.device) -> torch.device:
    """Where the first of the programs' parameters and buffers is."""
    modules = [module for module in map(poutine.unwrap, programs) if isinstance(module, nn.Module)]
    held = (tensor for module in modules for tensor in (*module.parameters(), *module.buffers()))
    return next((tensor.device for tensor in held), default)
