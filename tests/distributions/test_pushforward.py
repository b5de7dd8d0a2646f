"""Pushforward: scored by its marginal, sampled and differentiated by its conditional."""

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_ldm as ldm
from pyro_ldm.entropy import KDE, KNN, Jacobian, Joint, LogDet, Mixture, Pooled, Separate, Zero


def test_scores_the_batch_by_its_estimator():
    z = torch.randn(50, 3)
    site = ldm.Pushforward(z, LogDet())
    assert site.batch_shape == (50,) and site.event_shape == (3,)
    torch.testing.assert_close(site.rsample(), z)
    torch.testing.assert_close(site.log_prob(z), LogDet()(z))


def test_gradient_flows_through_value_and_density():
    z = torch.randn(50, 3, requires_grad=True)
    site = ldm.Pushforward(z, KNN())
    (grad,) = torch.autograd.grad(site.log_prob(site.rsample()).mean(), z)
    (expected,) = torch.autograd.grad(KNN()(z).mean(), z)
    torch.testing.assert_close(grad, expected)


def test_is_expanded_to_the_left_as_particles_need():
    z = torch.randn(50, 3)
    site = ldm.Pushforward(z, LogDet()).expand((4, 50))
    draw = site.rsample()
    assert draw.shape == (4, 50, 3)
    torch.testing.assert_close(site.log_prob(draw), LogDet()(z).expand(4, 50))
    assert ldm.Pushforward(z, Zero()).expand((4, 50)).log_prob(draw).shape == (4, 50)


def test_stochastic_encoder_is_scored_by_the_estimate_from_its_draws():
    q = dist.Normal(torch.randn(50, 3), 0.1).to_event(1)
    site = ldm.Pushforward(q, KDE())
    draw = site.rsample()
    torch.testing.assert_close(site.log_prob(draw), KDE()(draw))
    assert site.has_rsample and site.score_parts(draw).score_function == 0.0


def test_discrete_encoder_weighs_by_the_conditional_and_scores_by_the_marginal():
    q = dist.Categorical(logits=torch.randn(50, 4))
    site = ldm.Pushforward(q, Mixture())
    assert site.has_enumerate_support and not site.has_rsample
    values = site.enumerate_support(expand=False)
    assert values.shape == (4, 1)
    parts = site.score_parts(values)
    marginal = q.probs.mean(0).log()
    torch.testing.assert_close(parts.log_prob, marginal[:, None].expand(4, 50))
    torch.testing.assert_close(parts.score_function, q.logits.T)
    torch.testing.assert_close(parts.entropy_term, parts.log_prob)


@pytest.mark.parametrize("arrange", [Joint, Separate, Pooled])
def test_sequences_take_an_arrangement(arrange):
    z = torch.randn(50, 3, 2)
    assert ldm.Pushforward(z, arrange(LogDet()), event_dim=2).log_prob(z).shape == (50,)


def test_masked_steps_count_in_no_estimate():
    z = torch.randn(40, 3, 2)
    mask = torch.rand(40, 3) > 0.3
    scores = ldm.Pushforward(z, Pooled(KNN()), event_dim=2, mask=mask).log_prob(z)
    changed = torch.where(mask.unsqueeze(-1), z, 1e3)
    torch.testing.assert_close(
        ldm.Pushforward(changed, Pooled(KNN()), event_dim=2, mask=mask).log_prob(changed), scores
    )
    expected = torch.zeros(40, 3)
    expected[mask] = KNN()(z[mask])
    torch.testing.assert_close(scores, expected.sum(-1))


def test_is_no_delta():
    """A Delta loses its log-density where Pyro takes KLs in closed form."""
    site = ldm.Pushforward(torch.randn(50, 3), LogDet())
    assert not isinstance(site, dist.Delta)
    with pytest.raises(NotImplementedError):
        torch.distributions.kl_divergence(site, dist.Normal(torch.zeros(3), 1.0).to_event(1))


@pytest.mark.parametrize(
    ("z", "entropy", "event_dim", "message"),
    [
        (torch.zeros(3), LogDet(), 1, "no batch dimension"),
        (torch.zeros(5, 3), Pooled(LogDet()), 2, "no batch dimension"),
        (torch.zeros(5, 4, 3), LogDet(), 2, "wrap it in an arrangement"),
        (torch.zeros(5, 3), Joint(LogDet()), 1, "does not fit a site of event shape"),
        (torch.zeros(5, 3), Jacobian(), 1, "ldm.encode"),
        (torch.zeros(5, 3), Mixture(), 1, "reads the encoder's conditional"),
        (dist.Normal(0.0, 1.0), LogDet(), 1, "no batch dimension"),
    ],
)
def test_misfits_say_what_to_do(z, entropy, event_dim, message):
    with pytest.raises(ValueError, match=message):
        ldm.Pushforward(z, entropy, event_dim=event_dim)


def test_an_estimator_class_instead_of_an_object_is_refused():
    with pytest.raises(TypeError, match=r"LogDet\(\)"):
        ldm.Pushforward(torch.zeros(5, 3), LogDet)


def test_works_in_a_plate_and_a_trace():
    z = torch.randn(20, 3)

    def guide():
        with pyro.plate("batch", 20):
            return pyro.sample("z", ldm.Pushforward(z, LogDet()))

    trace = pyro.poutine.trace(guide).get_trace()
    torch.testing.assert_close(trace.log_prob_sum(), LogDet()(z).sum())
