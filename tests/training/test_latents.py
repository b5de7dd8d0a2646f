"""Latents of series, and of data too large to be encoded at once."""

import torch

import pyro_ldm as ldm
from pyro_ldm.devices import device_of
from pyro_ldm.training import latents


class Counting(torch.nn.Flatten):
    """Notes how many rows come at once."""

    def __init__(self):
        super().__init__()
        self.rows = []

    def forward(self, x):
        self.rows.append(len(x))
        return super().forward(x)[:, :2]


def test_large_data_are_encoded_few_at_once(monkeypatch):
    # The package has a function of the module's name.
    monkeypatch.setitem(latents.__wrapped__.__globals__, "AT_ONCE", 1000)
    for shape, rows in (((6,), [166, 134]), ((3, 10, 10), [3] * 100), ((50, 50), [1] * 300)):
        encoder, x = Counting(), torch.randn(300, *shape)
        z = latents(ldm.guides.Deterministic(encoder, ldm.entropy.LogDet()), x)
        assert encoder.rows == rows and torch.equal(z, x.flatten(1)[:, :2])


def test_series_with_padding():
    x, mask = torch.randn(8, 5, 3), torch.arange(5) < torch.arange(1, 9).clamp(max=5).unsqueeze(-1)
    encoder = ldm.encoders.PerStep(torch.nn.Linear(3, 2).float())
    guide = ldm.guides.Deterministic(encoder, ldm.entropy.Pooled(ldm.entropy.LogDet()))
    z = latents(guide, ldm.datasets.Data(x, mask=mask), batch_size=3)
    torch.testing.assert_close(z, encoder(x.float()).detach())


def test_a_guide_is_where_its_buffers_are():
    reduced = ldm.guides.Deterministic(ldm.encoders.PCA(6, 2), ldm.entropy.LogDet())
    here = torch.device("cpu")
    assert device_of(lambda x: x, reduced.to("meta"), default=here) == torch.device("meta")
    assert device_of(lambda x: x, torch.nn.Identity(), default=here) == here


def test_the_random_state_is_left_as_it_was():
    guide = ldm.guides.Gaussian(torch.nn.Linear(3, 4).float(), ldm.entropy.Mixture())
    before = torch.get_rng_state()
    latents(guide, torch.randn(20, 3, generator=torch.Generator().manual_seed(0)).float())
    assert torch.equal(torch.get_rng_state(), before)
