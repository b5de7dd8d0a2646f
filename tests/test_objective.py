"""The objective equals hand-written formulas, value and gradient, under every ELBO that Pyro has for it."""

import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import MCMC, NUTS, SVI, Trace_ELBO, TraceEnum_ELBO, TraceMeanField_ELBO, config_enumerate
from pyro.infer.autoguide import AutoNormal
from pyro.nn import PyroModule

import pyro_ldm as ldm
from pyro_ldm.devices import on_device_of
from pyro_ldm.entropy import KDE, KNN, Joint, LogDet, Mixture, Separate, Zero

ELBOS = {
    "trace": Trace_ELBO,
    "particles": lambda: Trace_ELBO(num_particles=3, vectorize_particles=True, max_plate_nesting=1),
    "loop": lambda: Trace_ELBO(num_particles=2),
    "mean-field": TraceMeanField_ELBO,
}


@pytest.fixture(params=ELBOS)
def elbo(request):
    return ELBOS[request.param]()


def grads(loss, parameters):
    return torch.autograd.grad(loss, list(parameters))


def normal_prior(dim):
    def prior(*batch):
        with pyro.plate("batch", len(batch[0])):
            return pyro.sample("z", dist.Normal(torch.zeros(dim), 1.0).to_event(1))

    return prior


def test_linear_ica_is_the_exact_negative_log_likelihood(elbo):
    x, encoder = torch.randn(200, 4) @ torch.randn(4, 4), torch.nn.Linear(4, 4, bias=False)
    loss = ldm.Objective(ldm.priors.Laplace(4), ldm.guides.Invertible(encoder), elbo)(x)
    weight = encoder.weight
    exact = (x @ weight.T).abs().sum(-1).mean() + 4 * torch.tensor(2.0).log() - weight.slogdet().logabsdet
    torch.testing.assert_close(loss, exact)
    torch.testing.assert_close(grads(loss, [weight]), grads(exact, [weight]))


@pytest.mark.parametrize("entropy", [LogDet(), KDE(), KNN()], ids=lambda e: type(e).__name__)
def test_deterministic_encoder(elbo, entropy):
    x, encoder = torch.randn(100, 6), torch.nn.Linear(6, 2)
    loss = ldm.Objective(normal_prior(2), ldm.guides.Deterministic(encoder, entropy), elbo)(x)
    z = encoder(x)
    exact = (0.5 * z.square().sum(-1) + torch.tensor(2 * torch.pi).log() + entropy(z)).mean()
    torch.testing.assert_close(loss, exact)
    torch.testing.assert_close(grads(loss, encoder.parameters()), grads(exact, encoder.parameters()))


@pytest.mark.parametrize("arrange", [Joint, Separate])
def test_pair_of_views(elbo, arrange):
    x, x_prime, encoder = torch.randn(100, 6), torch.randn(100, 6), torch.nn.Linear(6, 2)
    prior, guide = ldm.priors.GaussianViews(2, noise=0.5), ldm.guides.Views(encoder, arrange(LogDet()))
    objective = ldm.Objective(prior, guide, elbo)
    loss, terms = objective(x, x_prime), objective.terms(x, x_prime)
    z, z_prime = encoder(x), encoder(x_prime)
    log_prior = dist.Normal(0, 1).log_prob(z).sum(-1) + dist.Normal(z, 0.5).log_prob(z_prime).sum(-1)
    log_r = LogDet()(torch.cat([z, z_prime], -1)) if arrange is Joint else LogDet()(z) + LogDet()(z_prime)
    torch.testing.assert_close(loss, (log_r - log_prior).mean())
    torch.testing.assert_close(
        grads(loss, encoder.parameters()), grads((log_r - log_prior).mean(), encoder.parameters())
    )
    assert terms.alignment == pytest.approx(log_prior.mean().item())
    assert terms.uniformity == pytest.approx(-log_r.mean().item())
    assert terms.divergence == ("KL" if arrange is Joint else "KL - I")


