import math

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer import TraceEnum_ELBO
from pyro.infer.reparam import LocScaleReparam
from pyro.nn import PyroModule

import pyro_ldm as ldm
from pyro_ldm.posterior import program
from pyro_ldm.posterior.program import global_sites, log_likelihood, sample_globals, simulate
from pyro_ldm.posterior.sites import as_sites

Z = torch.randn(7, 2, generator=torch.Generator().manual_seed(1), dtype=torch.float64)
LOG_NORMAL = dist.LogNormal(torch.zeros(2, dtype=torch.float64), 0.5).to_event(1)


def hierarchical(x):
    loc = pyro.sample("loc", dist.Normal(0.0, 1.0))
    with pyro.plate("dims", 2):
        scale = pyro.sample("scale", dist.LogNormal(loc, 0.5))
    with pyro.plate("batch", len(x)):
        pyro.sample("z", dist.Laplace(torch.zeros(2), scale).to_event(1))


def independent_draws(prior, batch, num, seed=0):
    return sample_globals(prior, num, batch=batch, seed=seed)


class TestSites:
    def test_a_tensor_is_site_z(self):
        assert torch.equal(as_sites(Z)["z"], Z) and list(as_sites({"z": Z, "z_prime": Z})) == ["z", "z_prime"]

    @pytest.mark.parametrize(
        ("z", "message"),
        [
            (Z[:1], "at least two latents"),
            (torch.where(Z == Z[3, 1], torch.nan, Z), "NaN or Inf in 1 of 7 rows"),
            (torch.cat([Z, torch.ones(7, 1)], -1), r"constant in dims \[2\]"),
            ({"z": Z, "z_prime": Z[:5]}, "equally many rows"),
        ],
    )
    def test_bad_latents_are_refused(self, z, message):
        with pytest.raises(ValueError, match=message):
            as_sites(z)

    def test_no_tensor_is_refused(self):
        for z in (Z.numpy(), {}, torch.tensor(1.0)):
            with pytest.raises(TypeError, match="z is a tensor of latents"):
                as_sites(z)

    def test_an_unused_category_and_a_masked_step_are_no_constant_dims(self):
        as_sites(torch.eye(3)[torch.tensor([0, 1, 0, 1])])
        as_sites(torch.cat([torch.randn(5, 3, 2), torch.zeros(5, 1, 2)], 1))
        as_sites(torch.tensor([1, 1, 1]))

    def test_parameters_are_what_is_sampled_outside_the_plate(self):
        assert set(global_sites(hierarchical, Z)) == {"loc", "scale"}
        assert global_sites(ldm.priors.Laplace(2), Z) == {}

    @pytest.mark.parametrize(
        ("z", "message"),
        [
            ({"w": Z}, r"no site \['w'\]: its latent sites, in plate 'batch', are \['z'\]"),
            (torch.randn(7, 3), r"shape \(7, 2\) in the prior, and its latents \(7, 3\)"),
        ],
    )
    def test_latents_that_do_not_fit_are_refused(self, z, message):
        with pytest.raises(ValueError, match=message):
            global_sites(ldm.priors.Laplace(2), z)

    def test_a_batch_of_another_length_is_refused(self):
        with pytest.raises(ValueError, match="the batch has 5 rows and the latents 7"):
            global_sites(hierarchical, Z, (range(5),))

    def test_programs_that_do_not_fit_are_refused(self):
        def elsewhere(x):
            with pyro.plate("data", len(x)):
                pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

        def another(x):
            with pyro.plate("batch", len(x)):
                loc = pyro.sample("h", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("z", dist.Normal(loc, 1.0).to_event(1))

        def discrete(x):
            sign = pyro.sample("sign", dist.Bernoulli(0.5))
            with pyro.plate("batch", len(x)):
                pyro.sample("z", dist.Normal(sign * torch.ones(2), 1.0).to_event(1))

        for prior, message in (
            (elsewhere, "site 'z' of the prior is in plates"),
            (another, "samples 'h' for each datum"),
            (discrete, "'sign' of the prior is discrete"),
        ):
            with pytest.raises(ValueError, match=message):
                global_sites(prior, Z)


class TestLogLikelihood:
    def test_is_the_density_of_each_datum(self):
        scale = torch.tensor([[0.5, 1.0], [2.0, 3.0], [1.0, 0.1]])
        value = log_likelihood(ldm.priors.Laplace(2, scale=LOG_NORMAL), Z, {"scale": scale})
        expected = -(2 * scale[:, None]).log() - Z.abs() / scale[:, None]
        torch.testing.assert_close(value, expected.sum(-1))

    @pytest.mark.parametrize("num", [1, 2, 5])
    def test_a_hierarchy_too_one_by_one_or_together(self, num):
        draws = sample_globals(hierarchical, num, batch=(Z,))
        value = log_likelihood(hierarchical, Z, draws)
        scale = draws["scale"][:, None]
        torch.testing.assert_close(value, (-(2 * scale).log() - Z.abs() / scale).sum(-1))

    def test_views_are_scored_together(self):
        prior = ldm.priors.GaussianViews(2, noise=LOG_NORMAL, scale=dist.LogNormal(0.0, 1.0))
        draws = {"noise": torch.rand(4, 2) + 0.5, "scale": torch.rand(4) + 0.5}
        other = Z.flip(0)
        value = log_likelihood(prior, {"z": Z, "z_prime": other}, draws)
        first = torch.distributions.Normal(0.0, draws["scale"][:, None, None]).log_prob(Z)
        second = torch.distributions.Normal(Z, draws["noise"][:, None]).log_prob(other)
        torch.testing.assert_close(value, (first + second).sum(-1))

    def test_a_mixtures_component_is_summed_out(self):
        loc, weights = torch.tensor([[-1.0, 0.0], [2.0, 1.0], [0.0, 3.0]]), torch.tensor([0.2, 0.5, 0.3])
        prior = {
            enumerate: ldm.priors.GaussianMixture(2, 3, loc=loc, weights=weights, scale=LOG_NORMAL, enumerate=enumerate)
            for enumerate in (True, False)
        }
        draws = {"scale": torch.rand(6, 2) + 0.5}
        value = log_likelihood(prior[True], Z, draws)
        torch.testing.assert_close(value, log_likelihood(prior[False], Z, draws))
        by_hand = torch.distributions.Normal(loc, draws["scale"][0]).log_prob(Z[:, None]).sum(-1)
        torch.testing.assert_close(value[0], (by_hand + weights.log()).logsumexp(-1))

    def test_series_with_a_mask(self):
        prior = ldm.priors.Kalman(
            2,
            transition_matrix=torch.eye(2) * 0.9,
            observation_noise=LOG_NORMAL,
            transition_noise=0.3,
            initial_scale=1.0,
        )
        z, mask = torch.randn(5, 4, 2), torch.tensor([[True, False, True, True]]).expand(5, 4)
        draws = {"observation_noise": torch.rand(4, 2) + 0.5}
        value = log_likelihood(prior, z, draws, batch=(z, mask))
        for draw in range(4):
            noise = draws["observation_noise"][draw]
            states = torch.zeros(4, 4)  # covariance of the state over steps, the same for both dims
            for s in range(4):
                for t in range(4):
                    states[s, t] = 0.9 ** (s + t + 2) + sum(0.9 ** (s + t - 2 * r) * 0.09 for r in range(min(s, t) + 1))
            keep = torch.tensor([0, 2, 3])
            expected = sum(
                torch.distributions.MultivariateNormal(
                    torch.zeros(3), (states + noise[d] ** 2 * torch.eye(4))[keep][:, keep]
                ).log_prob(z[:, keep, d])
                for d in range(2)
            )
            torch.testing.assert_close(value[draw], expected)

    def test_masks_and_scales_of_a_program_count(self):
        draws = {"scale": torch.rand(4, 2) + 0.5}
        prior = ldm.priors.Laplace(2, scale=LOG_NORMAL)
        plain = log_likelihood(prior, Z, draws)
        torch.testing.assert_close(log_likelihood(poutine.scale(prior, 0.5), Z, draws), plain / 2)
        mask = torch.arange(7) < 4
        torch.testing.assert_close(log_likelihood(poutine.mask(prior, mask), Z, draws), plain * mask)

    @pytest.mark.parametrize(
        "prior",
        [
            lambda: hierarchical,
            lambda: ldm.priors.StudentT(2, df=dist.Gamma(2.0, 0.1), scale=LOG_NORMAL),
            lambda: ldm.priors.GaussianMixture(2, 3, scale=LOG_NORMAL, enumerate=True),
        ],
    )
    def test_adds_up_to_the_joint_density(self, prior):
        prior = prior()
        draws = sample_globals(prior, 3, batch=(Z,))
        value = log_likelihood(prior, Z, draws).sum(-1)
        for draw in range(3):
            theta = {name: each[draw] for name, each in draws.items()}
            program = poutine.condition(prior, data={"z": Z, **theta})
            elbo = TraceEnum_ELBO(max_plate_nesting=1)
            if "component" in poutine.trace(program).get_trace(Z).nodes:
                joint = -elbo.loss(pyro.infer.config_enumerate(program), lambda x: None, Z)
            else:
                joint = float(poutine.trace(program).get_trace(Z).log_prob_sum())
            globals_ = poutine.block(poutine.condition(prior, data=theta), hide=["z", "component"])
            assert math.isclose(
                float(value[draw]), joint - float(poutine.trace(globals_).get_trace(Z).log_prob_sum()), rel_tol=1e-9
            )

    def test_chunks_make_no_difference(self):
        draws = sample_globals(hierarchical, 11, batch=(Z,))
        torch.testing.assert_close(
            log_likelihood(hierarchical, Z, draws, chunk=4), log_likelihood(hierarchical, Z, draws)
        )

    def test_a_program_that_does_not_broadcast_is_run_draw_by_draw(self):
        def prior(x):
            scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
            if float(scale) > 1:
                scale = scale * 2
            with pyro.plate("batch", len(x)):
                pyro.sample("z", dist.Laplace(torch.zeros(2), scale).to_event(1))

        scale = torch.tensor([0.5, 2.0, 3.0])
        value = log_likelihood(prior, Z, {"scale": scale})
        used = torch.tensor([0.5, 4.0, 6.0])[:, None, None]
        torch.testing.assert_close(value, (-(2 * used).log() - Z.abs() / used).sum(-1))

    def test_a_program_that_broadcasts_wrongly_is_run_draw_by_draw(self):
        def prior(x):
            scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
            with pyro.plate("batch", len(x)):
                pyro.sample("z", dist.Laplace(torch.zeros(2), scale.mean()).to_event(1))

        scale = torch.tensor([0.5, 4.0, 6.0])
        expected = (-(2 * scale).log()[:, None, None] - Z.abs() / scale[:, None, None]).sum(-1)
        torch.testing.assert_close(log_likelihood(prior, Z, {"scale": scale}), expected)

    def test_runs_all_draws_at_once(self, monkeypatch):
        runs = []
        original = program.Given.trace
        monkeypatch.setattr(program.Given, "trace", lambda *args, **kw: runs.append(1) or original(*args, **kw))
        prior = ldm.priors.StudentT(2, df=dist.Gamma(2.0, 0.1), scale=LOG_NORMAL)
        log_likelihood(prior, Z, {"df": torch.rand(100) + 1, "scale": torch.rand(100, 2)})
        assert len(runs) == 3  # all, and the first and the last beside it

    def test_single_precision_in_double_out(self):
        prior = ldm.priors.Kalman(2, observation_noise=LOG_NORMAL).float()
        draws = {"observation_noise": torch.rand(3, 2) + 0.5}
        value = log_likelihood(prior, torch.randn(5, 4, 2).float(), draws)
        assert value.dtype == torch.float64
        assert prior.transition_noise.dtype == torch.float32 and prior.transition_noise.requires_grad
        assert torch.get_default_dtype() == torch.float64

    def test_a_function_around_a_single_precision_network_stays_in_it(self):
        torch.set_default_dtype(torch.float32)
        net = torch.nn.Linear(2, 2)

        def prior(x):
            noise = pyro.sample("noise", dist.LogNormal(0.0, 1.0))
            with pyro.plate("batch", len(x)):
                z = pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))
                pyro.sample("z_prime", dist.Normal(net(z), noise.unsqueeze(-1)).to_event(1))

        z = Z.float()
        value = log_likelihood(prior, {"z": z, "z_prime": z}, {"noise": torch.ones(3, dtype=torch.float64)})
        expected = torch.distributions.Normal(0.0, 1.0).log_prob(z) + torch.distributions.Normal(net(z), 1.0).log_prob(
            z
        )
        torch.testing.assert_close(value, expected.sum(-1).detach().expand(3, 7))

    @pytest.mark.parametrize(
        ("draws", "message"),
        [
            ({}, r"draws are of \[\], and the prior's parameters are \['scale'\]"),
            ({"scale": torch.ones(3, 2), "other": torch.ones(3)}, r"draws are of \['other', 'scale'\]"),
            ({"scale": torch.ones(4, 3, 2)}, r"shape \(4, 3, 2\), where \('S', 2\) is wanted"),
        ],
    )
    def test_draws_that_do_not_fit_are_refused(self, draws, message):
        with pytest.raises(ValueError, match=message):
            log_likelihood(ldm.priors.Laplace(2, scale=LOG_NORMAL), Z, draws)

    def test_of_a_prior_without_parameters_is_one_draw(self):
        value = log_likelihood(ldm.priors.Laplace(2), Z, {})
        torch.testing.assert_close(value, (-math.log(2) - Z.abs()).sum(-1)[None])

    def test_leaves_the_parameter_store_empty(self):
        class Learned(PyroModule):
            def forward(self, x):
                scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
                with pyro.plate("batch", len(x)):
                    pyro.sample("z", dist.Normal(self.loc, scale.unsqueeze(-1)).to_event(1))

        prior = Learned()
        with pyro.settings.context(module_local_params=True):
            prior.loc = pyro.nn.PyroParam(torch.ones(2), constraint=dist.constraints.positive)
        log_likelihood(prior, Z, {"scale": torch.ones(3)})
        assert not list(pyro.get_param_store().keys())


