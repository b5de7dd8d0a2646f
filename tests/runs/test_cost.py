"""What an epoch costs: the clock, and memory where it is known."""

import sys

import pytest

from pyro_ldm.runs import cost
from pyro_ldm.runs.cost import Cost


def test_the_first_epoch_warms_up():
    measured = Cost()
    measured.seconds = [9.0, 1.0, 2.0, 4.0]
    assert measured.summary()["seconds_per_epoch"] == 2.0
    measured.seconds = [9.0]
    assert measured.summary()["seconds_per_epoch"] == 9.0
    assert Cost().summary() == {}


@pytest.mark.skipif(not sys.platform.startswith("linux"), reason="reads /proc")
def test_both_ways_to_measure_memory_are_in_mib(monkeypatch):
    here = cost._peak()
    monkeypatch.setattr(cost.Path, "read_text", _missing)
    assert here is not None and cost._peak() == pytest.approx(here, rel=0.5) and here > 50


def test_without_a_way_to_measure_memory_there_is_none(monkeypatch):
    """As on Windows; a fit that has ended is not to fail by it."""
    monkeypatch.setattr(cost.Path, "read_text", _missing)
    monkeypatch.setitem(sys.modules, "resource", None)
    measured = Cost()
    measured.seconds = [1.0]
    assert measured.summary() == {"seconds_per_epoch": 1.0}


def _missing(*_):
    raise FileNotFoundError