def test_gaussian_encoder_under_the_mixture():
    x, encoder = torch.randn(60, 6), torch.nn.Linear(6, 4)
    objective = ldm.Objective(normal_prior(2), ldm.guides.Gaussian(encoder, Mixture()))
    pyro.set_rng_seed(3)
    loss = objective(x)
    pyro.set_rng_seed(3)
    objective._pair = None
    q = objective.guide.conditional(x)
    z = q.base_dist.loc + q.base_dist.scale * torch.randn(60, 2)
    pairs = torch.stack(
        [dist.Normal(m, s).log_prob(z).sum(-1) for m, s in zip(q.base_dist.loc, q.base_dist.scale, strict=True)]
    )
    log_r = pairs.logsumexp(0) - torch.tensor(60.0).log()
    exact = (log_r - dist.Normal(0, 1).log_prob(z).sum(-1)).mean()
    torch.testing.assert_close(loss, exact)
    torch.testing.assert_close(grads(loss, encoder.parameters()), grads(exact, encoder.parameters()))


class TestEnumeration:
    def test_of_the_guide(self):
        logits = torch.randn(50, 3, requires_grad=True)
        p = torch.tensor([0.2, 0.3, 0.5])

        def prior(x):
            with pyro.plate("batch", len(x)):
                pyro.sample("k", dist.Categorical(p))

        def guide(x):
            with pyro.plate("batch", len(x)):
                site = ldm.Pushforward(dist.Categorical(logits=x), Mixture())
                pyro.sample("k", site, infer={"enumerate": "parallel"})

        objective = ldm.Objective(prior, guide, TraceEnum_ELBO(max_plate_nesting=1))
        r = logits.softmax(-1).mean(0)
        exact = (r * (r / p).log()).sum()
        torch.testing.assert_close(objective(logits), exact)
        torch.testing.assert_close(grads(objective(logits), [logits]), grads(exact, [logits]))
        assert objective.terms(logits).uniformity == pytest.approx(-(r * r.log()).sum().item())

    def test_of_two_categorical_views_under_their_exact_joint(self):
        logits, logits_prime = torch.randn(2, 50, 3).requires_grad_().unbind(0)
        transition = 0.9 * torch.eye(3) + 0.1 / 3

        def prior(x, x_prime):
            with pyro.plate("batch", len(x)):
                k = pyro.sample("k", dist.Categorical(torch.ones(3) / 3))
                pyro.sample("k_prime", dist.Categorical(transition[k]))

        def guide(x, x_prime):
            sites = {"k": dist.Categorical(logits=x), "k_prime": dist.Categorical(logits=x_prime)}
            with pyro.plate("batch", len(x)):
                ldm.sample_views(sites, Joint(Mixture()), infer={"enumerate": "parallel"})

        objective = ldm.Objective(prior, guide, TraceEnum_ELBO(max_plate_nesting=1))
        r = (logits.softmax(-1)[:, :, None] * logits_prime.softmax(-1)[:, None]).mean(0)
        exact = (r * (r / (transition / 3)).log()).sum()
        loss = objective(logits, logits_prime)
        torch.testing.assert_close(loss, exact)
        torch.testing.assert_close(grads(loss, [logits]), grads(exact, [logits]))
        terms = objective.terms(logits, logits_prime)
        assert terms.uniformity == pytest.approx(-(r * r.log()).sum().item())
        assert terms.kl == pytest.approx(exact.item())

    def test_of_the_prior(self):
        x, encoder = torch.randn(100, 6), torch.nn.Linear(6, 2)
        locs, weights = torch.tensor([[-2.0, 0.0], [2.0, 0.0]]), torch.tensor([0.3, 0.7])

        @config_enumerate
        def prior(x):
            with pyro.plate("batch", len(x)):
                component = pyro.sample("component", dist.Categorical(weights))
                pyro.sample("z", dist.Normal(locs[component], 1.0).to_event(1))

        objective = ldm.Objective(prior, ldm.guides.Deterministic(encoder, KNN()), TraceEnum_ELBO(max_plate_nesting=1))
        z = encoder(x)
        log_prior = (dist.Normal(locs, 1.0).log_prob(z.unsqueeze(-2)).sum(-1) + weights.log()).logsumexp(-1)
        torch.testing.assert_close(objective(x), (KNN()(z) - log_prior).mean())
        assert objective.terms(x).alignment == pytest.approx(log_prior.mean().item())

    def test_needs_the_elbo_that_does_it(self):
        def prior(x):
            with pyro.plate("batch", len(x)):
                pyro.sample("k", dist.Categorical(torch.ones(3) / 3))

        def guide(x):
            with pyro.plate("batch", len(x)):
                pyro.sample(
                    "k", ldm.Pushforward(dist.Categorical(logits=x), Mixture()), infer={"enumerate": "parallel"}
                )

        with pytest.raises(ValueError, match="TraceEnum_ELBO"):
            ldm.Objective(prior, guide)(torch.randn(50, 3))
        objective = ldm.Objective(prior, guide, TraceEnum_ELBO(max_plate_nesting=1))
        logits = torch.randn(50, 3, requires_grad=True)
        with torch.no_grad():  # as a validation loop calls it
            without = objective(logits)
        torch.testing.assert_close(without, objective(logits).detach())