class TestDraws:
    def test_parameters_are_drawn_from_their_prior(self):
        draws = sample_globals(hierarchical, 4000, batch=(range(7),))
        assert draws["loc"].shape == (4000,) and draws["scale"].shape == (4000, 2)
        assert abs(draws["loc"].mean()) < 0.08 and abs(draws["loc"].std() - 1) < 0.06
        # log scale = loc + N(0, 1/4): variance 5/4, and covariance 1 between dims
        assert torch.allclose(draws["scale"].log().T.cov(), torch.tensor([[1.25, 1.0], [1.0, 1.25]]), atol=0.15)

    def test_what_is_left_out_of_the_batch_stays_so(self):
        assert sample_globals(lambda x, mask: hierarchical(x), 3, batch=(Z, None))["loc"].shape[0] == 3

    def test_replicates_have_the_scale_of_their_draw(self):
        prior = ldm.priors.Laplace(2, scale=LOG_NORMAL)
        scale = torch.tensor([[0.1, 1.0], [10.0, 5.0], [1.0, 1.0], [2.0, 0.5]])
        z = simulate(prior, {"scale": scale}, batch=(range(5000),))["z"]
        assert z.shape == (4, 5000, 2)
        torch.testing.assert_close(z.abs().mean(1) / scale, torch.ones(4, 2), atol=0.06, rtol=0)

    def test_replicates_of_a_program_that_does_not_broadcast(self):
        def prior(x):
            scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
            with pyro.plate("batch", len(x)):
                pyro.sample("z", dist.Laplace(torch.zeros(2), scale.mean()).to_event(1))

        z = simulate(prior, {"scale": torch.tensor([0.1, 1.0, 10.0])}, batch=(range(5000),))["z"]
        ratio = z.abs().mean((1, 2)) / torch.tensor([0.1, 1.0, 10.0])
        torch.testing.assert_close(ratio, torch.ones(3), atol=0.06, rtol=0)

    def test_views_and_components_are_drawn_too(self):
        views = ldm.priors.GaussianViews(2, noise=LOG_NORMAL)
        drawn = simulate(views, {"noise": torch.tensor([[0.1, 0.1]] * 4)}, batch=(range(500),))
        assert 0.05 < (drawn["z"] - drawn["z_prime"]).std() < 0.15
        mixture = ldm.priors.GaussianMixture(2, 3, scale=LOG_NORMAL, enumerate=True)
        drawn = simulate(mixture, {"scale": torch.full((4, 2), 0.01)}, batch=(range(50),))
        torch.testing.assert_close(drawn["z"], mixture.loc[drawn["component"]], atol=0.06, rtol=0)

    def test_series_are_drawn(self):
        prior = ldm.priors.Kalman(2, observation_noise=LOG_NORMAL)
        x = torch.empty(6, 9, 3)
        assert simulate(prior, {"observation_noise": torch.ones(4, 2)}, batch=(x,))["z"].shape == (4, 6, 9, 2)

    def test_a_flat_view_is_refused_unless_it_is_given(self):
        prior = ldm.priors.GaussianViews(2, scale=None, noise=dist.LogNormal(0.0, 1.0))
        with pytest.raises(ValueError, match=r"flat over \['z'\]"):
            simulate(prior, {"noise": torch.ones(3)}, batch=(Z,))
        drawn = simulate(poutine.condition(prior, {"z": Z}), {"noise": torch.full((3,), 1e-3)}, batch=(Z,))
        torch.testing.assert_close(drawn["z_prime"], Z.expand(3, 7, 2), atol=0.01, rtol=0)
        assert sample_globals(prior, 3, batch=(Z,))["noise"].shape == (3,)

    def test_a_flat_parameter_cannot_be_drawn(self):
        def prior(x):
            loc = pyro.sample("loc", dist.ImproperUniform(dist.constraints.real, (), ()))
            with pyro.plate("batch", len(x)):
                pyro.sample("z", dist.Normal(loc * torch.ones(2), 1.0).to_event(1))

        with pytest.raises(ValueError, match=r"prior of \['loc'\] is flat"):
            sample_globals(prior, 3, batch=(Z,))

    def test_a_prior_without_parameters_is_replicated_as_often_as_one_says(self):
        z = simulate(ldm.priors.Laplace(2), {}, batch=(range(7),), num=5)["z"]
        assert z.shape == (5, 7, 2) and (z[0] != z[1]).all()
        assert simulate(ldm.priors.Laplace(2), {}, batch=(range(7),))["z"].shape == (1, 7, 2)

    def test_a_seed_gives_the_same_and_leaves_the_random_state(self):
        before = torch.random.get_rng_state()
        draws = [sample_globals(hierarchical, 3, batch=(Z,), seed=seed) for seed in (0, 0, 1)]
        z = [simulate(hierarchical, draws[0], batch=(Z,), seed=seed)["z"] for seed in (0, 0, 1)]
        log_likelihood(hierarchical, Z, draws[0])
        assert torch.equal(torch.random.get_rng_state(), before)
        for first, same, other in (z, [draw["loc"] for draw in draws]):
            assert torch.equal(first, same) and not torch.equal(first, other)

    def test_what_a_reparameterised_program_computes_is_no_parameter(self):
        def prior(x):
            log_scale = pyro.sample("log_scale", dist.Normal(torch.zeros(2), 0.5).to_event(1))
            with pyro.plate("batch", len(x)):
                pyro.sample("z", dist.Laplace(torch.zeros(2), log_scale.exp()).to_event(1))

        moved = poutine.reparam(prior, config={"log_scale": LocScaleReparam(0.0)})
        assert set(global_sites(moved, Z)) == {"log_scale_decentered"}
        standard = torch.randn(3, 2)
        draws = {"log_scale": 0.5 * standard, "log_scale_decentered": standard}
        expected = log_likelihood(prior, Z, {"log_scale": 0.5 * standard})
        torch.testing.assert_close(log_likelihood(moved, Z, draws), expected)


