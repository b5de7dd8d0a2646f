"""Autoregressive series: against a loop over steps, against the dense Gaussian, and drawn from."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn
from torch.distributions import biject_to
from torch.nn.functional import normalize

from pyro_ldm.compatibility import on_sphere
from pyro_ldm.distributions import Autoregressive, VonMisesFisher
from pyro_ldm.encoders import LastSteps, Recurrent


def gaussian(loc):
    return dist.Normal(loc, 0.7).to_event(1)


NOISES = {
    "Gaussian": (gaussian, 2),
    "Gaussian, predicted scale": (lambda h: dist.Normal(h[..., :2], h[..., 2:].exp()).to_event(1), 4),
    "Student": (lambda h: dist.StudentT(4.0, h, 0.7).to_event(1), 2),
    "von Mises-Fisher": (lambda h: VonMisesFisher(normalize(h, dim=-1), 5.0), 2),
    "Dirichlet": (lambda h: dist.Dirichlet(h.exp()), 2),
}


def series(name, num_steps=6, **options):
    noise, outputs = NOISES[name]
    return Autoregressive(Recurrent(2, outputs, hidden=8), noise, num_steps, 2, **options)


@pytest.mark.parametrize("name", NOISES)
class TestNoises:
    def test_log_prob_is_the_sum_of_a_loop_over_steps(self, name):
        d = series(name, batch_shape=(5,))
        z, (noise, _) = d.sample(), NOISES[name]
        expected = torch.zeros(5)
        for t in range(6):
            past = torch.cat([torch.zeros(5, 1, 2), z[:, :t]], 1)
            parameters = d.predictor(past)[:, t]
            expected = expected + noise(parameters).log_prob(z[:, t])
        torch.testing.assert_close(d.log_prob(z), expected)

    def test_predictive_and_draws(self, name):
        d = series(name)
        z = d.sample((5,))
        step = d.predictive(z)
        assert z.shape == (5, 6, 2) and step.batch_shape == (5, 6) and step.event_shape == (2,)
        assert bool(d.support.check(z).all()) and d.support.event_dim == 2
        assert d.has_rsample == (name != "von Mises-Fisher")
        assert on_sphere(d) == (name == "von Mises-Fisher")
        assert d.rollout(z, 3, 4).shape == (4, 5, 3, 2)

    def test_gradients(self, name):
        d = series(name, 3)
        z = d.sample((2,))
        if name in ("von Mises-Fisher", "Dirichlet"):  # of the context alone: off their support there is no density
            context = z.clone().requires_grad_()
            assert torch.autograd.gradcheck(lambda c: d.predictive(c).log_prob(z).sum(), context)
        else:
            assert torch.autograd.gradcheck(d.log_prob, z.requires_grad_())


def test_linear_gaussian_series_are_the_dense_gaussian():
    transition, steps, dim = torch.tensor([[0.8, 0.3], [-0.2, 0.5]]), 5, 2
    start, z = torch.tensor([0.4, -1.0]), torch.randn(7, 5, 2)
    d = Autoregressive(lambda past: past @ transition, gaussian, steps, dim, start=start)
    # z_t = z_{t-1} A + e_t: stacked, z = (start A, 0, ...) L + e L with L the sum of powers of the block shift.
    shift = torch.zeros(steps * dim, steps * dim)
    for t in range(steps - 1):
        shift[t * dim : (t + 1) * dim, (t + 1) * dim : (t + 2) * dim] = transition
    mix = torch.linalg.inv(torch.eye(steps * dim) - shift)
    loc = torch.cat([start @ transition, torch.zeros((steps - 1) * dim)]) @ mix
    dense = dist.MultivariateNormal(loc, 0.49 * mix.T @ mix)
    torch.testing.assert_close(d.log_prob(z), dense.log_prob(z.flatten(1)), rtol=0, atol=1e-10)
    drawn = d.sample((20_000,)).flatten(1)
    assert (drawn.mean(0) - dense.mean).abs().max() < 0.04
    assert (drawn.T.cov() - dense.covariance_matrix).abs().max() < 0.08


class TestRollout:
    def test_of_a_linear_gaussian_series(self):
        d, z = Autoregressive(lambda past: 0.9 * past, gaussian, 4, 1), torch.randn(3, 4, 1)
        ahead = d.rollout(z, 2, 20_000)
        torch.testing.assert_close(ahead.mean(0)[:, 0], 0.9 * z[:, -1], rtol=0, atol=0.03)
        torch.testing.assert_close(ahead.mean(0)[:, 1], 0.81 * z[:, -1], rtol=0, atol=0.03)
        expected = torch.tensor([0.49, 0.49 * 1.81]).expand(3, 2)  # innovations, summed and discounted
        torch.testing.assert_close(ahead.var(0).squeeze(-1), expected, rtol=0.04, atol=0)

    def test_follows_inputs_to_come(self):
        d = Autoregressive(
            lambda x: x[..., :1] + x[..., 1:],
            lambda m: dist.Normal(m, 1e-6).to_event(1),
            3,
            1,
            inputs=torch.ones(2, 3, 1),
        )
        z, inputs = torch.zeros(2, 3, 1), torch.tensor([9.0, 9.0, 9.0, 1.0, 2.0]).reshape(5, 1)
        ahead = d.rollout(z, 2, inputs=inputs)
        torch.testing.assert_close(ahead, torch.tensor([1.0, 3.0]).reshape(2, 1).expand(1, 2, 2, 1), rtol=0, atol=1e-4)
        with pytest.raises(ValueError, match=r"to step 5 takes the inputs up to there, got 3"):
            d.rollout(z, 2)

    def test_has_a_gradient_through_the_context(self):
        z = torch.randn(3, 6, 2, requires_grad=True)
        (gradient,) = torch.autograd.grad(series("Gaussian").rollout(z, 2, 4).sum(), z)
        assert bool((gradient[:, -1].abs() > 0).all())


class TestInputs:
    def test_inputs_lead_into_their_step(self):
        predictor, inputs, z = LastSteps(5, 2, order=2), torch.randn(4, 6, 3), torch.randn(4, 6, 2)
        d = Autoregressive(predictor, gaussian, 6, 2, inputs=inputs)
        assert d.batch_shape == (4,) and d.sample((7,)).shape == (7, 4, 6, 2)
        before = torch.cat([torch.zeros(4, 1, 2), z[:, :-1]], 1)
        expected = dist.Normal(predictor(torch.cat([before, inputs], -1)), 0.7).log_prob(z).sum((-2, -1))
        torch.testing.assert_close(d.log_prob(z), expected)

    def test_drawn_series_follow_them(self):
        d = Autoregressive(
            lambda x: x[..., 1:], lambda m: dist.Normal(m, 1e-3).to_event(1), 5, 1, inputs=torch.randn(4, 5, 1)
        )
        assert (d.sample() - d.inputs).abs().max() < 0.01


class TestMask:
    def test_masked_tails_equal_the_shorter_series(self):
        d, z = series("Gaussian"), torch.randn(3, 6, 2)
        mask = torch.arange(6) < torch.tensor([[6], [4], [1]])
        masked = Autoregressive(d.predictor, d.noise, 6, 2, mask=mask)
        expected = [Autoregressive(d.predictor, d.noise, t, 2).log_prob(z[i, :t]) for i, t in enumerate((6, 4, 1))]
        torch.testing.assert_close(masked.log_prob(z), torch.stack(expected))

    def test_steps_within_are_zeros_to_the_predictor(self):
        d, z = series("Gaussian"), torch.randn(3, 6, 2)
        mask = torch.tensor([True, True, False, True, False, True])
        masked = Autoregressive(d.predictor, d.noise, 6, 2, mask=mask)
        filled = torch.where(mask.unsqueeze(-1), z, 0.0)
        expected = (d.predictive(filled).log_prob(z) * mask).sum(-1)
        torch.testing.assert_close(masked.log_prob(z), expected)
        torch.testing.assert_close(masked.predictive(z).log_prob(z).sum(-1), expected)

    def test_missing_values_reach_neither_value_nor_gradient(self):
        d, z = series("Gaussian"), torch.randn(3, 6, 2)
        mask = torch.tensor([True, True, False, True, False, True])
        masked = Autoregressive(d.predictor, d.noise, 6, 2, mask=mask)
        missing = torch.where(mask.unsqueeze(-1), z, torch.nan).requires_grad_()
        torch.testing.assert_close(masked.log_prob(missing), masked.log_prob(z))
        masked.log_prob(missing).sum().backward()
        assert bool(torch.isfinite(missing.grad).all()) and torch.equal(missing.grad[:, ~mask], torch.zeros(3, 2, 2))
        assert masked.rollout(missing, 2, 4).isfinite().all()

    @pytest.mark.parametrize("name", NOISES)
    def test_missing_values_need_not_be_on_the_support(self, name):
        mask = torch.tensor([True, True, False, True, False, True])
        d = series(name, mask=mask)
        z, state = d.sample((3,)), torch.get_rng_state()
        missing = torch.where(mask.unsqueeze(-1), z, torch.nan)
        torch.testing.assert_close(d.log_prob(missing), d.log_prob(z))
        assert torch.equal(torch.get_rng_state(), state)


def test_a_missing_value_is_named():
    d, z = series("Gaussian"), torch.randn(3, 6, 2)
    z[1, 4, 0] = torch.nan
    z[2] = torch.inf
    with pytest.raises(ValueError, match=r"infinite at step 4 of series 1, and in 7 steps in all"):
        d.log_prob(z)
    with pytest.raises(ValueError, match="infinite at step 4, and in 1"):
        d.log_prob(z[1])


def test_expanded_series_are_drawn_apart_and_scored_alike():
    d = series("Gaussian", batch_shape=(3,))
    wide = d.expand((4, 3))
    z = wide.rsample()
    assert z.shape == (4, 3, 6, 2) and z.requires_grad and len(z.unique()) == 4 * 3 * 6 * 2
    assert not wide.sample().requires_grad
    torch.testing.assert_close(wide.log_prob(z), d.log_prob(z))
    assert wide.log_prob(z[0]).shape == (4, 3)
    assert d.mask(torch.tensor([True, False, True])).log_prob(z[0])[1] == 0


def test_one_step():
    d = series("Gaussian", 1)
    z = torch.randn(5, 1, 2)
    torch.testing.assert_close(d.log_prob(z), gaussian(d.predictor(torch.zeros(1, 2))).log_prob(z).squeeze(-1))
    assert d.sample((3,)).shape == (3, 1, 2)


def test_float32_agrees_with_float64():
    d = series("Gaussian")
    z = d.sample((5,))
    expected = d.log_prob(z)
    single = Autoregressive(d.predictor.float(), d.noise, 6, 2)
    assert single.sample((5,)).dtype == torch.float32
    torch.testing.assert_close(single.log_prob(z.float()).double(), expected, rtol=1e-4, atol=1e-4)


def test_half_precision_of_autocast_is_not_the_density_s():
    d = Autoregressive(Recurrent(2, 2, hidden=8).float(), gaussian, 6, 2)
    z = d.sample((5,))
    expected = d.log_prob(z.bfloat16().float())
    torch.testing.assert_close(d.log_prob(z.bfloat16()), expected)
    with torch.autocast("cpu", dtype=torch.bfloat16):
        score, ahead = d.log_prob(z.bfloat16()), d.rollout(z.bfloat16(), 2)
    assert score.dtype == ahead.dtype == torch.float32
    torch.testing.assert_close(score, expected, rtol=0.02, atol=0)


def test_unreparameterised_noise_has_no_rsample():
    with pytest.raises(NotImplementedError, match="noise is not reparameterised"):
        series("von Mises-Fisher").rsample()


def test_support_serves_to_transform():
    d = series("Gaussian")
    z = torch.randn(5, 6, 2)
    torch.testing.assert_close(biject_to(d.support)(z), z)


class TwoWays(nn.Module):
    def __init__(self):
        super().__init__()
        self.cell = nn.LSTM(2, 1, bidirectional=True, batch_first=True)

    def forward(self, x):
        return self.cell(x)[0]


def test_a_predictor_that_looks_ahead_is_refused():
    with pytest.raises(ValueError, match="not causal"):
        Autoregressive(TwoWays(), gaussian, 6, 2).log_prob(torch.randn(5, 6, 2))


@pytest.mark.parametrize(
    ("arguments", "options", "message"),
    [
        ((0, 2), {}, "num_steps and latent_dim must be at least 1"),
        ((6, 2), {"start": torch.zeros(3)}, r"start must have shape \(..., 2\), got \(3,\)"),
        ((6, 2), {"inputs": torch.zeros(5, 1)}, r"inputs must have shape \(..., T = 6, U\), got \(5, 1\)"),
        ((6, 2), {"mask": torch.ones(6)}, "mask must be boolean"),
        ((6, 2), {"mask": torch.ones(5, dtype=torch.bool)}, r"mask must be boolean of shape \(..., T = 6\)"),
    ],
)
def test_misfits_say_what_to_do(arguments, options, message):
    with pytest.raises(ValueError, match=message):
        Autoregressive(nn.Identity(), gaussian, *arguments, **options)


def test_noise_of_another_shape_is_refused():
    with pytest.raises(ValueError, match=r"declare univariate noise by .to_event\(1\)"):
        Autoregressive(nn.Identity(), lambda loc: dist.Normal(loc, 1.0), 6, 2).sample()
    with pytest.raises(ValueError, match=r"context must have shape \(\.\.\., T0, D = 2\), got \(5, 6, 3\)"):
        Autoregressive(nn.Identity(), gaussian, 6, 2).rollout(torch.zeros(5, 6, 3), 1)
    with pytest.raises(ValueError, match=r"series must have shape \(..., T = 6, D = 2\), got \(5, 2\)"):
        Autoregressive(nn.Identity(), gaussian, 6, 2).log_prob(torch.zeros(5, 2))
