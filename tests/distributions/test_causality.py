"""Whether a predictor looks ahead: what leaks is refused, what is causal passes, and no trace is left."""

import gc

import pytest
import torch
from torch import nn

from pyro_ldm import encoders
from pyro_ldm.distributions import causality
from pyro_ldm.distributions.causality import check_causal

CAUSAL = {
    "Recurrent": lambda: encoders.Recurrent(3, 2, hidden=8),
    "GRU": lambda: encoders.Recurrent(3, 2, hidden=8, num_layers=2, cell=nn.GRU),
    "CausalConv": lambda: encoders.CausalConv(3, 2, hidden=8),
    "CausalAttention": lambda: encoders.CausalAttention(3, 2, hidden=8),
    "LastSteps": lambda: encoders.LastSteps(3, 2, order=3),
    "Linear": lambda: nn.Linear(3, 2),
    "dropout": lambda: nn.Sequential(nn.Linear(3, 8), nn.Dropout(0.5), nn.Linear(8, 2)),
}


class Bidirectional(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(3, 4, bidirectional=True, batch_first=True)

    def forward(self, x):
        return self.cell(x)[0]


class Normalised(nn.Module):
    """Batch normalisation over series and steps."""

    def __init__(self):
        super().__init__()
        self.norm = nn.BatchNorm1d(3)

    def forward(self, x):
        return self.norm(x.mT).mT


class Patches(nn.Module):
    """Every output sees its own patch of four steps: causal at the patches' ends only."""

    def forward(self, x):
        patches = x.unflatten(-2, (-1, 4))
        return patches.mean(-2, keepdim=True).expand_as(patches).flatten(-3, -2)


LEAKING = {
    "Bidirectional": Bidirectional,
    "Normalised": Normalised,
    "Patches": Patches,
    "attention": lambda: nn.TransformerEncoderLayer(3, 1, 8, dropout=0.0, batch_first=True),
    "unshifted": lambda: lambda x: torch.cat([x[..., 1:, :], x[..., :1, :]], -2),
}


@pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
@pytest.mark.parametrize("length", [2, 5, 40])
@pytest.mark.parametrize("name", CAUSAL)
def test_causal_ones_pass(name, length, dtype):
    check_causal(CAUSAL[name]().to(dtype), torch.zeros(length, 3, dtype=dtype))


@pytest.mark.parametrize("length", [8, 40])
@pytest.mark.parametrize("name", LEAKING)
def test_leaking_ones_are_refused_with_the_step(name, length):
    with pytest.raises(
        ValueError, match=r"output at step 1 changes with its inputs after step 1, .* encoders.Recurrent"
    ):
        check_causal(LEAKING[name](), torch.zeros(6, length, 3))


def test_batch_normalisation_leaks_in_training_only():
    predictor = Normalised().eval()
    check_causal(predictor, torch.zeros(8, 3))
    with pytest.raises(ValueError, match="not causal"):
        check_causal(predictor.train(), torch.zeros(8, 3))


def test_leaves_no_trace():
    predictor = nn.Sequential(nn.Linear(3, 3), nn.Dropout(0.5), Normalised())
    state, buffers = torch.get_rng_state(), {n: b.clone() for n, b in predictor.named_buffers()}
    with pytest.raises(ValueError, match="not causal"):
        check_causal(predictor, torch.zeros(8, 3))
    assert torch.equal(torch.get_rng_state(), state) and predictor.training
    assert all(torch.equal(buffer, buffers[name]) for name, buffer in predictor.named_buffers())
    assert all(parameter.grad is None for parameter in predictor.parameters())


def test_checks_once_and_forgets_what_is_gone():
    calls = []

    class Counts(nn.Module):
        def forward(self, x):
            calls.append(x.shape)
            return x

    predictor = Counts()
    known = len(causality._PASSED)
    for _ in range(3):
        check_causal(predictor, torch.zeros(5, 100, 3))
    assert calls == [(16, 100, 3)] * 2 and len(causality._PASSED) == known + 1
    check_causal(predictor.eval(), torch.zeros(4, 3))
    assert calls[2:] == [(3, 4, 3)] * 2
    del predictor
    gc.collect()
    assert len(causality._PASSED) == known


def test_one_step_says_nothing():
    check_causal(Bidirectional(), torch.zeros(1, 3))


def test_another_number_of_steps_is_refused():
    with pytest.raises(ValueError, match=r"\(4, 5, 3\) to \(4, 3\): .* one output per step"):
        check_causal(lambda x: x[..., -1, :], torch.zeros(5, 3))
