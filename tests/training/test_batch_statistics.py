"""An encoder with batch normalisation, used after a short fit, is the one that was trained."""

import pytest
import torch
from torch.utils.data import DataLoader, TensorDataset

import pyro_ldm as ldm


def fitted(data, *, epochs, momentum=0.1, **settings):
    """Fit a net that normalises; the fit, and its layer."""
    torch.manual_seed(0)
    layer = torch.nn.BatchNorm1d(8, momentum=momentum)
    encoder = torch.nn.Sequential(torch.nn.Linear(6, 8), layer, torch.nn.Linear(8, 2)).float()
    guide = ldm.guides.Deterministic(encoder, ldm.entropy.LogDet())
    fit = ldm.fit(ldm.priors.Gaussian(2), guide, data, epochs=epochs, batch_size=100, progress=False, **settings)
    return fit, layer


@pytest.fixture
def x():
    return (5.0 + 3.0 * torch.randn(400, 6)).float()


@pytest.mark.parametrize("own", [False, True], ids=["tensor", "loader"])
def test_a_short_fit_ends_with_the_statistics_of_its_data(own, x):
    data = DataLoader(TensorDataset(x), batch_size=100, shuffle=True) if own else x
    fit, layer = fitted(data, epochs=2)
    inputs = fit.objective.guide.encoder[0](x)
    torch.testing.assert_close(layer.running_mean, inputs.detach().mean(0), rtol=1e-3, atol=1e-3)
    torch.testing.assert_close(layer.running_var, inputs.detach().var(0), rtol=0.05, atol=0.05)
    assert fit.terms.kl == pytest.approx(fit.history[-1]["kl"], abs=0.05)
    assert not fit.objective.training and layer.momentum == 0.1


def test_the_random_state_is_where_training_left_it(x, monkeypatch):
    states = []
    for limit in (0.01, 1.0):  # settled, and not
        monkeypatch.setattr("pyro_ldm.training.batch_statistics.FORGOTTEN", limit)
        fitted(x, epochs=2, views=lambda rows: (rows + torch.randn_like(rows),))
        states.append(torch.get_rng_state())
    assert torch.equal(*states)


@pytest.mark.parametrize(("epochs", "momentum"), [(12, 0.1), (2, 0.5), (2, None)])
def test_others_keep_their_running_statistics(epochs, momentum, x):
    _, layer = fitted(x, epochs=epochs, momentum=momentum)
    assert layer.num_batches_tracked == 4 * epochs


def test_both_views_and_a_resumed_fit(x, tmp_path):
    def noisy(rows):
        return rows + 0.1 * torch.randn_like(rows), rows + 0.1 * torch.randn_like(rows)

    found, x = [], torch.cat([x, x[:50]])  # of which each epoch leaves others out
    for stops in ([3], [1, 3], [3, 3]):
        for epochs in stops:
            torch.manual_seed(0)
            encoder = torch.nn.Sequential(torch.nn.Linear(6, 8), torch.nn.BatchNorm1d(8), torch.nn.Linear(8, 2)).float()
            guide = ldm.guides.Views(encoder, ldm.entropy.Joint(ldm.entropy.LogDet()))
            file = tmp_path / f"{stops}.ckpt"
            fit = ldm.fit(
                ldm.priors.GaussianViews(2),
                guide,
                x,
                epochs=epochs,
                batch_size=100,
                views=noisy,
                checkpoint=file,
                progress=False,
            )
        found.append(encoder[1])
    for other in found[1:]:
        torch.testing.assert_close(other.running_mean, found[0].running_mean)
    assert found[0].num_batches_tracked == 4  # with both views in each
    assert fit.terms.kl == pytest.approx(fit.history[-1]["kl"], abs=0.2)
