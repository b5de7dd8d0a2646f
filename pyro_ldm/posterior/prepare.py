"""Priors and latents made ready: copied to the CPU, in double precision, and checked to fit."""

import copy
from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

import torch
from pyro import poutine
from pyro.poutine.condition_messenger import ConditionMessenger
from pyro.poutine.messenger import Messenger
from torch import Tensor, nn

from pyro_ldm.diagnostics.arviz.programs import in_batch
from pyro_ldm.posterior.given import Given, sample_sites


def prepare(prior: Callable, z: Mapping[str, Tensor], batch: tuple) -> Given:
    """Copy a prior and the latents that it is given to the CPU, in double precision, and check that they fit.

    Accelerators are slow in double precision, or have none. A program that computes in single precision whatever it is
    given, such as a function around a network, is left so.

    Raises:
        ValueError: If they do not fit, or a parameter is discrete.
    """
    if not callable(prior):
        raise TypeError(f"a prior is a Pyro program, a function of the batch or a module, got {type(prior).__name__}")
    if z and len(batch[0]) != len(next(iter(z.values()))):
        raise ValueError(
            f"the batch has {len(batch[0])} rows and the latents {len(next(iter(z.values())))}: "
            "pass the batch that the latents are of"
        )
    floating = [t.dtype for t in (*z.values(), *batch) if torch.is_tensor(t) and t.is_floating_point()]
    z, batch = {name: _on_cpu(value) for name, value in z.items()}, tuple(map(_on_cpu, batch))
    given = Given(_copied(prior), z, batch, (*floating, torch.get_default_dtype())[0], {})
    double = Given(
        _copied(prior), {n: _double(v) for n, v in z.items()}, tuple(_double(t) for t in batch), torch.float64, {}
    )
    module = poutine.unwrap(double.prior)
    if isinstance(module, nn.Module):
        module.double()
    with given.seeded(0):
        try:
            trace = double.first()
            given = double
        except RuntimeError as error:
            if str(error).startswith("Multiple") and "named" in str(error):
                raise ValueError(
                    f"{str(error).splitlines()[0]} in the prior: sites and plates share their names, so give each one "
                    "of its own"
                ) from error
            if "dtype" not in str(error) and "scalar type" not in str(error):
                raise
            trace = given.first()
        except ValueError as error:
            if not str(error).startswith("Shape mismatch inside plate('batch')"):
                raise
            raise ValueError(
                "a site of the prior has other dims than one per datum within plate 'batch': declare those of a datum "
                f"by .to_event(1). {str(error).splitlines()[0]}"
            ) from error
    sites = sample_sites(trace)
    missing = sorted(set(z) - set(sites))
    if missing:
        names = sorted(name for name, site in sites.items() if in_batch(site))
        raise ValueError(f"the prior has no site {missing}: its latent sites, in plate 'batch', are {names}")
    for name, site in sites.items():
        if in_batch(site) or name in z:
            _check_local(name, site, z)
        elif not site["is_observed"] and site["fn"].has_enumerate_support:
            raise ValueError(
                f"parameter {name!r} of the prior is discrete, and posteriors are over continuous parameters: "
                'move it into plate "batch", where it is summed out, or sum it out in the program'
            )
    return given._replace(sites=sites)


def _check_local(name: str, site: Any, z: Mapping[str, Tensor]) -> None:
    plates = [frame.name for frame in site["cond_indep_stack"]]
    if plates != ["batch"] or site["cond_indep_stack"][0].dim != -1:
        raise ValueError(
            f'site {name!r} of the prior is in plates {plates}: sample it within pyro.plate("batch", len(x)) alone, '
            "with further dims as event dims, by .to_event"
        )
    shape = tuple(site["fn"].shape())
    if name in z and tuple(z[name].shape) != shape:
        raise ValueError(
            f"site {name!r} has shape {shape} in the prior, and its latents {tuple(z[name].shape)}: make them (N, ...) "
            "alike; a plate of all data has no subsample_size"
        )
    if name in z and not z[name].is_floating_point() and not _is_discrete(site["fn"]):
        raise ValueError(f"site {name!r} is continuous, and its latents are {z[name].dtype}: pass z.float()")
    if z and not site["is_observed"] and not site["fn"].has_enumerate_support:
        raise ValueError(f"the prior samples {name!r} for each datum: pass its latents too, z={{{name!r}: ...}}")


def _is_discrete(fn: Any) -> bool:
    try:
        return bool(fn.support.is_discrete)
    except NotImplementedError:  # a distribution that does not say
        return True


def _copied(prior: Callable) -> Callable:
    """A copy, its parameters held fixed; handlers around a module are put around its copy."""
    if isinstance(prior, nn.Module):
        return copy.deepcopy(prior).requires_grad_(False).cpu().eval()
    wrapped = getattr(prior, "func", None)
    if isinstance(wrapped, partial) and len(wrapped.args) == 2 and isinstance(wrapped.args[0], Messenger):
        handler, program = wrapped.args
        if isinstance(handler, ConditionMessenger) and isinstance(handler.data, dict):
            handler = ConditionMessenger({name: _on_cpu(value) for name, value in handler.data.items()})
        return handler(_copied(program))
    return prior


def _on_cpu(value: Any) -> Any:
    return value.detach().cpu() if torch.is_tensor(value) else value


def _double(value: Any) -> Any:
    return value.double() if torch.is_tensor(value) and value.is_floating_point() else value