class TestGlobalSites:
    """A hierarchical prior: z ~ N(0, scale^2) with scale ~ LogNormal, under a hand-composed AutoGuide."""

    def pair(self, scale):
        prior = ldm.priors.Gaussian(2, scale=scale)
        local = ldm.guides.Deterministic(torch.nn.Identity(), LogDet())
        return prior, ldm.guides.Compose(AutoNormal(poutine.block(prior, hide=["z"])), local)

    @pytest.mark.parametrize(
        "scale", [dist.LogNormal(0.0, 1.0), dist.LogNormal(torch.zeros(2), 1.0).to_event(1)], ids=["scalar", "vector"]
    )
    def test_terms_add_up_and_scale_with_the_size_of_the_data(self, elbo, scale):
        prior, guide = self.pair(scale)
        x = torch.randn(100, 2)
        objective = ldm.Objective(prior, guide, elbo, size=5000)
        terms = objective.terms(x)
        larger = ldm.Objective(prior, guide, elbo, size=50000)
        assert 0 < terms.global_kl < 0.01
        assert larger.terms(x).global_kl < 0.3 * terms.global_kl
        assert terms.kl == pytest.approx(-terms.alignment - terms.uniformity)

    def test_loss_is_that_of_the_full_elbo_per_datum(self):
        prior, guide = self.pair(dist.LogNormal(0.0, 1.0))
        x = torch.randn(100, 2)
        objective = ldm.Objective(prior, guide, size=5000)
        objective(x)  # the AutoGuide's parameters come with the first call
        pyro.set_rng_seed(1)
        loss = objective(x)
        pyro.set_rng_seed(1)
        loc, spread = guide.guides[0].locs.scale, guide.guides[0].scales.scale
        log_scale = loc + spread * torch.randn(())
        log_posterior = dist.LogNormal(loc, spread).log_prob(log_scale.exp())
        global_kl = log_posterior - dist.LogNormal(0.0, 1.0).log_prob(log_scale.exp())
        local = (LogDet()(x) - dist.Normal(0, log_scale.exp()).log_prob(x).sum(-1)).mean()
        torch.testing.assert_close(loss, local + global_kl / 5000)

    def test_posterior_converges_and_agrees_with_nuts(self):
        """1000 draws of N(0, 2^2 I_2): the scale's posterior is 2 +- 2 / sqrt(2 * 2000) = 2 +- 0.03."""
        x = 2.0 * torch.randn(1000, 2)
        prior, guide = self.pair(dist.LogNormal(0.0, 1.0))
        objective = ldm.Objective(
            prior, guide, Trace_ELBO(num_particles=8, vectorize_particles=True, max_plate_nesting=1)
        )
        objective(x)
        optimizer = torch.optim.Adam(objective.parameters(), lr=0.1)
        schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.993)
        for _ in range(700):
            optimizer.zero_grad()
            objective(x).backward()
            optimizer.step()
            schedule.step()
        posterior = dist.LogNormal(guide.guides[0].locs.scale.detach(), guide.guides[0].scales.scale.detach())
        assert float(posterior.mean) == pytest.approx(2.0, abs=0.1)
        assert float(posterior.stddev) == pytest.approx(0.032, abs=0.01)
        assert abs(objective.terms(x).kl) < 0.01

        mcmc = MCMC(NUTS(pyro.condition(prior, {"z": x})), num_samples=200, warmup_steps=100, disable_progbar=True)
        mcmc.run(range(1000))
        draws = mcmc.get_samples()["scale"]
        assert float(draws.mean()) == pytest.approx(float(posterior.mean), abs=0.03)
        assert float(draws.std()) == pytest.approx(0.032, abs=0.01)


