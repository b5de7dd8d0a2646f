"""The pairwise sum and search: against plain autograd and a naive search, in chunks, with a row itself or without."""

import pytest
import torch

from pyro_ldm.entropy import pairwise
from pyro_ldm.entropy.pairwise import logsumexp_inner, nearest


def plain(x, y, bias, skip):
    scores = x @ y.mT + bias.unsqueeze(-2)
    if skip is not None:
        keep = torch.ones(scores.shape[-2:], dtype=torch.bool)
        for i in range(scores.shape[-2]):
            if 0 <= i + skip < scores.shape[-1]:
                keep[i, i + skip] = False
        scores = scores.masked_fill(~keep, -torch.inf)
    return scores.logsumexp(-1)


@pytest.mark.parametrize("chunk", [2**23, 13, 1])
@pytest.mark.parametrize("skip", [None, 0, 2, -3])
def test_value_and_gradient_equal_plain_autograd(chunk, skip, monkeypatch):
    monkeypatch.setattr(pairwise, "CHUNK", chunk)
    inputs = [torch.randn(2, 6, 3), torch.randn(2, 9, 3), torch.randn(2, 9)]
    inputs = [t.requires_grad_() for t in inputs]
    weights = torch.randn(2, 6)
    ours, theirs = logsumexp_inner(*inputs, skip=skip), plain(*inputs, skip)
    torch.testing.assert_close(ours, theirs)
    torch.testing.assert_close(
        torch.autograd.grad((weights * ours).sum(), inputs), torch.autograd.grad((weights * theirs).sum(), inputs)
    )


def test_large_scores_do_not_overflow():
    x = torch.tensor([[100.0], [-100.0]])
    assert torch.isfinite(logsumexp_inner(x, 10 * x, torch.zeros(2))).all()


@pytest.mark.parametrize("chunk", [2**23, 17])
def test_nearest_against_a_naive_search(chunk, monkeypatch):
    monkeypatch.setattr(pairwise, "CHUNK", chunk)
    support = torch.randn(2, 20, 3)
    z = support[:, 5:12]
    distance = torch.cdist(z, support)
    for i in range(7):
        distance[:, i, 5 + i] = torch.inf
    for k in (1, 4):
        assert torch.equal(nearest(z, support, k, skip=5), distance.argsort(-1)[..., k - 1])
