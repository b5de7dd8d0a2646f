"""What a run folder says of series: the filter of the prior, what it recovers and foretells, and its picture."""

import json
import math

import numpy
import pytest
import torch

import pyro_ldm as ldm
from pyro_ldm.runs import StateSpace, filtering, load_latents, scores, write_run

TURN = torch.tensor([[math.cos(0.5), -math.sin(0.5)], [math.sin(0.5), math.cos(0.5)]])


@pytest.fixture(autouse=True)
def in_float32():
    """As data sets are."""
    torch.set_default_dtype(torch.float32)


@pytest.fixture
def prior():
    """A turn that goes on for long, seen with noise: the very world that the data are from."""
    return ldm.priors.Kalman(
        2, transition_matrix=0.99 * TURN, transition_noise=0.15, observation_noise=0.3, initial_scale=1.0
    )


@pytest.fixture
def data(prior):
    torch.manual_seed(0)
    state = torch.randn(60, 30, 2) * 0.15
    state[:, 0] = torch.randn(60, 2)
    for t in range(1, 30):
        state[:, t] += 0.99 * state[:, t - 1] @ TURN
    return ldm.datasets.Data(state + 0.3 * torch.randn_like(state), truth=state, name="turn")


class Surprise(torch.nn.Module):
    """Noise as large as the last error."""

    def forward(self, errors):
        return 1 + errors.norm(dim=-1, keepdim=True)


def with_mask(data):
    mask = torch.arange(30) < torch.arange(60).remainder(20).unsqueeze(-1) + 11
    return ldm.datasets.Data(data.x.masked_fill(~mask.unsqueeze(-1), 0.0), truth=data.truth, mask=mask)


def a_fit(prior, global_kl=0.0):
    """As a fit of few steps leaves it, without the steps."""
    guide = ldm.guides.Deterministic(torch.nn.Identity(), ldm.entropy.Pooled(ldm.entropy.LogDet()))
    row = {"epoch": 1.0, "loss": 1.0, "alignment": -2.0, "uniformity": 1.0}
    return ldm.Fit(ldm.Objective(prior, guide), ldm.Terms(-2.0, 1.0, 1.0, global_kl, "KL - I"), [row])


class TestStateSpace:
    def test_filter_is_the_prior_s(self, prior, data, monkeypatch):
        monkeypatch.setattr("pyro_ldm.runs.series.CHUNK", 25)
        loc, scale = StateSpace(prior).filter(data.x, data.x)
        states = prior.distribution(data.x).filter(data.x)
        torch.testing.assert_close(loc, states.loc)
        torch.testing.assert_close(scale, states.variance.sqrt())

    @pytest.mark.parametrize("smooth", [False, True])
    def test_band_is_of_the_state_as_observed(self, data, smooth):
        prior = ldm.priors.Kalman(2, 3)
        band = StateSpace(prior).band(data.x, data.x, smooth=smooth)
        ssm, c = prior.distribution(data.x), prior.observation_matrix
        states = (ssm.smooth if smooth else ssm.filter)(data.x)
        torch.testing.assert_close(band.loc, states.loc @ c)
        torch.testing.assert_close(band.state, c.T @ states.covariance_matrix @ c)
        torch.testing.assert_close(band.observed, band.state + torch.eye(2) * prior.observation_noise**2)

    def test_masked_steps_are_forecasts(self, prior, data):
        known = torch.arange(30).expand(60, -1) < 24
        band = StateSpace(prior).band(data.x, data.x, known)
        ahead = prior.distribution(data.x[:, :24]).forecast(data.x[:, :24], 6)
        torch.testing.assert_close(band.loc[:, 24:], ahead.mean)
        torch.testing.assert_close(band.observed[:, 24:], ahead.covariance_matrix)

    def test_noise_that_follows_the_errors(self, data):
        prior = ldm.priors.Kalman(2, adapt=Surprise())
        space = StateSpace.of(a_fit(prior), data)
        states = prior.distribution(data.x).given(data.x).filter(data.x)
        torch.testing.assert_close(space.filter(data.x, data.x)[0], states.loc)
        torch.testing.assert_close(space.band(data.x, data.x).loc, states.loc)

    def test_there_is_none_of_other_priors(self, prior, data):
        assert isinstance(StateSpace.of(a_fit(prior), data), StateSpace)
        assert StateSpace.of(a_fit(prior, global_kl=0.1), data) is None
        assert StateSpace.of(a_fit(ldm.priors.Gaussian(2)), data) is None
        assert StateSpace.of(a_fit(lambda x: None), data) is None
        predictor = ldm.encoders.LastSteps(2, 2, hidden=[4])
        assert StateSpace.of(a_fit(ldm.priors.Autoregressive(2, predictor)), data) is None


class TestScores:
    def test_the_filter_of_the_true_world(self, prior, data):
        found = scores(data.x, data, StateSpace(prior))
        states, ahead = prior.distribution(data.x).filter(data.x), prior.distribution(data.x[:, :27])
        assert found["affine_r2"]["filter"] == pytest.approx(ldm.diagnostics.affine_r2(states.loc, data.truth))
        assert found["affine_r2"]["encoder"] < found["affine_r2"]["filter"] < 1
        forecast = ahead.forecast(data.x[:, :27], 3).mean / data.x.std((0, 1))
        came, last = data.x[:, 27:] / data.x.std((0, 1)), data.x[:, 26] / data.x.std((0, 1))
        skill = ldm.diagnostics.forecast_skill(forecast, came, last).skill
        assert numpy.allclose(found["forecast_skill"]["over_persistence"], skill, atol=1e-4)
        assert all(0 < s < 1 for s in found["forecast_skill"]["over_mean"])

    def test_without_a_state_space(self, data):
        assert set(scores(data.x, data, None)) == {"affine_r2"}
        assert scores(data.x, ldm.datasets.Data(data.x), None) == {}

    def test_what_is_not_defined(self, prior, data):
        found = scores(torch.zeros(60, 30, 2), data, StateSpace(prior))
        assert found["forecast_skill"] == {"over_persistence": None, "over_mean": None}
        assert json.dumps(found)

    def test_padding_does_not_count(self, prior, data):
        masked = with_mask(data)
        z = masked.x.clone()
        first = scores(z, masked, StateSpace(prior))
        z[~masked.mask] = 1e6
        assert scores(z, masked, StateSpace(prior)) == first
        assert first["forecast_skill"]["over_persistence"] is not None


