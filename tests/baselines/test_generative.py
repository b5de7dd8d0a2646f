"""A prior with a likelihood: losses of VAEs equal to independent re-implementations, and what misfits say."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from pyro import poutine
from pyro.infer import Predictive, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO

import pyro_ldm as ldm
from pyro_ldm import baselines
from pyro_ldm.entropy import Conditional, Joint, LogDet, Mixture

ELBOS = {
    "trace": Trace_ELBO,
    "particles": lambda: Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1),
    "mean-field": TraceMeanField_ELBO,
}
HALF_LOG_2PI = 0.5 * math.log(2 * math.pi)


def normal(z, loc, scale):
    return -0.5 * ((z - loc) / scale) ** 2 - torch.as_tensor(scale).log() - HALF_LOG_2PI


def vae(likelihood=None, entropy=None, shape=(6,)):
    numbers = math.prod(shape)
    decoder = baselines.MLPDecoder(2, shape, hidden=[7])
    model = baselines.Generative(ldm.priors.Gaussian(2), decoder, likelihood or baselines.Bernoulli())
    encoder = ldm.encoders.MLP(numbers, 4, hidden=[7], batch_norm=False)
    return model, ldm.guides.Gaussian(encoder, entropy or Conditional())


def seeded(objective, *batch):
    objective.check(*batch)
    pyro.set_rng_seed(3)
    return objective(*batch)


def by_hand(model, guide, x, z_noise):
    """Reconstruction and KL of each row, written out in torch."""
    out = guide.encoder(x)
    loc, scale = out[..., :2], F.softplus(out[..., 2:]) + 1e-3
    z = loc + scale * z_noise
    kl = (normal(z, loc, scale) - normal(z, 0.0, torch.tensor(1.0))).sum(-1)
    decoded = model.decoder(z.reshape(-1, 2)).reshape(*z.shape[:-1], *x.shape[1:])
    return decoded, kl


@pytest.mark.parametrize("elbo", ELBOS)
@pytest.mark.parametrize("shape", [(6,), (1, 2, 3)])
def test_the_loss_of_a_vae_is_the_one_written_out(elbo, shape):
    model, guide = vae(shape=shape)
    objective, x = ldm.Objective(model, guide, ELBOS[elbo]()), torch.rand(20, *shape)
    loss = seeded(objective, x)
    pyro.set_rng_seed(3)
    noise = torch.randn((3, 20, 2) if elbo == "particles" else (20, 2))
    logits, kl = by_hand(model, guide, x, noise)
    bce = F.binary_cross_entropy_with_logits(logits, x.expand_as(logits), reduction="none")
    exact = (bce.flatten(noise.dim() - 1).sum(-1) + kl).mean()
    torch.testing.assert_close(loss, exact)
    parameters = list(objective.parameters())
    assert len(parameters) == 8
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), torch.autograd.grad(exact, parameters))
    assert len(pyro.get_param_store()) == 0


def test_terms_split_a_vae_s_loss():
    model, guide = vae(baselines.Gaussian(0.5))
    x, objective = torch.randn(4000, 6), ldm.Objective(model, guide)
    terms = objective.terms(x)
    with torch.no_grad():
        decoded, kl = by_hand(model, guide, x, torch.randn(4000, 2))
    expected = normal(x, decoded, torch.tensor(0.5)).sum(-1).mean()
    assert terms.kl == pytest.approx(float(kl.mean()), abs=0.1)
    assert terms.reconstruction == pytest.approx(float(expected), rel=0.03)
    assert terms.loss == pytest.approx(float(objective(x).detach()), rel=0.03)
    assert terms.kl == pytest.approx(-terms.alignment - terms.uniformity)
    assert (terms.divergence, terms.objective) == ("KL + I", "-ELBO")
    without = ldm.Objective(ldm.priors.Gaussian(2), guide).terms(x)
    assert without.reconstruction is None and without.kl == pytest.approx(terms.kl, abs=0.1)


@pytest.mark.parametrize(("entropy", "objective"), [(Mixture(), "-(ELBO + I)"), (LogDet(), "-(ELBO + I)")])
def test_scored_by_its_marginal_it_is_an_infovae_not_a_bound(entropy, objective):
    model, guide = vae(entropy=entropy)
    loss, x = ldm.Objective(model, guide), torch.rand(30, 6)
    terms = loss.terms(x)
    assert (terms.divergence, terms.objective) == ("KL", objective)
    # What draws from the prior measure is of the latents alone, whatever the decoder makes of them.
    reference = loss.reference(x)
    alone = ldm.Objective(ldm.priors.Gaussian(2), guide).reference(x)
    assert len(reference) == len(alone) == (0 if isinstance(entropy, Mixture) else 5)
    assert all(abs(value) < 1.0 for value in reference)


@pytest.mark.parametrize(
    "prior", [ldm.priors.Laplace, ldm.priors.StudentT, ldm.priors.GaussianMixture, ldm.priors.PowerLaw, ldm.priors.Flow]
)
@pytest.mark.parametrize("elbo", ["trace", "particles"])
def test_any_prior_of_vectors_will_do(prior, elbo):
    _, guide = vae()
    model = baselines.Generative(prior(2), torch.nn.Linear(2, 6), baselines.Bernoulli())
    objective, x = ldm.Objective(model, guide, ELBOS[elbo]()), torch.rand(20, 6)
    terms = objective.terms(x)
    assert terms.objective == "-ELBO" and math.isfinite(terms.loss)
    objective(x).backward()
    assert all(torch.isfinite(p.grad).all() for p in objective.parameters())


def test_a_plain_pyro_guide_is_a_vae_s():
    model, guide = vae()

    def plain(x):
        with pyro.plate("batch", len(x)):
            pyro.sample("z", guide.conditional(x))

    x = torch.rand(20, 6)
    terms = ldm.Objective(model, plain).terms(x)
    assert (terms.divergence, terms.objective) == ("KL + I", "-ELBO")
    torch.testing.assert_close(seeded(ldm.Objective(model, plain), x), seeded(ldm.Objective(model, guide), x))


def test_infovae_is_the_elbo_plus_the_mutual_information_exactly():
    """Categories and discrete data, enumerated: x of 4 values, k of 3."""
    logits, decoder = torch.randn(4, 3), torch.nn.Embedding(3, 4)
    p_k = torch.tensor([0.2, 0.3, 0.5])

    def prior(x):
        with pyro.plate("batch", len(x)):
            pyro.sample("z", dist.Categorical(p_k))

    def likelihood(output):
        return dist.Categorical(logits=output)

    def guide_of(entropy):
        def guide(x):
            with pyro.plate("batch", len(x)):
                site = ldm.Pushforward(dist.Categorical(logits=logits[x]), entropy)
                pyro.sample("z", site, infer={"enumerate": "parallel"})

        return guide

    x = torch.arange(4).repeat(25)
    model = baselines.Generative(prior, decoder, likelihood)
    losses = {
        entropy: ldm.Objective(model, guide_of(entropy()), TraceEnum_ELBO(max_plate_nesting=1))
        for entropy in (Conditional, Mixture)
    }
    q = logits.softmax(-1)  # q(k | x), x uniform on four values
    log_p_x = decoder.weight.log_softmax(-1).T  # log p(x | k), (4, 3)
    elbo = (q * (log_p_x + p_k.log() - q.log())).sum(-1).mean()
    r = q.mean(0)
    information = (q * (q / r).log()).sum(-1).mean()
    torch.testing.assert_close(losses[Conditional](x), -elbo)
    torch.testing.assert_close(losses[Mixture](x), -(elbo + information))
    terms = losses[Mixture].terms(x)
    assert terms.kl == pytest.approx(float((r * (r / p_k).log()).sum()))
    assert terms.reconstruction == pytest.approx(float((q * log_p_x).sum(-1).mean().detach()))
    assert losses[Conditional].terms(x).kl == pytest.approx(terms.kl + float(information))


def test_a_pair_of_views_is_decoded_from_the_two_latents():
    decoder = baselines.MLPDecoder(2, (6,), hidden=[7])
    model = baselines.Generative(ldm.priors.GaussianViews(2, noise=0.5), decoder, baselines.Gaussian(1.0))
    encoder = torch.nn.Linear(6, 4)
    objective = ldm.Objective(model, ldm.guides.GaussianViews(encoder, Joint(Conditional())))
    x = torch.randn(2, 20, 6)
    loss = seeded(objective, *x)
    pyro.set_rng_seed(3)
    out = encoder(x)
    loc, scale = out[..., :2], F.softplus(out[..., 2:]) + 1e-3
    z = loc + scale * torch.stack([torch.randn(20, 2), torch.randn(20, 2)])
    log_q = normal(z, loc, scale).sum((0, -1))
    one = torch.tensor(1.0)
    log_p = normal(z[0], 0.0, one).sum(-1) + normal(z[1], z[0], 0.5 * one).sum(-1)
    log_x = sum(normal(x[v], decoder(z[v]), one).sum(-1) for v in range(2))
    exact = (log_q - log_p - log_x).mean()
    torch.testing.assert_close(loss, exact)
    parameters = [*encoder.parameters(), *decoder.parameters()]
    torch.testing.assert_close(torch.autograd.grad(loss, parameters), torch.autograd.grad(exact, parameters))
    assert objective.terms(*x).objective == "-ELBO"
    drawn, drawn_prime = model(range(3))
    assert drawn.shape == drawn_prime.shape == (3, 6)


class TestSeries:
    def model(self, steps=None):
        decoder = ldm.encoders.PerStep(baselines.MLPDecoder(2, (3,), hidden=[7]))
        prior = ldm.priors.Kalman(2, num_steps=steps)
        encoder = ldm.encoders.PerStep(torch.nn.Linear(3, 4))
        return (
            baselines.Generative(prior, decoder, baselines.Gaussian(1.0)),
            ldm.guides.Gaussian(encoder, Conditional()),
        )

    def test_a_kalman_vae_sums_the_state_out(self):
        model, guide = self.model()
        objective, x = ldm.Objective(model, guide), torch.randn(20, 5, 3)
        loss = seeded(objective, x)
        pyro.set_rng_seed(3)
        out = guide.encoder(x)
        loc, scale = out[..., :2], F.softplus(out[..., 2:]) + 1e-3
        z = loc + scale * torch.randn(20, 5, 2)
        # The default prior: independent random walks of step 0.1 from a start of scale 1, observed under noise 0.5.
        t = torch.arange(1, 6.0)
        covariance = 1.0 + 0.01 * torch.minimum(t[:, None], t) + 0.25 * torch.eye(5)
        log_p = dist.MultivariateNormal(torch.zeros(5), covariance).log_prob(z.mT).sum(-1)
        log_x = normal(x, model.decoder(z), torch.tensor(1.0)).sum((1, 2))
        exact = (normal(z, loc, scale).sum((1, 2)) - log_p - log_x).mean()
        torch.testing.assert_close(loss, exact)
        parameters = [*guide.parameters(), *model.decoder.parameters()]
        torch.testing.assert_close(torch.autograd.grad(loss, parameters), torch.autograd.grad(exact, parameters))

    def test_missing_frames_count_nowhere(self):
        model, guide = self.model()
        x, mask = torch.randn(20, 5, 3), torch.rand(20, 5) < 0.6
        objective = ldm.Objective(model, guide)
        first = seeded(objective, torch.where(mask.unsqueeze(-1), x, 0.0), mask)
        other = seeded(objective, torch.where(mask.unsqueeze(-1), x, 7.0), mask)
        torch.testing.assert_close(first, other)
        gaps = torch.where(mask.unsqueeze(-1), x, torch.nan)
        trace = poutine.trace(poutine.condition(model, {"z": torch.zeros(20, 5, 2)})).get_trace(gaps, mask)
        expected = normal(x, model.decoder(torch.zeros(20, 5, 2)), torch.tensor(1.0)).sum(-1)[mask].sum()
        trace.compute_log_prob()
        torch.testing.assert_close(trace.nodes["x"]["log_prob_sum"], expected)
        expected.backward()
        assert all(torch.isfinite(p.grad).all() for p in model.decoder.parameters())

    def test_generates(self):
        model, _ = self.model(steps=4)
        assert model(range(6)).shape == (6, 4, 3)


def test_masked_rows_count_nowhere():
    model, _ = vae(baselines.Gaussian(1.0))
    x, mask = torch.randn(20, 6), torch.arange(20) < 12
    trace = poutine.trace(poutine.condition(model, {"z": torch.zeros(20, 2)})).get_trace(x, mask)
    expected = normal(x[:12], model.decoder(torch.zeros(12, 2)), torch.tensor(1.0)).sum()
    trace.compute_log_prob()
    torch.testing.assert_close(trace.nodes["x"]["log_prob_sum"], expected)


def test_a_subsampled_plate_weighs_the_data_as_it_does_the_latents():
    x = torch.randn(20, 2)

    def prior(x):
        with pyro.plate("batch", 1000, subsample=x):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    trace = poutine.trace(baselines.Generative(prior, torch.nn.Identity(), baselines.Gaussian(1.0))).get_trace(x)
    assert trace.nodes["x"]["scale"] == trace.nodes["z"]["scale"] == 50.0


def test_generates_and_runs_under_predictive():
    model, guide = vae(shape=(1, 2, 3))
    assert model(range(5)).shape == (5, 1, 2, 3)
    assert Predictive(model, num_samples=4)(range(5))["x"].shape == (4, 5, 1, 2, 3)
    pyro.clear_param_store()
    state = torch.get_rng_state()
    images = baselines.generate(model, 5, seed=1)
    assert torch.equal(images, baselines.generate(model, 5, seed=1)) and not torch.equal(
        images, baselines.generate(model, 5, seed=2)
    )
    assert torch.equal(state, torch.get_rng_state()) and len(pyro.get_param_store()) == 0
    assert images.shape == (5, 1, 2, 3) and images.min() > 0 and images.max() < 1
    x = torch.rand(7, 1, 2, 3)
    expected = model.decoder(guide.encoder(x)[:, :2]).sigmoid()
    torch.testing.assert_close(baselines.reconstruct(model, guide, x, batch_size=3), expected)


def test_a_prior_keeps_its_global_sites_names_and_their_kl():
    prior = ldm.priors.Gaussian(2, scale=dist.LogNormal(0.0, 1.0))
    model = baselines.Generative(prior, torch.nn.Linear(2, 6), baselines.Gaussian())
    assert "scale" in poutine.trace(prior).get_trace(range(3)).nodes
    local = ldm.guides.Gaussian(torch.nn.Linear(6, 4), Conditional())
    auto = pyro.infer.autoguide.AutoNormal(poutine.block(prior, hide=["z"]))
    objective = ldm.Objective(model, ldm.guides.Compose(auto, local), size=1000)
    x = torch.randn(50, 6)
    terms = objective.terms(x)
    assert 0 < terms.global_kl < 0.02 and terms.objective == "-ELBO"
    pyro.set_rng_seed(0)
    loss = float(objective(x).detach())
    assert terms.loss == pytest.approx(loss, rel=0.2)


class TestMisfits:
    def test_images_outside_the_unit_interval_under_bernoulli(self):
        objective = ldm.Objective(*vae())
        with pytest.raises(ValueError, match=r"rescale x to \[0, 1\], or use baselines.Gaussian"):
            objective(torch.randn(20, 6))

    def test_a_decoder_of_another_shape(self):
        model, guide = vae(shape=(6,))
        guide.encoder = ldm.encoders.MLP(6, 4, hidden=[7])
        with pytest.raises(ValueError, match=r"shape \(1, 2, 3\), and the decoder .* gives \(6,\)"):
            ldm.Objective(model, guide)(torch.rand(20, 1, 2, 3))

    def test_a_prior_without_the_site(self):
        def prior(x):
            with pyro.plate("batch", len(x)):
                pyro.sample("latent", dist.Normal(torch.zeros(2), 1.0).to_event(1))

        with pytest.raises(ValueError, match=r"no site \['z', 'z_prime'\] to decode: it has \['latent'\]"):
            baselines.Generative(prior, torch.nn.Linear(2, 6), baselines.Gaussian())(torch.randn(5, 6))
        named = baselines.Generative(prior, torch.nn.Linear(2, 6), baselines.Gaussian(), sites={"latent": "x"})
        assert named(range(5)).shape == (5, 6)

    def test_a_prior_outside_the_plate(self):
        def prior(x):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(2))

        with pytest.raises(ValueError, match=r"outside pyro\.plate"):
            baselines.Generative(prior, torch.nn.Linear(2, 6), baselines.Gaussian())(torch.randn(5, 6))

    def test_one_view_where_there_are_two(self):
        model = baselines.Generative(ldm.priors.GaussianViews(2), torch.nn.Linear(2, 6), baselines.Gaussian())
        with pytest.raises(ValueError, match=r"1 tensors of data for sites \['x', 'x_prime'\]"):
            model(torch.randn(5, 6))

    def test_data_that_are_no_floating_point_numbers(self):
        """Booleans would be taken for a mask, and nothing be observed."""
        model, _ = vae()
        for dtype in (torch.bool, torch.uint8):
            with pytest.raises(ValueError, match=r"x\.float\(\)"):
                model(torch.ones(5, 6, dtype=dtype))

    def test_nan(self):
        x = torch.rand(20, 6)
        x[0, 0] = torch.nan
        with pytest.raises(ValueError, match="NaN or Inf in 1 of 20 rows"):
            ldm.Objective(*vae())(x)


def test_fits_and_learns():
    x = torch.randn(500, 2) @ torch.randn(2, 8) + 0.1 * torch.randn(500, 8)
    decoder = baselines.MLPDecoder(2, (8,), hidden=[32])
    model = baselines.Generative(ldm.priors.Gaussian(2), decoder, baselines.Gaussian())
    guide = ldm.guides.Gaussian(ldm.encoders.MLP(8, 4, hidden=[32], batch_norm=False), Conditional())
    fit = ldm.fit(model.float(), guide.float(), x.float(), epochs=30, batch_size=100, lr=1e-2, progress=False)
    assert fit.terms.loss < 6.0 < fit.history[0]["loss"]
    assert fit.history[-1]["reconstruction"] == pytest.approx(fit.terms.reconstruction, abs=0.5)
    assert fit.reference == () and len(pyro.get_param_store()) == 0
    found = baselines.posterior_collapse(ldm.training.latents(guide, x.float()))
    assert found.active_units == 2
