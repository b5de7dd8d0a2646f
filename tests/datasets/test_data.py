import dataclasses

import pytest
import torch

from pyro_ldm.datasets import Data, DataError


def test_fields_become_float32_and_labels_stay():
    data = Data(torch.zeros(3, 2, dtype=torch.int64), y=torch.arange(3), truth=torch.ones(3, 1), name="toy")
    assert data.x.dtype == data.truth.dtype == torch.float32
    assert data.y.dtype == torch.int64
    assert data.shape == (2,) and len(data) == 3
    assert repr(data) == "Data('toy', 3 x (2,), y, truth)"


def test_series_keep_their_labels_and_their_mask():
    mask = torch.arange(3) < torch.tensor([[1], [2], [3], [3]])
    data = Data(torch.arange(4.0).reshape(4, 1, 1).expand(4, 3, 1), y=mask.long(), mask=mask, name="toy")
    assert repr(data) == "Data('toy', 4 x (3, 1), y, mask)"
    assert data.mask.dtype == torch.bool and data.y.shape == (4, 3)
    for part in data.split((0.5, 0.5), seed=1):
        assert torch.equal(part.mask, mask[part.x[:, 0, 0].long()]) and torch.equal(part.y, part.mask.long())
    assert Data(torch.zeros(2, 3, 1)).split((1.0,))[0].mask is None


def test_series_keep_their_inputs():
    x = torch.arange(4.0).reshape(4, 1, 1).expand(4, 3, 1)
    data = Data(x, inputs=x.long().expand(4, 3, 2), name="toy")
    assert repr(data) == "Data('toy', 4 x (3, 1), inputs)" and data.inputs.dtype == torch.float32
    for part in data.split((0.5, 0.5), seed=1):
        assert torch.equal(part.inputs, part.x.expand(-1, 3, 2))


def test_frozen():
    with pytest.raises(dataclasses.FrozenInstanceError):
        Data(torch.zeros(3, 2)).x = torch.ones(3, 2)


def bad_rows():
    x = torch.zeros(100, 3)
    x[[17, 40, 99], 1] = torch.tensor([torch.nan, torch.inf, -torch.inf])
    return x