def test_subsampling_plate_counts_the_whole_data():
    data = torch.randn(1000, 2)

    def prior(x):
        with pyro.plate("batch", 1000, subsample=x):
            pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

    def guide(x):
        with pyro.plate("batch", 1000, subsample=x):
            pyro.sample("z", ldm.Pushforward(x, LogDet()))

    x = data[:100]
    expected = (LogDet()(x) - dist.Normal(0, 1).log_prob(x).sum(-1)).mean()
    torch.testing.assert_close(ldm.Objective(prior, guide)(x), expected)


class TestParameterStore:
    def test_stays_empty_under_the_objective(self):
        prior = ldm.priors.Gaussian(2, scale=torch.nn.Parameter(torch.ones(2)))
        objective = ldm.Objective(prior, ldm.guides.Deterministic(torch.nn.Linear(6, 2), KNN()))
        objective(torch.randn(50, 6)).backward()
        assert len(pyro.get_param_store()) == 0
        assert all(p.grad is not None for p in objective.parameters()) and len(list(objective.parameters())) == 3

    def test_is_what_a_plain_svi_loop_learns_in(self):
        prior = ldm.priors.Gaussian(2, scale=torch.nn.Parameter(torch.full((2,), 3.0)))
        guide = ldm.guides.Deterministic(torch.nn.Linear(6, 2), LogDet())
        svi = SVI(prior, guide, pyro.optim.Adam({"lr": 0.03}), Trace_ELBO())
        x = torch.randn(200, 6)
        losses = [svi.step(x) / 200 for _ in range(300)]
        assert len(pyro.get_param_store()) == 3
        assert abs(losses[-1]) < 0.05 < losses[0]

    def test_handlers_do_not_hide_a_prior_s_parameters(self):
        prior = poutine.mask(ldm.priors.Gaussian(2, scale=torch.nn.Parameter(torch.ones(2))), mask=True)
        objective = ldm.Objective(prior, ldm.guides.Deterministic(torch.nn.Linear(6, 2), KNN()))
        assert len(list(objective.parameters())) == 3


def test_latents_collapse_without_entropy_and_do_not_with_it():
    x = torch.randn(400, 6)
    ranks = {}
    for name, entropy in {"none": Separate(Zero()), "log-det": Joint(LogDet())}.items():
        pyro.set_rng_seed(0)
        encoder = torch.nn.Linear(6, 2)
        objective = ldm.Objective(ldm.priors.GaussianViews(2, noise=0.3), ldm.guides.Views(encoder, entropy))
        optimizer = torch.optim.Adam(objective.parameters(), lr=0.05)
        for _ in range(200):
            optimizer.zero_grad()
            objective(x + 0.1 * torch.randn_like(x), x + 0.1 * torch.randn_like(x)).backward()
            optimizer.step()
        ranks[name] = float(encoder(x).detach().std(0).min())
    assert ranks["none"] < 0.05 and 0.5 < ranks["log-det"] < 1.5


