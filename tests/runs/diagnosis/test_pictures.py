"""Pictures of a diagnosis show every row whole: their data are read back from the figures."""

from types import SimpleNamespace

import numpy
import pandas
import pytest
import torch
from matplotlib.legend import Legend

from pyro_ldm.diagnostics.estimates import ESTIMATE, LOWER, Estimate
from pyro_ldm.runs.diagnosis.pictures import correlations, estimates, intervals


def bands_and_estimates():
    found = [
        Estimate("first", LOWER, 4.0, 0.03, ()),  # of no reference: the legend is to be there all the same
        Estimate("second", LOWER, 4.2, 0.03, (-0.2, -0.1999)),
        Estimate("third", ESTIMATE, 40.0, 0.3, (0.0, 0.1)),
    ]
    return estimates(SimpleNamespace(estimates=found))


def test_every_row_has_half_a_row_of_margin():
    table = pandas.DataFrame(
        {"mean": [1.0, 2.0], "eti_5": [0.5, 1.0], "eti_95": [1.5, 3.0]}, index=["scale[0]", "scale[1]"]
    )
    for figure, num in ((bands_and_estimates(), 3), (intervals(table), 2), (intervals(table.head(1)), 1)):
        (axes,) = figure.axes
        assert axes.get_ylim() == (num - 0.5, -0.5) and list(axes.get_yticks()) == list(range(num))


def test_a_band_however_narrow_is_drawn_some_points_wide():
    figure = bands_and_estimates()
    (axes,) = figure.axes
    ticks = [line for line in axes.lines if line.get_marker() == "|" and line.get_markeredgewidth() >= 3]
    centres = [tuple(float(value) for value in line.get_xydata()[0]) for line in ticks if len(line.get_xdata()) == 1]
    assert any(numpy.allclose(centre, (-0.19995, 1)) for centre in centres)
    assert any(numpy.allclose(centre, (0.05, 2)) for centre in centres)


def test_the_legend_is_outside_the_rows():
    figure = bands_and_estimates()
    figure.canvas.draw()
    (axes,), (legend,) = figure.axes, figure.legends
    assert isinstance(legend, Legend) and axes.get_legend() is None
    assert not legend.get_window_extent().overlaps(axes.get_window_extent())


@pytest.mark.parametrize(("true", "dims"), [(2, 2), (1, 1), (6, 10), (2, 64)])
def test_correlations_are_squares_with_their_numbers(true, dims):
    z, truth = torch.randn(50, dims), torch.randn(50, true)
    figure = correlations(z, truth)
    figure.canvas.draw()
    axes = figure.axes[0]
    box = axes.get_window_extent()
    assert box.width / dims == pytest.approx(box.height / true, rel=0.01)
    values = numpy.abs(numpy.corrcoef(truth.T, z.T)[:true, true:])
    assert numpy.allclose(numpy.asarray(axes.images[0].get_array()), values)
    written = [text.get_text() for text in axes.texts]
    assert written == ([] if dims == 64 else [f"{value:.2f}" for value in values.flatten()])
    assert all(float(tick).is_integer() for tick in axes.get_xticks())