class TestFiltering:
    def lines(self, figure, panel):
        (axes,) = [a for a in figure.axes if a.get_title().startswith(panel)]
        return {line.get_label(): line.get_xydata() for line in axes.lines}

    def test_panels(self, prior, data):
        figure = filtering(StateSpace(prior), data, data.x, series=3)
        (filtered, bridged, foretold) = (self.lines(figure, name) for name in ("filter", "smoother", "forecast"))
        assert numpy.allclose(filtered["mean"][:, 1], prior.distribution(data.x).filter(data.x).loc[3, :, 0], atol=1e-5)
        assert numpy.allclose(filtered["encoder, one step"][:, 1], data.x[3, :, 0])
        assert list(bridged["left out"][:, 0]) == [12, 13, 14, 15, 16, 17]
        assert list(foretold["left out"][:, 0]) == [24, 25, 26, 27, 28, 29]
        assert len(foretold["encoder, one step"]) == 24
        assert numpy.abs(filtered["truth, mapped to z"][:, 1] - data.truth[3, :, 0].numpy()).max() < 0.1

    def test_a_long_video_shows_its_end(self, prior):
        video = ldm.datasets.Data(torch.rand(4, 90, 1, 5, 5))
        figure = filtering(StateSpace(prior), video, torch.randn(4, 90, 2))
        frames = [axes for axes in figure.axes if axes.images]
        assert frames[0].get_title() == "step 30" and frames[-1].get_title() == "step 89" and len(frames) == 12
        assert self.lines(figure, "filter")["mean"][[0, -1], 0].tolist() == [30, 89]

    def test_principal_axes_of_many_latents(self, data):
        z = torch.cat([0.1 * torch.randn(60, 30, 3), 3 * data.x[..., :1]], -1)
        figure = filtering(StateSpace(ldm.priors.Kalman(4)), data, z)
        dots = self.lines(figure, "filter")["encoder, one step"][:, 1]
        assert abs(numpy.corrcoef(dots, data.x[0, :, 0])[0, 1]) > 0.99
        assert [a.get_ylabel() for a in figure.axes if a.get_ylabel()] == [f"principal axis {i} of z" for i in (1, 2)]

    def test_a_padded_series_ends_where_it_ends(self, prior, data):
        masked = with_mask(data)
        figure = filtering(StateSpace(prior), masked, masked.x, series=2)
        assert self.lines(figure, "filter")["mean"][-1, 0] == 12
        assert list(self.lines(figure, "forecast")["left out"][:, 0]) == [11, 12]

    def test_no_truth_where_it_is_not_recovered(self, prior, data):
        figure = filtering(StateSpace(prior), data, torch.randn(60, 30, 2))
        assert "truth, mapped to z" not in self.lines(figure, "filter")


class TestRun:
    @pytest.fixture
    def written(self, prior, data, tmp_path):
        return lambda data, prior=prior: (write_run(tmp_path, a_fit(prior), data, settings={}), load_latents(tmp_path))

    def test_what_there_is(self, written, prior, data, tmp_path):
        summary, arrays = written(data)
        assert set(arrays) == {"z", "truth", "filter_loc", "filter_scale"}
        assert torch.equal(arrays["filter_loc"], StateSpace(prior).filter(data.x, data.x)[0])
        assert set(summary["series"]) == {"affine_r2", "forecast_skill"}
        assert json.loads((tmp_path / "summary.json").read_text())["series"] == summary["series"]
        assert {path.name for path in tmp_path.glob("*.png")} == {"curves.png", "latents.png", "filter.png"}

    def test_padding_is_nan(self, written, data):
        data = with_mask(data)
        summary, arrays = written(data)
        for name in ("z", "filter_loc", "filter_scale"):
            assert torch.equal(arrays[name].isnan().any(-1), ~data.mask), name
        assert torch.equal(arrays["mask"], data.mask) and summary["collapse"].startswith("not collapsed")

    @pytest.mark.parametrize("labels", [torch.arange(60) % 3, torch.arange(1800).reshape(60, 30) % 2])
    def test_labels_of_series_and_of_steps(self, written, data, labels):
        assert torch.equal(written(ldm.datasets.Data(data.x, y=labels))[1]["y"], labels)

    @pytest.mark.parametrize("num_steps", [1, 2, 4, 5])
    def test_short_series(self, written, data, num_steps, tmp_path):
        written(ldm.datasets.Data(data.x[:, :num_steps]))
        assert (tmp_path / "filter.png").exists() == (num_steps >= 5)

    def test_another_prior_of_series(self, written, data, tmp_path):
        summary, arrays = written(data, ldm.priors.Autoregressive(2, ldm.encoders.LastSteps(2, 2, hidden=[4])))
        assert "filter_loc" not in arrays and set(summary["series"]) == {"affine_r2"}
        assert not (tmp_path / "filter.png").exists()
