"""What the tests on a GPU share: they are skipped where there is none, and compare with the CPU."""

import copy

import pytest
import torch
from torch import nn

GPU = torch.device("cuda")


@pytest.fixture(autouse=True)
def on_a_gpu():
    if not torch.cuda.is_available():
        pytest.skip("there is no CUDA GPU")


@pytest.fixture
def agrees():
    """Compares a call on the CPU and on the GPU: its value, and its gradient in every number and parameter."""

    def compare(call, *inputs, tolerance=1e-9):
        found = []
        for device in (torch.device("cpu"), GPU):
            args = [copy.deepcopy(each).to(device) for each in inputs]
            leaves = [each.requires_grad_() for each in args if torch.is_tensor(each) and each.is_floating_point()]
            leaves += [p for each in args if isinstance(each, nn.Module) for p in each.parameters() if p.requires_grad]
            value = call(*args)
            assert value.device.type == device.type
            total = (value * torch.linspace(1, 2, value.numel(), device=device).view_as(value)).sum()
            grads = torch.autograd.grad(total, leaves, allow_unused=True) if total.requires_grad else []
            found.append([value.detach().cpu(), *[g.cpu() for g in grads if g is not None]])
        for ours, theirs in zip(*found, strict=True):
            scale = max(1.0, float(ours.abs().max()))
            torch.testing.assert_close(theirs, ours, rtol=tolerance, atol=tolerance * scale)

    return compare


@pytest.fixture
def same_noise(monkeypatch):
    """The same Gaussian draws on every device."""

    def draw(shape, dtype, device):
        return torch.randn(shape, dtype=dtype, generator=torch.Generator().manual_seed(0)).to(device)

    monkeypatch.setattr(torch.distributions.normal, "_standard_normal", draw)
