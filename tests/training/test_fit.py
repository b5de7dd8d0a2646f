"""fit: it learns, in place, on any kind of data, and a fit that was killed goes on to the same result."""

import pyro
import pyro.distributions as dist
import pytest
import torch
from pyro import poutine
from pyro.infer.autoguide import AutoNormal
from torch.utils.data import DataLoader, TensorDataset

import pyro_ldm as ldm
from pyro_ldm.entropy import KNN, Joint, LogDet


def pair(dim=2, *, inputs=6):
    return ldm.priors.Gaussian(dim), ldm.guides.Deterministic(torch.nn.Linear(inputs, dim), LogDet())


def fit(*arguments, **settings):
    return ldm.fit(*arguments, **{"progress": False, "lr": 0.03, "batch_size": 100, "epochs": 5, **settings})


def test_learns_in_place_and_leaves_the_store_empty():
    prior, guide = pair()
    x = torch.randn(1000, 6)
    before = guide.encoder.weight.clone()
    result = fit(prior, guide, x, epochs=15)
    assert not torch.equal(before, guide.encoder.weight)
    assert abs(result.terms.kl) < 0.1 < result.history[0]["loss"]
    assert result.objective.guide is guide and not guide.training
    assert len(pyro.get_param_store()) == 0
    assert [row["epoch"] for row in result.history] == list(range(1, 16))


@pytest.mark.parametrize("kind", ["tensor", "tuple", "data", "loader", "tuples"])
def test_takes_data_of_any_kind(kind):
    x = torch.randn(200, 6)
    data = {
        "tensor": x,
        "tuple": (x,),
        "data": ldm.datasets.Data(x.float()),
        "loader": DataLoader(TensorDataset(x), batch_size=50),
        "tuples": DataLoader(x, batch_size=50),
    }[kind]
    prior, guide = pair()
    assert len(fit(prior, guide.float() if kind == "data" else guide, data, epochs=1).history) == 1


def test_views_validation_clipping_and_an_optimizer_of_one_s_own():
    prior = ldm.priors.GaussianViews(2, noise=0.3)
    guide = ldm.guides.Views(torch.nn.Linear(6, 2), Joint(LogDet()))
    views = ldm.encoders.TwoViews(ldm.encoders.Noise(std=0.1))
    x = torch.randn(300, 6)
    result = fit(
        prior,
        guide,
        x[:200],
        views=views,
        validation=x[200:],
        gradient_clip=0.5,
        optimizer=lambda parameters: torch.optim.SGD(parameters, lr=0.1),
    )
    assert {"validation_loss", "alignment", "uniformity", "kl", "global_kl", "loss", "epoch"} == set(result.history[-1])
    assert result.history[-1]["validation_loss"] < result.history[0]["validation_loss"]


def test_early_stopping():
    prior, guide = pair()
    stuck = fit(prior, guide, torch.randn(200, 6), epochs=50, lr=0.0, patience=2)
    assert len(stuck.history) < 50


def test_multi_start_goes_on_from_the_lowest_loss():
    """A start at a collapsed encoder is left behind for a random one."""
    prior, guide = pair()
    torch.nn.init.constant_(guide.encoder.weight, 1e-4)
    x = torch.randn(400, 6)
    alone = fit(*pair_like(guide), x, epochs=2, lr=1e-4)
    result = fit(prior, guide, x, epochs=2, lr=1e-4, starts=3, start_epochs=1)
    assert len(result.starts) == 3 and min(result.starts[1:]) < result.starts[0]
    assert result.terms.kl < min(alone.terms.kl, min(result.starts) + 0.1)


def pair_like(guide):
    prior, other = pair()
    other.load_state_dict(guide.state_dict())
    return prior, other


def test_global_sites_get_their_posterior():
    prior = ldm.priors.Gaussian(2, scale=dist.LogNormal(0.0, 1.0))
    local = ldm.guides.Deterministic(torch.nn.Linear(6, 2), LogDet())
    guide = ldm.guides.Compose(AutoNormal(poutine.block(prior, hide=["z"])), local)
    result = fit(prior, guide, torch.randn(500, 6), epochs=3, starts=2)
    assert any("locs" in name for name, _ in guide.named_parameters())
    assert result.terms.global_kl > 0


@pytest.mark.parametrize("starts", [1, 2])
def test_a_fit_that_stopped_goes_on_to_the_same_result(tmp_path, starts):
    def run(epochs, checkpoint):
        torch.manual_seed(0)
        encoder = torch.nn.Sequential(
            torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Dropout(0.1), torch.nn.Linear(8, 2)
        )
        guide = ldm.guides.Views(encoder, Joint(KNN()))
        views = ldm.encoders.TwoViews(ldm.encoders.Noise(std=0.1))
        settings = {"epochs": epochs, "checkpoint": checkpoint, "starts": starts, "accelerator": "cpu"}
        return fit(ldm.priors.GaussianViews(2), guide, x, views=views, **settings)

    x = torch.randn(230, 6)
    whole = run(4, tmp_path / "whole.ckpt")
    run(2, tmp_path / "part.ckpt")
    torch.rand(17)  # whatever else happened meanwhile
    resumed = run(4, tmp_path / "part.ckpt")
    assert resumed.history == whole.history and resumed.terms == whole.terms
    for name, value in whole.objective.state_dict().items():
        assert torch.equal(value, resumed.objective.state_dict()[name]), name


