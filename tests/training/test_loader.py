import pytest
import torch

from pyro_ldm.datasets import Data
from pyro_ldm.training.loader import make_loader, tensors_of


def test_the_tensors_of_data():
    x, y = torch.zeros(4, 3, 2, dtype=torch.float32), torch.ones(4)
    mask = torch.tensor([[True, True, False]] * 4)
    assert [t is x for t in tensors_of(x)] == [True]
    assert [a is b for a, b in zip(tensors_of([x, y]), (x, y), strict=True)] == [True, True]
    assert [t.shape for t in tensors_of(Data(x, y=y))] == [(4, 3, 2)]
    assert [t.shape for t in tensors_of(Data(x, mask=mask))] == [(4, 3, 2), (4, 3)]
    with pytest.raises(TypeError, match="got dict"):
        tensors_of({})


def test_batches_keep_a_series_with_its_mask():
    x = torch.arange(10.0).reshape(10, 1, 1).expand(10, 10, 1)
    mask = torch.arange(10) <= torch.arange(10)[:, None]  # series i has i + 1 steps
    batches = list(make_loader(Data(x, mask=mask), batch_size=5, seed=0))
    assert len(batches) == 2
    for values, there in batches:
        assert there.dtype == torch.bool
        assert torch.equal(there.sum(1) - 1, values[:, 0, 0].long())