@pytest.mark.parametrize(
    "make, message",
    [
        (
            lambda: Data(bad_rows()),
            r"^x contains NaN or Inf in 3 of 100 rows \(first: row 17\): drop or impute them before fitting$",
        ),
        (lambda: Data(bad_rows(), name="mine"), "^mine: x contains NaN"),
        (lambda: Data(bad_rows().reshape(100, 1, 3)), r"3 of 100 rows \(first: row 17\)"),
        (lambda: Data(torch.zeros(100, 3), truth=bad_rows()), "^truth contains NaN"),
        (lambda: Data(torch.zeros(2, 3), y=torch.tensor([0.0, torch.nan])), r"^y contains NaN .* 1 of 2 rows"),
        (lambda: Data(torch.zeros(5)), r"shape \(5,\) where \(N, ...\) is wanted: use x.reshape\(-1, 1\)"),
        (lambda: Data(torch.tensor(5.0)), r"shape \(\) where"),
        (lambda: Data(torch.zeros(1, 3)), r"x has 1 row\(s\) where at least 2"),
        (lambda: Data(torch.zeros(0, 3)), r"x has 0 row\(s\)"),
        (lambda: Data(torch.zeros(4, 0)), "no numbers: give at least one column"),
        (lambda: Data([[1.0], [2.0]]), "x is a list: make it a tensor"),
        (lambda: Data(torch.zeros(4, 2), y=[0, 1, 2, 3]), "y is a list"),
        (lambda: Data(torch.zeros(4, 2, dtype=torch.complex64)), "x is complex"),
        (lambda: Data(torch.full((4, 2), 1e300, dtype=torch.float64)), "beyond the range of float32"),
        (lambda: Data(torch.zeros(4, 2), y=torch.zeros(3)), "x has 4 rows and y has 3"),
        (lambda: Data(torch.zeros(4, 2), y=torch.tensor(1)), "x has 4 rows and y has 1"),
        (lambda: Data(torch.zeros(4, 2), truth=torch.zeros(5, 2)), "x has 4 rows and truth has 5"),
        (
            lambda: Data(torch.zeros(4, 2), truth=torch.zeros(4, 3), mixing=torch.zeros(2, 3)),
            r"mixing has shape \(2, 3\) where \(3, 2\) is wanted",
        ),
        (lambda: Data(torch.zeros(4, 2), mixing=torch.zeros(2)), r"mixing has shape \(2,\)"),
        (
            lambda: Data(torch.zeros(4, 3, 2), inputs=torch.zeros(4, 2, 1)),
            r"inputs has shape \(4, 2, 1\) for x of shape \(4, 3, 2\): give a row per step, \(N, T, U\)",
        ),
        (lambda: Data(torch.zeros(4, 3), inputs=torch.zeros(4, 3)), r"inputs has shape \(4, 3\)"),
        (lambda: Data(torch.zeros(100, 3, 1), inputs=bad_rows()[..., None]), "^inputs contains NaN or Inf in 3 of 100"),
        (lambda: Data(torch.zeros(4, 3, 2), mask=[True] * 4), "mask is a list"),
        (
            lambda: Data(torch.zeros(4, 3, 2), mask=torch.ones(4, 3)),
            r"mask is float64 of shape \(4, 3\) for x of shape \(4, 3, 2\): give a boolean one of shape \(N, T\)",
        ),
        (lambda: Data(torch.zeros(4, 3, 2), mask=torch.ones(4, dtype=torch.bool)), r"mask is bool of shape \(4,\)"),
        (lambda: Data(torch.zeros(4, 3), mask=torch.ones(4, 3, dtype=torch.bool)), r"for x of shape \(4, 3\)"),
        (
            lambda: Data(torch.zeros(4, 2, 1), mask=torch.tensor([[1, 0], [0, 0], [1, 1], [0, 0]]).bool()),
            r"no step of 2 of 4 series \(first: row 1\): drop them",
        ),
    ],
)
def test_bad_data_is_one_clear_sentence(make, message):
    with pytest.raises(DataError, match=message) as caught:
        make()
    assert "\n" not in str(caught.value) and ": " in str(caught.value)


def test_split_is_a_partition_that_keeps_rows_together():
    x = torch.arange(30.0).reshape(10, 3)
    data = Data(x, y=torch.arange(10), truth=x[:, :1], name="toy")
    parts = data.split((0.5, 0.3, 0.2), seed=3)
    assert [len(part) for part in parts] == [5, 3, 2]
    assert sorted(torch.cat([part.y for part in parts]).tolist()) == list(range(10))
    for part in parts:
        assert torch.equal(part.x, x[part.y].float())
        assert torch.equal(part.truth, part.x[:, :1])
        assert part.name == "toy"


def test_split_depends_on_its_seed_alone():
    data = Data(torch.zeros(50, 1), y=torch.arange(50))
    state = torch.get_rng_state()
    first = data.split(seed=1)[0].y
    assert torch.equal(torch.get_rng_state(), state)
    torch.manual_seed(99)
    assert torch.equal(data.split(seed=1)[0].y, first)
    assert not torch.equal(data.split(seed=2)[0].y, first)


@pytest.mark.parametrize("fractions", [(), (0.5, 0.4), (1.2, -0.2), (1.0, 0.0)])
def test_split_refuses_fractions_that_are_no_partition(fractions):
    with pytest.raises(DataError, match="positive fractions that sum to 1"):
        Data(torch.zeros(10, 1)).split(fractions)


def test_split_refuses_a_part_of_one_row():
    with pytest.raises(DataError, match="at least 2"):
        Data(torch.zeros(10, 1)).split((0.9, 0.1))
