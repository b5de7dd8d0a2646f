import pytest
import torch

from pyro_ldm.datasets import DataError, photographs


def test_the_mixed_photographs():
    data = photographs()
    assert data.x.shape == data.truth.shape == (427 * 640, 2)
    assert data.x.dtype == torch.float32
    truth = data.truth.double()
    assert torch.allclose(truth.mean(0), torch.zeros(2), atol=1e-5)
    assert torch.allclose(truth.var(0, correction=0), torch.ones(2), atol=1e-5)
    assert torch.allclose(data.x[:, 0], data.truth[:, 0] + 0.7 * data.truth[:, 1], atol=1e-5)
    assert torch.allclose(data.x[:, 1], 0.7 * data.truth[:, 0] + data.truth[:, 1], atol=1e-5)


def test_pixels_run_row_by_row():
    # Neighbouring rows of a photograph look alike; under a wrong width they would not.
    for picture in photographs().truth.T.reshape(2, 427, 640):
        rows = torch.stack([picture[:-1].flatten(), picture[1:].flatten()])
        assert torch.corrcoef(rows)[0, 1] > 0.9


def test_another_mixing_is_used_row_by_vector():
    data = photographs(((1.0, 2.0), (0.0, 1.0)))
    assert torch.allclose(data.x[:, 0], data.truth[:, 0])
    assert torch.allclose(data.x[:, 1], 2 * data.truth[:, 0] + data.truth[:, 1], atol=1e-5)


@pytest.mark.parametrize("mixing", [((1, 2), (2, 4)), ((1, 0, 0), (0, 1, 0)), ((1, float("nan")), (0, 1))])
def test_a_mixing_that_cannot_be_undone(mixing):
    with pytest.raises(DataError, match="invertible 2 x 2"):
        photographs(mixing)
