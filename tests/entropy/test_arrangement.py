"""Arrangements, the Jacobian and Zero: what is estimated from which rows."""

import pyro.distributions as dist
import pytest
import torch

from pyro_ldm.entropy import KNN, Jacobian, Joint, LogDet, Mixture, Pooled, Separate, Zero


def test_joint_separate_pooled():
    z = torch.randn(40, 3, 2)
    torch.testing.assert_close(Joint(LogDet())(z), LogDet()(z.reshape(40, 6)))
    torch.testing.assert_close(Separate(LogDet())(z), sum(LogDet()(z[:, v]) for v in range(3)))
    torch.testing.assert_close(Pooled(LogDet())(z), LogDet()(z.reshape(120, 2)).reshape(40, 3).sum(-1))


@pytest.mark.parametrize("arrange", [Joint, Separate, Pooled])
def test_leading_dims_are_separate_batches(arrange):
    z = torch.randn(4, 40, 3, 2)
    torch.testing.assert_close(arrange(KNN())(z)[2], arrange(KNN())(z[2]))


def test_masks():
    z, mask = torch.randn(40, 3, 2), torch.rand(40, 3) > 0.2
    whole = mask.all(-1)
    joint = Joint(LogDet())(z, None, mask)
    torch.testing.assert_close(joint[whole], LogDet()(z[whole].flatten(-2)))
    assert torch.equal(joint[~whole], torch.zeros(int((~whole).sum())))
    separate = torch.zeros(40)
    for v in range(3):
        separate[mask[:, v]] += LogDet()(z[mask[:, v], v])
    torch.testing.assert_close(Separate(LogDet())(z, None, mask), separate)


def test_difference_is_the_mutual_information():
    """Two views with correlation 0.8 in each of 2 dims: I = -log(1 - 0.64) = 1.0217 nats."""
    z = torch.randn(20_000, 2)
    views = torch.stack([z, 0.8 * z + 0.6 * torch.randn(20_000, 2)], -2)
    information = (Joint(LogDet())(views) - Separate(LogDet())(views)).mean()
    assert float(information) == pytest.approx(1.0217, abs=0.03)


def test_divergence_is_what_it_is():
    assert [a(LogDet()).divergence for a in (Joint, Separate, Pooled)] == ["KL", "KL - I", "KL - I"]
    assert [a(Zero()).divergence for a in (Joint, Separate, Pooled)] == ["score"] * 3


def test_what_cannot_be_arranged():
    with pytest.raises(ValueError, match="got another arrangement"):
        Joint(Separate(LogDet()))
    with pytest.raises(ValueError, match="read rows alone"):
        Pooled(Mixture())


def test_jacobian_reads_the_log_volume():
    z, ladj = torch.randn(5, 2), torch.randn(5)
    conditional = dist.Delta(z, log_density=-ladj, event_dim=1)
    assert torch.equal(Jacobian()(z, conditional), -ladj)
    mask = torch.tensor([True, True, False, True, True])
    assert torch.equal(Jacobian()(z, conditional, mask), torch.where(mask, -ladj, 0.0))
    assert Jacobian()(z.expand(3, 5, 2), conditional).shape == (3, 5)
    for wrong in (None, dist.Normal(z, 1.0).to_event(1)):
        with pytest.raises(ValueError, match=r"ldm\.encode"):
            Jacobian()(z, wrong)


def test_zero_has_the_shape_of_the_batch():
    assert torch.equal(Zero()(torch.randn(3, 5, 2)), torch.zeros(3, 5))
    assert torch.equal(
        Zero()(torch.zeros(4, 5, dtype=torch.long), dist.Categorical(torch.ones(5, 4))), torch.zeros(4, 5)
    )
