"""Guides: they sample their sites within the plate, scored by the pushforward of their encoder."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine

import pyro_ldm as ldm
from pyro_ldm.entropy import KNN, Joint, LogDet, Mixture, Separate, Zero


def site(guide, *batch, name="z"):
    return poutine.trace(guide).get_trace(*batch).nodes[name]


def test_deterministic_takes_a_mask_of_rows_and_of_steps():
    x = torch.randn(30, 4)
    mask = torch.arange(30) < 20
    guide = ldm.guides.Deterministic(torch.nn.Linear(4, 2), LogDet())
    scores = site(guide, x, mask)["fn"].log_prob(guide(x))
    assert torch.equal(scores[20:], torch.zeros(10))
    torch.testing.assert_close(scores[:20], LogDet()(guide(x)[:20]))
    series = ldm.guides.Deterministic(torch.nn.Linear(4, 2), Separate(LogDet()))
    assert site(series, torch.randn(30, 5, 4))["fn"].event_shape == (5, 2)


def test_gaussian_refuses_an_odd_number_of_outputs():
    with pytest.raises(ValueError, match="2 D outputs"):
        ldm.guides.Gaussian(torch.nn.Linear(4, 3), Mixture())(torch.randn(5, 4))


def test_invertible_scores_minus_the_log_volume():
    x, encoder = torch.randn(30, 3), torch.nn.Linear(3, 3)
    fn = site(ldm.guides.Invertible(encoder), x)["fn"]
    torch.testing.assert_close(fn.log_prob(encoder(x)), -encoder.weight.slogdet().logabsdet.expand(30))


def test_invertible_takes_a_pyro_transform_and_trains_twice():
    transform = dist.transforms.affine_coupling(2, hidden_dims=[8])
    objective = ldm.Objective(ldm.priors.Gaussian(2), ldm.guides.Invertible(transform))
    x = torch.randn(30, 2)
    for _ in range(2):  # a transform's cache would break the second backward
        objective(x).backward()
    assert all(p.grad is not None for p in transform.parameters())


def test_a_flow_s_objective_is_its_negative_log_likelihood():
    zuko = pytest.importorskip("zuko")
    flow = zuko.flows.NSF(2, transforms=2, hidden_features=[8])
    x = torch.randn(30, 2)
    loss = ldm.Objective(ldm.priors.Gaussian(2), ldm.guides.Invertible(flow))(x)
    torch.testing.assert_close(loss, -flow().log_prob(x).mean())


def test_views_go_through_the_encoder_as_one_batch():
    encoder = torch.nn.Sequential(torch.nn.Linear(4, 2), torch.nn.BatchNorm1d(2))
    guide = ldm.guides.Views(encoder, Joint(LogDet()))
    x, x_prime = torch.randn(20, 4), torch.randn(20, 4) + 3
    views = guide(x, x_prime)
    together = encoder(torch.cat([x, x_prime]))
    torch.testing.assert_close(torch.cat([views["z"], views["z_prime"]]), together)
    with pytest.raises(ValueError, match="views of one shape"):
        guide(x, torch.randn(19, 4))


class TestSampleViews:
    def run(self, sites, entropy, **options):
        def guide():
            with pyro.plate("batch", 20):
                ldm.sample_views(sites, entropy, **options)

        return poutine.trace(guide).get_trace()

    def test_total_log_prob_is_the_joint_estimate(self):
        z, z_prime = torch.randn(20, 2), torch.randn(20, 2)
        trace = self.run({"z": z, "z_prime": z_prime}, Joint(LogDet()))
        torch.testing.assert_close(trace.log_prob_sum(), LogDet()(torch.cat([z, z_prime], -1)).sum())

    def test_stochastic_views_under_their_joint_mixture(self):
        q, q_prime = (dist.Normal(torch.randn(20, 2), 0.3).to_event(1) for _ in range(2))
        trace = self.run({"z": q, "z_prime": q_prime}, Joint(Mixture()))
        z, z_prime = trace.nodes["z"]["value"], trace.nodes["z_prime"]["value"]
        pairs = q.log_prob(z[:, None]) + q_prime.log_prob(z_prime[:, None])
        torch.testing.assert_close(trace.log_prob_sum(), (pairs.logsumexp(-1) - torch.tensor(20.0).log()).sum())

    def test_a_masked_view_counts_in_no_estimate(self):
        z, z_prime = torch.randn(20, 2), torch.randn(20, 2)
        mask = torch.ones(20, 2, dtype=torch.bool)
        mask[:5, 1] = False
        trace = self.run({"z": z, "z_prime": z_prime}, Separate(LogDet()), mask=mask)
        torch.testing.assert_close(trace.log_prob_sum(), LogDet()(z).sum() + LogDet()(z_prime[5:]).sum())

    @pytest.mark.parametrize(
        ("sites", "entropy", "message"),
        [
            ({"z": torch.zeros(20, 2), "z_prime": torch.zeros(20, 2)}, LogDet(), r"wrap it as Joint"),
            ({"z": torch.zeros(20, 2), "z_prime": torch.zeros(20, 3)}, Joint(LogDet()), "views must agree in shape"),
            ({"z": torch.zeros(20, 2), "z_prime": torch.zeros(20, 2)}, Joint(Mixture()), "needs stochastic encoders"),
            ({"k": dist.Categorical(torch.ones(20, 2))}, Joint(Mixture()), "discrete views need enumeration"),
        ],
    )
    def test_misfits_say_what_to_do(self, sites, entropy, message):
        with pytest.raises(ValueError, match=message):
            self.run(sites, entropy)

    def test_a_conditioning_view_is_scored_zero(self):
        trace = self.run({"z": torch.randn(20, 2), "z_prime": torch.randn(20, 2)}, Zero())
        assert float(trace.log_prob_sum()) == 0.0


def test_compose_runs_guides_in_order_and_gathers_their_sites():
    views = ldm.guides.Views(torch.nn.Linear(4, 2), Joint(KNN()))
    other = ldm.guides.Deterministic(torch.nn.Linear(4, 2), KNN(), site="extra")
    guide = ldm.guides.Compose(views, _First(other))
    assert sorted(guide(torch.randn(20, 4), torch.randn(20, 4))) == ["z", "z_prime"]
    assert len(list(guide.parameters())) == 4


class _First(torch.nn.Module):
    def __init__(self, guide):
        super().__init__()
        self.guide = guide

    def forward(self, x, x_prime):
        return self.guide(x)
