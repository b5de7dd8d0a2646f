"""Active units, counted and said."""

import pytest
import torch

from pyro_ldm.baselines import posterior_collapse


def test_counts_units_whose_mean_varies_by_more_than_a_hundredth():
    means = torch.randn(2000, 4) * torch.tensor([1.0, 0.12, 0.08, 0.0])  # variances 1, 0.0144, 0.0064, 0
    found = posterior_collapse(means)
    assert (found.active_units, found.latent_dim) == (2, 4)
    torch.testing.assert_close(found.variance, means.var(0))
    assert str(found).startswith("partial posterior collapse: 2 of 4 units are active")
    assert posterior_collapse(means, scale=0.1).active_units == 3
    assert posterior_collapse(means, scale=1.25).active_units == 1  # of more than 0.01 * 1.25^2 = 0.0156
    assert str(posterior_collapse(means[:, :1])) == "no posterior collapse: all 1 units are active"
    assert str(posterior_collapse(means[:, 3:])).startswith("posterior collapse: none of 1 units")


def test_of_series_without_what_is_masked():
    means = torch.randn(50, 7, 2) * torch.tensor([1.0, 0.01])
    gaps = means.clone()
    gaps[:10, 3:] = torch.nan
    assert posterior_collapse(gaps).active_units == 1
    # About the mean of each step: 49 degrees of freedom of the first three, 39 of the others.
    squares = 49 * means[:, :3].var(0).sum(0) + 39 * means[10:, 3:].var(0).sum(0)
    torch.testing.assert_close(posterior_collapse(gaps).variance, squares / (3 * 49 + 4 * 39))


def test_means_that_move_with_the_prior_alone_tell_nothing_of_x():
    """The same path of means whatever x is, as of a posterior that has collapsed to a prior that drifts."""
    path = torch.linspace(-3, 3, 10).unsqueeze(-1).expand(50, 10, 2)
    found = posterior_collapse(path)
    assert found.active_units == 0 and str(found).startswith("posterior collapse: none of 2")


@pytest.mark.parametrize(
    ("means", "scale", "words"),
    [
        (torch.randn(5), 1.0, r"shape \(N, D\) or \(N, T, D\)"),
        (torch.randn(1, 3), 1.0, "N >= 2"),
        (torch.full((5, 3), torch.nan), 1.0, "NaN or Inf"),
        (torch.tensor([[[1.0], [torch.nan]], [[torch.nan], [1.0]]]), 1.0, "no step is there in two series"),
        (torch.randn(5, 3), 0.0, "scale must be positive"),
    ],
)
def test_bad_input_says_what_to_do(means, scale, words):
    with pytest.raises(ValueError, match=words):
        posterior_collapse(means, scale=scale)