def test_a_shuffling_loader_of_one_s_own_is_resumed_too(tmp_path):
    def run(epochs, checkpoint):
        torch.manual_seed(0)
        loader = DataLoader(TensorDataset(x), batch_size=50, shuffle=True)
        return fit(*pair(), loader, epochs=epochs, checkpoint=checkpoint)

    x = torch.randn(230, 6)
    whole = run(4, tmp_path / "whole.ckpt")
    run(2, tmp_path / "part.ckpt")
    torch.rand(17)
    resumed = run(4, tmp_path / "part.ckpt")
    assert resumed.history == whole.history and resumed.terms == whole.terms
    assert len({row["loss"] for row in whole.history}) == 4


def test_starts_are_remembered(tmp_path):
    x = torch.randn(200, 6)
    first, again = (fit(*pair(), x, epochs=1, starts=2, checkpoint=tmp_path / "it.ckpt") for _ in range(2))
    assert len(first.starts) == 2 and first.starts == again.starts


def test_order_of_an_epoch_needs_no_history():
    from pyro_ldm.training.loader import Shuffle

    sampler, other = Shuffle(10, 4, seed=3), Shuffle(10, 4, seed=3)
    list(sampler)
    for each in (sampler, other):
        each.set_epoch(5)
    assert all(torch.equal(a, b) for a, b in zip(sampler, other, strict=True))
    assert [len(batch) for batch in sampler] == [4, 4]  # the short batch is left out


class TestBadInput:
    def test_nan(self):
        x = torch.randn(200, 6)
        x[7] = torch.nan
        with pytest.raises(ValueError, match="NaN or Inf in 1 of 200 rows"):
            fit(*pair(), x)

    def test_one_sample(self):
        with pytest.raises(ValueError, match="at least two rows"):
            fit(*pair(), torch.randn(1, 6))

    def test_unequal_lengths(self):
        with pytest.raises(ValueError, match="equally many rows"):
            fit(*pair(), (torch.randn(10, 6), torch.randn(9, 6)))

    def test_no_data(self):
        with pytest.raises(TypeError, match="got str"):
            fit(*pair(), "digits")

    def test_divergence(self):
        with pytest.raises(ValueError, match="learning rate"):
            fit(*pair(), torch.randn(200, 6), optimizer=lambda p: torch.optim.SGD(p, lr=1e200))

    def test_batch_smaller_than_the_latent_space(self):
        with pytest.raises(ValueError, match=r"N >= D \+ 1"):
            fit(*pair(4), torch.randn(200, 6), batch_size=4)

    @pytest.mark.parametrize("validate", [True, False])
    def test_a_parameter_that_would_not_be_trained(self, validate):
        def prior(x):
            scale = pyro.param("scale", torch.ones(2))
            with pyro.plate("batch", len(x)):
                pyro.sample("z", dist.Normal(torch.zeros(2), scale).to_event(1))

        pyro.param("scale", torch.ones(2))  # left over from an SVI loop, say
        with (
            pyro.validation_enabled(validate),
            pytest.raises(ValueError, match=r"make the prior or guide a PyroModule"),
        ):
            fit(prior, pair()[1], torch.randn(200, 6))

    @pytest.mark.parametrize("settings", [{"seed": -1}, {"seed": 2**32}, {"gradient_clip": -1.0}, {"patience": -1}])
    def test_settings(self, settings):
        with pytest.raises(ValueError, match=next(iter(settings))):
            fit(*pair(), torch.randn(200, 6), **settings)

    def test_no_epochs(self):
        with pytest.raises(ValueError, match="at least 1"):
            fit(*pair(), torch.randn(200, 6), epochs=0)


def test_latents_are_encoded_in_order_and_in_evaluation_mode():
    encoder = torch.nn.Sequential(torch.nn.Linear(6, 2), torch.nn.Dropout(0.5))
    x = torch.randn(50, 6)
    z = ldm.training.latents(ldm.guides.Deterministic(encoder, LogDet()), x, batch_size=20)
    torch.testing.assert_close(z, encoder[0](x).detach())
    assert encoder.training
    views = ldm.guides.Views(torch.nn.Linear(6, 2), Joint(LogDet()))
    torch.testing.assert_close(ldm.training.latents(views, x), views.encoder(x).detach())


def test_latents_of_other_sites_and_of_composed_views():
    x = torch.randn(50, 6)
    named = ldm.guides.Deterministic(torch.nn.Linear(6, 2), LogDet(), site="w")
    torch.testing.assert_close(ldm.training.latents(named, x), named.encoder(x).detach())
    with pytest.raises(ValueError, match="no site 'z'"):
        ldm.training.latents(named, x, site="z")
    prior = ldm.priors.GaussianViews(2, noise=dist.LogNormal(0.0, 1.0))
    views = ldm.guides.Views(torch.nn.Linear(6, 2), Joint(LogDet()))
    guide = ldm.guides.Compose(AutoNormal(poutine.block(prior, hide=["z", "z_prime"])), views)
    fit(prior, guide, x, views=ldm.encoders.TwoViews(ldm.encoders.Noise(std=0.1)), batch_size=25, epochs=1)
    torch.testing.assert_close(ldm.training.latents(guide, x), views.encoder(x).detach())


def test_latents_of_a_guide_that_is_a_function_of_two_views():
    def guide(x, x_prime):
        with pyro.plate("batch", len(x)):
            ldm.sample_views({"z": 2 * x, "z_prime": x_prime}, Joint(LogDet()))

    x = torch.randn(50, 2)
    torch.testing.assert_close(ldm.training.latents(guide, x), 2 * x)
