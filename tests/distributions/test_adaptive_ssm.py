"""A state space whose process noise follows its errors, against a loop over steps."""

import pyro
import pytest
import torch
from pyro import distributions as dist
from torch.autograd import gradcheck
from torch.distributions import MultivariateNormal

import pyro_ldm as ldm
from pyro_ldm.distributions import AdaptiveSSM, LinearGaussianSSM

TURN = 0.9 * torch.tensor([[0.8, 0.6], [-0.6, 0.8]], dtype=torch.float64)


def adapt(past):
    """Surprised, and far from the centre, it is unsure."""
    error, state = past[..., :2], past[..., 2:]
    return (1 + 2 * error.norm(dim=-1, keepdim=True)) * (1 + 0.3 * state.square().sum(-1, keepdim=True))


def walk(turn=TURN, noise=0.3, **options):
    normal = dist.Normal(torch.zeros(2), noise).to_event(1)
    start = dist.Normal(torch.zeros(2), 1.0).to_event(1)
    return LinearGaussianSSM(start, turn, normal, torch.eye(2), normal, **{"duration": 6} | options)


def filtered(z, factors):
    """Predictions' means and covariances of one series, step by step, process noise times a factor."""
    mean, cov, eye, out = torch.zeros(2), torch.eye(2), torch.eye(2), []
    for step, factor in zip(z, factors, strict=True):
        mean, cov = mean @ TURN, TURN.T @ cov @ TURN + (0.3 * factor) ** 2 * eye
        spread = cov + 0.09 * eye
        out.append((mean, spread))
        gain = torch.linalg.solve(spread, cov)
        mean, cov = mean + (step - mean) @ gain, cov - cov @ gain
    return out


def test_equals_a_loop_over_steps():
    z = torch.randn(4, 6, 2)
    score = AdaptiveSSM(walk(), adapt).expand((4,)).log_prob(z)
    for n in range(4):
        states = torch.stack([mean for mean, _ in filtered(z[n], [1.0] * 6)])
        errors = torch.cat([torch.zeros(1, 2), z[n, :-1] - states[:-1]])
        factors = (1 + 2 * errors.norm(dim=-1)) * (1 + 0.3 * states.square().sum(-1))
        expected = sum(
            MultivariateNormal(*moments).log_prob(z[n, t]) for t, moments in enumerate(filtered(z[n], factors))
        )
        torch.testing.assert_close(score[n], expected)


def test_the_noise_depends_on_the_past_alone():
    z = torch.randn(3, 6, 2)
    changed = z.clone()
    changed[:, 3:] += 5.0
    ssm = AdaptiveSSM(walk(), adapt)
    one, other = ssm.predictive(z), ssm.predictive(changed)
    torch.testing.assert_close(one.variance[:, :4], other.variance[:, :4])
    assert (other.variance[:, 4] > 4 * one.variance[:, 4]).all()
    with pytest.raises(ValueError, match="not causal"):
        AdaptiveSSM(walk(), lambda e: 1 + e.norm(dim=-1, keepdim=True).flip(-2)).log_prob(z)
    with pytest.raises(ValueError, match=r"factors \(M, T, 1\)"):
        AdaptiveSSM(walk(), lambda e: torch.cat([e, e], -1).square() + 1).log_prob(z)
    with pytest.raises(ValueError, match="a factor of 0, and factors on a scale are positive"):
        AdaptiveSSM(walk(), lambda e: 0 * e.norm(dim=-1, keepdim=True)).log_prob(z)


def test_gradients_pass_through_the_noise():
    z = torch.randn(2, 6, 2, requires_grad=True)
    turn = TURN.clone().requires_grad_()
    assert gradcheck(lambda z, turn: AdaptiveSSM(walk(turn), adapt).log_prob(z), (z, turn))


def test_missing_steps_are_no_surprise():
    there = torch.tensor([True, True, False, True, True, True])
    z = torch.randn(3, 6, 2).masked_fill(~there[:, None], torch.nan)
    ssm = AdaptiveSSM(walk(mask=there), adapt)
    assert torch.isfinite(ssm.log_prob(z)).all()
    torch.testing.assert_close(ssm.predictive(z.nan_to_num()).log_prob(z.nan_to_num()).sum(-1), ssm.log_prob(z))


@pytest.mark.parametrize("steps", [1, 2, 3])
def test_missing_coordinates_are_no_surprise(steps):
    there = torch.rand(3, steps, 2) < 0.6
    z = torch.randn(3, steps, 2)
    missing = AdaptiveSSM(walk(duration=steps, mask=there), adapt).given(z.masked_fill(~there, torch.nan))
    states = walk(duration=steps, mask=there).predictive(z).mean
    errors = torch.where(there, z - states, 0.0)
    factors = adapt(torch.cat([torch.cat([torch.zeros(3, 1, 2), errors[:, :-1]], 1), states], -1))
    torch.testing.assert_close(missing.transition_dist.variance, (0.3 * factors).square().expand(3, steps, 2))


def test_samples_pass_their_own_density():
    ssm = AdaptiveSSM(walk(duration=3), adapt)
    z = ssm.sample((4000,))
    # E of the gradient of a log-density, times z, is minus the dimension.
    z.requires_grad_()
    (slope,) = torch.autograd.grad(ssm.log_prob(z).sum(), z)
    product = (slope * z).sum((-1, -2)).detach()
    assert abs(float(product.mean()) + 6) < 5 * float(product.std()) / len(z) ** 0.5


def test_samples_err_as_much_as_is_predicted():
    z = AdaptiveSSM(walk(), adapt).sample((4000,))
    predictive = AdaptiveSSM(walk(), adapt).predictive(z)
    residual = (z - predictive.mean).unsqueeze(-1)
    size = torch.linalg.solve_triangular(predictive.scale_tril, residual, upper=False).square().sum((-1, -2))
    # A chi-square of 2 degrees at each step: mean 2, variance 4.
    assert ((size.mean(0) - 2).abs() < 4.5 * 2 / len(z) ** 0.5).all()


def test_a_full_covariance_is_scaled_too():
    noise = dist.MultivariateNormal(torch.zeros(2), 0.09 * torch.eye(2))
    full = LinearGaussianSSM(walk().initial_dist, TURN, noise, torch.eye(2), noise, duration=6)
    z = torch.randn(3, 6, 2)
    torch.testing.assert_close(AdaptiveSSM(full, adapt).log_prob(z), AdaptiveSSM(walk(), adapt).log_prob(z))


def test_is_a_prior():
    class Adapt(torch.nn.Module):
        def forward(self, past):
            return adapt(past)

    prior = ldm.priors.Kalman(2, adapt=Adapt(), transition_matrix=TURN, num_steps=5)
    z = prior(range(4))
    assert z.shape == (4, 5, 2) and prior.distribution(z).given(z).smooth(z).mean.shape == (4, 5, 2)
    guide = ldm.guides.Deterministic(torch.nn.Linear(3, 2), ldm.entropy.Pooled(ldm.entropy.LogDet()))
    pyro.clear_param_store()
    assert torch.isfinite(ldm.Objective(prior, guide)(torch.randn(8, 5, 3)))