def test_best_decoder_of_a_vae_reaches_minus_kl_minus_the_data_s_entropy():
    """x ~ N(0, S), q(z | x) = N(a'x, s^2): with the optimal decoder p(x | z) = R(x | z), ELBO = -KL(R || P) - H[x]."""
    covariance = torch.tensor([[2.0, 0.6], [0.6, 1.0]])
    a, s2 = torch.tensor([0.7, -0.4]), 0.3
    var_z = a @ covariance @ a + s2
    kl = 0.5 * (var_z - 1 - var_z.log())
    entropy_x = 0.5 * torch.logdet(2 * torch.pi * torch.e * covariance)
    # The optimal decoder is R(x | z), Gaussian: its expected log-likelihood is -H[x | z].
    conditional = covariance - torch.outer(covariance @ a, covariance @ a) / var_z
    reconstruction = -0.5 * torch.logdet(2 * torch.pi * torch.e * conditional)
    expected_kl_q = 0.5 * (var_z - 1 - torch.tensor(s2).log())  # E_x KL(q(z|x) || P): E[mu^2] + s^2 = var_z
    torch.testing.assert_close(reconstruction - expected_kl_q, -kl - entropy_x)

    x = torch.distributions.MultivariateNormal(torch.zeros(2), covariance).sample((200000,))
    q = dist.Normal((x @ a).unsqueeze(-1), s2**0.5).to_event(1)

    def guide(x):
        with pyro.plate("batch", len(x)):
            pyro.sample("z", ldm.Pushforward(q, LogDet()))

    assert float(ldm.Objective(normal_prior(1), guide)(x)) == pytest.approx(float(kl), abs=5e-3)


class TestDivergence:
    @pytest.mark.parametrize(
        ("prior", "guide", "expected"),
        [
            (lambda: ldm.priors.Laplace(3), lambda: ldm.guides.Invertible(torch.nn.Linear(3, 3)), "cross-entropy"),
            (lambda: ldm.priors.Laplace(3), lambda: ldm.guides.Deterministic(torch.nn.Linear(3, 3), KNN()), "KL"),
            (lambda: ldm.priors.Laplace(3), lambda: ldm.guides.Deterministic(torch.nn.Linear(3, 3), Zero()), "score"),
        ],
    )
    def test_is_named_for_what_it_is(self, prior, guide, expected):
        assert ldm.Objective(prior(), guide()).terms(torch.randn(20, 3)).divergence == expected

    def test_of_guides_without_a_pushforward(self):
        """Scored by their own densities: conditionals, as in a VAE; a Delta has none."""
        x, encoder = torch.randn(20, 3), torch.nn.Linear(3, 2)

        def guide_of(conditional):
            def guide(x):
                with pyro.plate("batch", len(x)):
                    pyro.sample("z", conditional(encoder(x)).to_event(1))

            return guide

        for conditional, expected in ((lambda z: dist.Normal(z, 0.5), "KL + I"), (dist.Delta, "score")):
            terms = ldm.Objective(normal_prior(2), guide_of(conditional)).terms(x)
            assert terms.divergence == terms.objective == expected and terms.reconstruction is None

    def test_is_a_score_under_a_flat_prior(self):
        objective = ldm.Objective(
            ldm.priors.GaussianViews(2, scale=None), ldm.guides.Views(torch.nn.Linear(3, 2), Joint(LogDet()))
        )
        assert objective.terms(torch.randn(20, 3), torch.randn(20, 3)).divergence == "score"

    def test_log_det_under_a_non_gaussian_prior_warns(self):
        objective = ldm.Objective(ldm.priors.Laplace(2), ldm.guides.Deterministic(torch.nn.Linear(3, 2), LogDet()))
        with pytest.warns(UserWarning, match="LogDet with a Laplace prior"):
            objective(torch.randn(20, 3))
        with warnings.catch_warnings():
            warnings.simplefilter("error")
            objective(torch.randn(20, 3))  # once is enough


