import numpy as np
import pytest
import torch

from pyro_ldm.datasets import DataError, cut_series

LENGTHS = np.array([3, 1, 5])


def steps():
    """The number of the series, the step in it, and 100, which padding is not."""
    return torch.tensor([[n, t, 100.0] for n, length in enumerate(LENGTHS) for t in range(length)])


def test_whole_series_are_padded_and_masked():
    x = steps()
    data = cut_series(x, LENGTHS, y=np.array([7, 8, 9]), truth=x[:, :1], name="toy")
    assert repr(data) == "Data('toy', 3 x (5, 3), y, truth, mask)"
    assert data.mask.sum(1).tolist() == [3, 1, 5] and data.y.tolist() == [7, 8, 9]
    for n, length in enumerate(LENGTHS):
        assert data.x[n, :length].tolist() == [[n, t, 100] for t in range(length)]
        assert (data.x[n, length:] == 0).all() and not data.mask[n, length:].any()
        assert (data.truth[n, :length] == n).all()
    assert torch.equal(x, steps())  # what was given is as it was


def test_the_steps_that_are_there_give_back_the_array():
    x = torch.randn(9, 2, 4)
    data = cut_series(x, torch.as_tensor(LENGTHS), y=torch.arange(9))
    assert data.x.shape == (3, 5, 2, 4)
    assert torch.equal(data.x[data.mask], x.float()) and torch.equal(data.y[data.mask], torch.arange(9))


def test_equal_lengths_need_no_mask():
    data = cut_series(torch.arange(6.0).reshape(6, 1), [2, 2, 2])
    assert data.mask is None and data.x.flatten().tolist() == [0, 1, 2, 3, 4, 5]


def test_windows_stay_within_their_series():
    data = cut_series(steps(), LENGTHS, y=np.array([7, 8, 9]), truth=steps(), window=2)
    assert data.mask is None and data.y.tolist() == [7, 9, 9]
    assert data.x[:, :, :2].tolist() == [[[0, 0], [0, 1]], [[2, 0], [2, 1]], [[2, 2], [2, 3]]]
    assert torch.equal(data.truth, data.x)
    per_step = cut_series(steps(), LENGTHS, y=steps()[:, 1].long(), window=2)
    assert per_step.y.tolist() == [[0, 1], [0, 1], [2, 3]]


@pytest.mark.parametrize(
    "arguments, message",
    [
        ({"lengths": [3, 1, 4]}, "no positive whole numbers that sum to 9, the rows of x: give such"),
        ({"lengths": [3, 0, 6]}, "no positive whole numbers"),
        ({"lengths": [3.0, 1.0, 5.0]}, "no positive whole numbers"),
        ({"lengths": 9}, "no positive whole numbers"),
        ({"window": 6}, "window is 6 and the longest series has 5 steps: give 1 to that many"),
        ({"window": 0}, "window is 0"),
        ({"window": 4}, r"x has 1 row\(s\) where at least 2"),
        ({"y": torch.zeros(4)}, "y has 4 rows where x has 9 steps: give one y per step"),
        ({"truth": torch.zeros(3, 1)}, "truth has 3 rows where x has 9 steps: give one truth per step"),
        ({"x": torch.zeros(9)}, r"shape \(9,\) where \(steps, ...\) is wanted: use x.reshape\(-1, 1\)"),
        ({"x": torch.full((9, 1), torch.nan)}, "x contains NaN"),
    ],
)
def test_what_cannot_be_cut(arguments, message):
    with pytest.raises(DataError, match=message) as caught:
        cut_series(**{"x": steps(), "lengths": LENGTHS, "name": "mine", **arguments})
    assert str(caught.value).startswith("mine: ")
