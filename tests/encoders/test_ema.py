"""The slowly moving copy: BYOL's update, and what is no part of its state."""

import copy

import pytest
import torch

from pyro_ldm.encoders.ema import ExponentialMovingAverage


def test_moves_once_a_step_by_byol_s_update():
    encoder, x = torch.nn.Linear(3, 2), torch.randn(5, 3)
    target = ExponentialMovingAverage(encoder, decay=0.8)
    expected = encoder.weight.detach().clone()
    torch.testing.assert_close(target(x), encoder(x))
    for _ in range(3):
        with torch.no_grad():
            encoder.weight.add_(torch.randn(2, 3))
        expected = 0.8 * expected + 0.2 * encoder.weight.detach()
        torch.testing.assert_close(target(x), torch.nn.functional.linear(x, expected, encoder.bias))


def test_does_not_move_in_evaluation_or_without_gradients():
    encoder, x = torch.nn.Linear(3, 2), torch.randn(5, 3)
    target = ExponentialMovingAverage(encoder)
    before = target(x)
    with torch.no_grad():
        encoder.weight.zero_()
        assert torch.equal(target(x), before)
    assert torch.equal(target.eval()(x), before)


def test_has_no_gradient_and_keeps_its_own_state_only():
    encoder = torch.nn.Sequential(torch.nn.Linear(3, 2), torch.nn.BatchNorm1d(2))
    target = ExponentialMovingAverage(encoder)
    assert not target(torch.randn(5, 3)).requires_grad
    assert all(not parameter.requires_grad for parameter in target.parameters())
    assert not any(parameter is own for parameter in target.parameters() for own in encoder.parameters())
    other = ExponentialMovingAverage(copy.deepcopy(encoder))
    other.load_state_dict(target.state_dict())


@pytest.mark.parametrize("decay", [-0.1, 1.0, float("nan")])
def test_decay(decay):
    with pytest.raises(ValueError, match="from 0 to below 1"):
        ExponentialMovingAverage(torch.nn.Linear(3, 2), decay=decay)