class TestWhatDoesNotFit:
    def test_no_program(self):
        with pytest.raises(TypeError, match="a function of the batch or a module, got NoneType"):
            global_sites(None, Z)

    def test_names_that_sites_and_plates_share(self):
        def prior(x):
            with pyro.plate("scale", 2):
                scale = pyro.sample("scale", dist.LogNormal(0.0, 1.0))
            with pyro.plate("batch", len(x)):
                pyro.sample("z", dist.Normal(torch.zeros(2), scale).to_event(1))

        with pytest.raises(ValueError, match="'scale' in the prior: sites and plates share their names"):
            global_sites(prior, Z)

    def test_event_dims_that_were_not_declared(self):
        def prior(x):
            with pyro.plate("batch", len(x)):
                pyro.sample("z", dist.Normal(torch.zeros(2), 1.0))

        with pytest.raises(ValueError, match=r"declare those of a datum by .to_event\(1\)"):
            global_sites(prior, Z)

    def test_a_plate_of_some_of_the_data(self):
        def prior(x):
            with pyro.plate("batch", len(x), subsample_size=2):
                pyro.sample("z", dist.Normal(torch.zeros(2), 1.0).to_event(1))

        with pytest.raises(ValueError, match="a plate of all data has no subsample_size"):
            global_sites(prior, Z)

    def test_integers_where_latents_are_continuous(self):
        with pytest.raises(ValueError, match=r"'z' is continuous, and its latents are torch.int64: pass z.float\(\)"):
            global_sites(ldm.priors.Laplace(2), torch.ones(10, 2, dtype=torch.long))

    def test_arrays(self):
        with pytest.raises(TypeError, match=r"torch\.as_tensor"):
            as_sites(Z.numpy())
