import numpy as np
import pytest

from pyro_ldm.posterior.uniformity import ecdf_band, ecdf_p_value


def test_p_values_are_uniform_and_the_band_holds_its_level():
    rng = np.random.default_rng(1)
    samples = rng.uniform(size=(1000, 200))
    p_values = np.array([ecdf_p_value(pit) for pit in samples])
    for level in (0.05, 0.2):
        assert (p_values <= level).mean() == pytest.approx(level, abs=3.5 * np.sqrt(level * (1 - level) / 1000))
    grid, low, high = ecdf_band(200, 0.05)
    share = (samples[:, :, None] <= grid).mean(axis=1)
    outside = ((share < low) | (share > high)).any(axis=1)
    assert outside.mean() == pytest.approx(0.05, abs=0.025)
    assert ecdf_p_value(rng.beta(1.0, 1.6, size=200)) < 0.01


def test_a_gross_departure_has_a_smaller_p_value_than_could_be_simulated():
    # Of several thousand scalars the level is divided by their number. By Bonferroni's bound over 99 points.
    assert ecdf_p_value(np.full(50, 0.5)) < 1e-8
    assert ecdf_p_value(np.linspace(0.01, 0.99, 50)) == pytest.approx(1.0, abs=0.01)
