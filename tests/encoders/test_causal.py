"""Causal predictors against their formulas, and encoders of single data for series."""

import pytest
import torch
from torch import nn

from pyro_ldm.encoders import CausalAttention, CausalConv, ConvNet, LastSteps, PerStep, Recurrent

PREDICTORS = [Recurrent, CausalConv, CausalAttention, LastSteps]


@pytest.mark.parametrize("predictor", PREDICTORS)
class TestEvery:
    @pytest.mark.parametrize("shape", [(6, 3), (5, 6, 3), (2, 5, 6, 3), (5, 1, 3)])
    def test_any_leading_dims(self, predictor, shape):
        module, x = predictor(3, 4), torch.randn(shape)
        h = module(x)
        assert h.shape == (*shape[:-1], 4)
        torch.testing.assert_close(h.reshape(-1, *h.shape[-2:])[-1], module(x.reshape(-1, *shape[-2:])[-1]))

    def test_longer_series_begin_as_shorter_ones(self, predictor):
        module, x = predictor(3, 4), torch.randn(5, 20, 3)
        torch.testing.assert_close(module(x)[:, :7], module(x[:, :7]))

    def test_every_parameter_has_a_gradient(self, predictor):
        module = predictor(3, 4)
        module(torch.randn(5, 6, 3)).square().sum().backward()
        assert all(parameter.grad.abs().max() > 0 for parameter in module.parameters())

    def test_float32(self, predictor):
        assert predictor(3, 4).float()(torch.randn(5, 6, 3, dtype=torch.float32)).dtype == torch.float32


def reach(module, length):
    """Numbers of steps that the last output depends on."""
    x = torch.randn(length, 2, requires_grad=True)
    (gradient,) = torch.autograd.grad(module(x)[-1].sum(), x)
    return int((gradient.abs().amax(-1) > 0).sum())


def test_recurrent_is_a_loop_over_its_cell():
    module, x = Recurrent(3, 2, hidden=5, cell=nn.GRU), torch.randn(4, 6, 3)
    cell = nn.GRUCell(3, 5)
    cell.load_state_dict({name.removesuffix("_l0"): value for name, value in module.cell.state_dict().items()})
    memory, out = torch.zeros(4, 5), []
    for step in x.unbind(1):
        memory = cell(step, memory)
        out.append(memory @ module.head.weight.T + module.head.bias)
    torch.testing.assert_close(module(x), torch.stack(out, 1))


def test_causal_conv_is_its_formula():
    module, x = CausalConv(2, 3, hidden=4, num_layers=2, kernel_size=2, activation=nn.Tanh), torch.randn(7, 2)
    h = x @ module.lift.weight.T + module.lift.bias
    for dilation, convolution in zip((1, 2), module.convolutions, strict=True):
        before = torch.cat([torch.zeros(dilation, 4), torch.tanh(h)[:-dilation]])
        older, newer = convolution.weight.unbind(-1)
        h = h + before @ older.T + torch.tanh(h) @ newer.T + convolution.bias
    torch.testing.assert_close(module(x), torch.tanh(h) @ module.head.weight.T + module.head.bias)


def test_how_far_back_each_reads():
    assert reach(CausalConv(2, 3, num_layers=3, kernel_size=3, activation=nn.Tanh), 40) == 1 + 2 * 7
    assert reach(LastSteps(2, 3, order=4, activation=nn.Tanh), 40) == 4
    assert reach(CausalAttention(2, 3), 40) == 40
    assert reach(Recurrent(2, 3), 40) == 40


def test_attention_is_its_formula():
    module, x = CausalAttention(2, 3, hidden=4, num_heads=2, num_layers=1), torch.randn(5, 2)
    rate = torch.tensor([1.0, 0.01])
    phase = torch.arange(5.0)[:, None] * rate
    h = module.lift(x) + torch.cat([phase.sin(), phase.cos()], -1)
    (block,) = module.blocks
    query, key, value = block.attend(h).chunk(3, -1)
    heads = []
    for part in (slice(0, 2), slice(2, 4)):
        logits = query[:, part] @ key[:, part].T / 2**0.5
        weights = logits.masked_fill(torch.ones(5, 5).triu(1).bool(), -torch.inf).softmax(-1)
        heads.append(weights @ value[:, part])
    h = h + block.join(torch.cat(heads, -1))
    torch.testing.assert_close(module(x), module.head(h + block.mlp(h)))


def test_attention_refuses_a_width_that_heads_do_not_share():
    with pytest.raises(ValueError, match="hidden must be even and a multiple of num_heads, got 10 for 4 heads"):
        CausalAttention(2, 3, hidden=10)


def test_last_steps_without_hidden_layers_is_a_vector_autoregression():
    module, x = LastSteps(2, 2, order=2, hidden=[]), torch.randn(5, 2)
    weight, bias = (module.mlp[-1].weight, module.mlp[-1].bias)
    before = torch.cat([torch.zeros(1, 2), x[:-1]])
    torch.testing.assert_close(module(x), before @ weight[:, :2].T + x @ weight[:, 2:].T + bias)
    with pytest.raises(ValueError, match="order is the number of steps that are read"):
        LastSteps(2, 2, order=0)


def test_per_step_encodes_each_step_alone():
    encoder, x = ConvNet((1, 5, 5), 2).eval(), torch.randn(3, 4, 1, 5, 5)
    z = PerStep(encoder)(x)
    torch.testing.assert_close(z, torch.stack([encoder(step) for step in x.unbind(1)], 1))
    with pytest.raises(ValueError, match=r"takes series \(N, T, ...\), got \(3, 4\)"):
        PerStep(nn.Linear(4, 2))(torch.randn(3, 4))