def test_observed_data_are_the_reconstruction_and_factors_are_not():
    x, y = torch.randn(50, 3), torch.randn(50)

    def prior(x, y):
        pyro.sample("slope", dist.Normal(0.0, 1.0), obs=torch.tensor(2.0))  # outside the plate: no data
        with pyro.plate("batch", len(x)):
            z = pyro.sample("z", dist.Normal(torch.zeros(3), 1.0).to_event(1))
            pyro.factor("penalty", -z.abs().sum(-1))
            pyro.sample("y", dist.Normal(z[:, 0], 0.5), obs=y)

    guide = ldm.guides.Deterministic(torch.nn.Identity(), LogDet())
    terms = ldm.Objective(prior, guide).terms(x, y)
    log_y = dist.Normal(x[:, 0], 0.5).log_prob(y).mean()
    log_prior = dist.Normal(0, 1).log_prob(x).sum(-1).mean() - x.abs().sum(-1).mean()
    assert terms.reconstruction == pytest.approx(log_y.item())
    assert terms.alignment + terms.global_kl == pytest.approx(log_prior.item(), abs=0.1)
    assert terms.loss == pytest.approx(float(ldm.Objective(prior, guide)(x, y)))
    assert terms.objective == "-(ELBO + I)"


class TestReference:
    """What draws from the prior measure in place of the latents."""

    def test_is_the_estimator_on_the_prior_s_own_draws(self):
        x, dim, n = torch.randn(300, 5), 8, 300
        objective = ldm.Objective(normal_prior(dim), ldm.guides.Deterministic(torch.nn.Linear(5, dim), KDE()))
        measured = torch.tensor(objective.reference(x, draws=20))
        z = torch.randn(20, n, dim)
        # E[-log P] is D/2 log 2 pi e; KDE's bias on 300 such rows is about 0.9 nats.
        expected = (0.5 * z.square().sum(-1) + dim * torch.tensor(2 * torch.pi).log() / 2 + KDE()(z)).mean(-1)
        assert (measured.mean() - expected.mean()).abs() < 4 * (measured.var() / 20 + expected.var() / 20).sqrt()
        assert measured.mean().abs() > 0.5 and len(set(measured.tolist())) == 20

    @pytest.mark.parametrize(("arrange", "expected"), [(Joint, 0.0), (Separate, 3 * torch.tensor(0.2).log().item())])
    def test_of_views(self, arrange, expected):
        noise = (0.04 / 0.96) ** 0.5  # mutual information of the views: 1/2 log(1 + 1 / noise^2) = -log 0.2 a dim
        guide = ldm.guides.Views(torch.nn.Linear(5, 3), arrange(LogDet()))
        objective = ldm.Objective(ldm.priors.GaussianViews(3, noise=noise), guide)
        x = torch.randn(2, 4000, 5)
        assert objective.reference(*x) == pytest.approx([expected] * 5, abs=0.1)

    def test_with_global_sites(self):
        prior = ldm.priors.Gaussian(2, scale=dist.LogNormal(torch.zeros(2), 1.0).to_event(1))
        local = ldm.guides.Deterministic(torch.nn.Linear(5, 2), LogDet())
        guide = ldm.guides.Compose(AutoNormal(poutine.block(prior, hide=["z"])), local)
        objective = ldm.Objective(prior, guide, size=10_000)
        assert objective.reference(torch.randn(2000, 5)) == pytest.approx([0.0] * 5, abs=0.05)

    @pytest.mark.parametrize(
        ("prior", "guide"),
        [
            (ldm.priors.GaussianViews(2, scale=None), ldm.guides.Views(torch.nn.Linear(2, 2), Joint(LogDet()))),
            (ldm.priors.Gaussian(2), ldm.guides.Invertible(torch.nn.Linear(2, 2))),
            (ldm.priors.Gaussian(2), ldm.guides.Gaussian(torch.nn.Linear(2, 4), Mixture())),
            (ldm.priors.Gaussian(2), ldm.guides.Deterministic(torch.nn.Linear(2, 2), Zero())),
        ],
        ids=["flat prior", "Jacobian", "Mixture", "Zero"],
    )
    def test_there_is_none(self, prior, guide):
        x = torch.randn(50, 2)
        batch = (x, x) if isinstance(prior, ldm.priors.GaussianViews) else (x,)
        assert ldm.Objective(prior.double(), guide.double()).reference(*batch) == ()


