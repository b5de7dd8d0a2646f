"""Likelihoods: densities that sum to one, and checks of the data."""

import pytest
import torch

from pyro_ldm.baselines import Bernoulli, DiscretizedLogistic, Gaussian

LEVELS = torch.arange(256, dtype=torch.float64) / 255


class TestDiscretizedLogistic:
    @pytest.mark.parametrize("scale", [1e-4, 0.01, 0.1, 3.0])
    @pytest.mark.parametrize("loc", [-0.5, 0.0, 0.3, 1.0, 4.0])
    def test_sums_to_one_however_narrow_or_far_off(self, loc, scale):
        log_prob = DiscretizedLogistic(scale)(torch.tensor(loc)).log_prob(LEVELS)
        assert torch.isfinite(log_prob).all()
        assert float(log_prob.exp().sum()) == pytest.approx(1.0)

    def test_is_the_difference_of_two_sigmoids(self):
        loc, scale = torch.tensor(0.4), 0.1
        log_prob = DiscretizedLogistic(scale)(loc).log_prob(LEVELS)
        edge = ((LEVELS + 1 / 510 - loc) / scale).sigmoid()
        expected = torch.cat([edge[:1], edge[1:-1] - edge[:-2], 1 - edge[-2:-1]])
        torch.testing.assert_close(log_prob.exp(), expected)

    def test_samples_are_levels_with_these_probabilities(self):
        fn = DiscretizedLogistic(0.2, levels=4)(torch.tensor(0.9))
        levels = torch.arange(4) / 3
        x = fn.sample((20000,))
        share = (x.unsqueeze(-1) - levels).abs().lt(1e-9).double().mean(0)
        torch.testing.assert_close(share, fn.log_prob(levels).exp(), rtol=0, atol=0.015)

    @pytest.mark.parametrize("loc", [-0.2, 0.1, 0.5, 1.3])
    def test_mean_is_that_of_its_probabilities(self, loc):
        fn = DiscretizedLogistic(0.1)(torch.tensor(loc))
        assert float(fn.mean) == pytest.approx(float((fn.log_prob(LEVELS).exp() * LEVELS).sum()), abs=1e-3)

    def test_gradients_are_right(self):
        x = (torch.rand(6) * 255).round() / 255
        x[0], x[1] = 0.0, 1.0
        loc, scale = torch.rand(6, requires_grad=True), torch.tensor(0.1, requires_grad=True)
        assert torch.autograd.gradcheck(
            lambda loc, scale: DiscretizedLogistic(0.1)(loc).__class__(loc, scale).log_prob(x), (loc, scale)
        )

    def test_refuses_data_off_its_levels(self):
        with pytest.raises(ValueError, match="256 levels, k / 255"):
            DiscretizedLogistic().check(torch.rand(5, 4))
        with pytest.raises(ValueError, match=r"on \[0, 1\], and x goes from 0 to 255: rescale"):
            DiscretizedLogistic().check(torch.tensor([[0.0, 255.0]]))
        DiscretizedLogistic().check((torch.rand(5, 4, dtype=torch.float32) * 255).round() / 255)
        with pytest.raises(ValueError, match="levels must be at least 2"):
            DiscretizedLogistic(levels=1)


class TestGaussian:
    def test_scale_is_fixed_or_learned_one_or_per_coordinate(self):
        x, output = torch.randn(5, 3), torch.randn(5, 3)
        for scale in (0.5, torch.tensor([0.5, 1.0, 2.0])):
            fixed, learned = Gaussian(scale), Gaussian(torch.nn.Parameter(torch.as_tensor(scale)))
            sigma = torch.as_tensor(scale).expand(3)
            expected = -0.5 * ((x - output) / sigma) ** 2 - sigma.log() - 0.5 * torch.tensor(2 * torch.pi).log()
            torch.testing.assert_close(fixed(output).log_prob(x), expected)
            torch.testing.assert_close(learned(output).log_prob(x), expected)
            assert len(list(fixed.parameters())) == 0 and len(list(learned.parameters())) == 1
        assert len(list(Gaussian().parameters())) == 1

    def test_bad_scales_say_what_to_do(self):
        with pytest.raises(ValueError, match="scale must be positive"):
            Gaussian(0.0)
        with pytest.raises(ValueError, match=r"scale of shape \(4,\) does not fit the decoder's output \(5, 3\)"):
            Gaussian(torch.ones(4))(torch.randn(5, 3))


def test_bernoulli_takes_grey_values_in_the_unit_interval_only():
    output, x = torch.randn(5, 3), torch.rand(5, 3)
    p = output.sigmoid()
    torch.testing.assert_close(Bernoulli()(output).log_prob(x), x * p.log() + (1 - x) * (1 - p).log())
    Bernoulli().check(x)
    with pytest.raises(ValueError, match=r"Bernoulli is a distribution on \[0, 1\], and x goes from -1 to 1"):
        Bernoulli().check(torch.tensor([[-1.0, 1.0]]))


@pytest.mark.parametrize("likelihood", [Bernoulli, Gaussian, DiscretizedLogistic])
def test_refuses_nan(likelihood):
    x = torch.zeros(5, 3)
    x[2, 1] = torch.nan
    with pytest.raises(ValueError, match="NaN or Inf in 1 of 5 rows"):
        likelihood().check(x)
