"""Every test and docstring example starts from the same state: float64, seed 0, an empty parameter store."""

import os

import pyro
import pytest
import torch

if "PYTEST_XDIST_WORKER" in os.environ:  # the workers share the cores
    torch.set_num_threads(1)


@pytest.fixture(autouse=True)
def clean_state():
    """Set the state, and put back what was there."""
    default = torch.get_default_dtype()
    torch.set_default_dtype(torch.float64)
    pyro.clear_param_store()
    pyro.set_rng_seed(0)
    with pyro.validation_enabled(True):
        yield
    pyro.clear_param_store()
    torch.set_default_dtype(default)


@pytest.fixture(autouse=True)
def names_in_examples(doctest_namespace):
    """What docstring examples take as imported."""
    import pyro_ldm

    names = {"torch": torch, "pyro": pyro, "ldm": pyro_ldm, "dist": pyro.distributions, "poutine": pyro.poutine}
    doctest_namespace.update(names)