class TestMisfits:
    def objective(self, prior, guide):
        return ldm.Objective(prior, guide)(torch.randn(20, 3))

    def guide(self, dim=2, site="z"):
        return ldm.guides.Deterministic(torch.nn.Linear(3, dim), KNN(), site=site)

    def test_sites_that_do_not_match(self):
        with pytest.raises(ValueError, match=r"the guide lacks \['z'\].*the prior lacks \['latent'\]"):
            self.objective(normal_prior(2), self.guide(site="latent"))

    def test_a_global_site_without_a_guide(self):
        with pytest.raises(ValueError, match=r"the guide lacks \['scale'\] \(add an AutoGuide"):
            self.objective(ldm.priors.Laplace(2, scale=dist.LogNormal(0.0, 1.0)), self.guide())

    def test_latent_dims_that_differ(self):
        with pytest.raises(ValueError, match=r"event shape \(5,\) in the prior and \(2,\) in the guide"):
            self.objective(normal_prior(5), self.guide())

    def test_a_guide_s_site_outside_the_plate(self):
        def guide(x):
            pyro.sample("z", ldm.Pushforward(x[:, :2], KNN()).to_event(1))

        def bare(x):
            pyro.sample("z", ldm.Pushforward(x[:, :2], KNN()))

        with pytest.raises(
            ValueError, match=r"site 'z' of the guide is outside the plate.*pyro.plate\(\"batch\", len\(x\)\)"
        ):
            self.objective(normal_prior(2), bare)

    def test_a_prior_s_site_outside_the_plate(self):
        def prior(x):
            pyro.sample("z", dist.Normal(torch.zeros(len(x), 2), 1.0).to_event(1))

        with pytest.raises(ValueError, match="site 'z' of the prior is outside the plate"):
            self.objective(prior, self.guide())

    def test_a_batch_that_is_not_the_rightmost_plate(self):
        def guide(x):
            with pyro.plate("batch", len(x), dim=-2), pyro.plate("copies", 1):
                pyro.sample("z", ldm.Pushforward(x[:, None, :2], KNN()))

        with pytest.raises(ValueError, match="the rightmost plate"):
            self.objective(normal_prior(2), guide)

    def test_a_flat_site_that_no_guide_samples(self):
        def prior(x):
            pyro.sample("shift", dist.ImproperUniform(dist.constraints.real, (), ()))
            normal_prior(2)(x)

        with pytest.raises(ValueError, match="flat site that the guide does not sample"):
            self.objective(prior, self.guide())

    def test_nan_in_the_batch(self):
        with pytest.raises(ValueError, match="NaN or Inf in 1 of 20 rows"):
            x = torch.randn(20, 3)
            x[3, 1] = torch.nan
            ldm.Objective(normal_prior(2), self.guide())(x)


def test_what_a_prior_makes_is_made_where_the_batch_is():
    def program(x):
        return torch.zeros(len(x))

    elsewhere = torch.empty(5, device="meta")
    assert on_device_of(program, (elsewhere,))(elsewhere).device.type == "meta"
    for batch in (torch.empty(5), range(5)):
        assert on_device_of(program, (batch,)) is program


def test_the_check_leaves_random_state_and_batch_statistics_alone():
    encoder = torch.nn.Sequential(torch.nn.Linear(3, 4), torch.nn.BatchNorm1d(4))
    objective = ldm.Objective(normal_prior(2), ldm.guides.Gaussian(encoder, Mixture()))
    x = torch.randn(20, 3)
    pyro.set_rng_seed(0)
    first = objective(x)
    pyro.set_rng_seed(0)
    assert torch.equal(first, objective(x))
    assert int(encoder[1].num_batches_tracked) == 2


def test_a_pyro_module_reached_through_a_closure_works():
    class Scaled(PyroModule):
        def __init__(self):
            super().__init__()
            self.scale = torch.nn.Parameter(torch.ones(2))

        def forward(self, x):
            with pyro.plate("batch", len(x)):
                pyro.sample("z", dist.Normal(torch.zeros(2), self.scale).to_event(1))

    objective = ldm.Objective(Scaled(), ldm.guides.Deterministic(torch.nn.Linear(3, 2), KNN()))
    objective(torch.randn(20, 3)).backward()
    assert objective.prior.scale.grad is not None
