"""encode: the log-volume equals the determinant of the dense Jacobian, for every kind of encoder."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_ldm.encoders import PCA, Linear, encode


class Warp(nn.Module):
    """A smooth map of each row, square and no special case of anything."""

    def __init__(self, dim=3):
        super().__init__()
        self.mix = nn.Linear(dim, dim)

    def forward(self, x):
        return x + 0.3 * torch.tanh(self.mix(x))


def flow():
    zuko = pytest.importorskip("zuko")
    return zuko.flows.MAF(3, transforms=2, hidden_features=[8])


ENCODERS = {
    "linear": lambda: nn.Linear(3, 3),
    "own linear": lambda: Linear(3, 3),
    "torch transform": lambda: torch.distributions.transforms.SigmoidTransform(),
    "affine transform": lambda: torch.distributions.transforms.AffineTransform(1.0, torch.tensor([2.0, 3.0, 0.5])),
    "pyro transform": lambda: dist.transforms.affine_autoregressive(3, hidden_dims=[8]),
    "zuko flow": flow,
    "zuko transform": lambda: flow().transform,
    "sequence": lambda: nn.Sequential(Linear(3, 3), Warp(), Linear(3, 3, bias=True)),
    "any module": Warp,
    "function": lambda: lambda x: x**3 + x,
}


@pytest.mark.parametrize("name", ENCODERS)
class TestEvery:
    def test_log_volume_is_the_dense_jacobian_s(self, name):
        encoder, x = ENCODERS[name](), torch.randn(4, 3)
        z = encode(encoder, x)
        assert z.batch_shape == (4,) and z.event_shape == (3,)
        jacobian = torch.autograd.functional.jacobian(lambda x: encode(encoder, x).v.sum(0), x).permute(1, 0, 2)
        torch.testing.assert_close(-z.log_density, jacobian.slogdet().logabsdet)

    def test_gradient_to_input_and_parameters(self, name):
        encoder, x = ENCODERS[name](), torch.randn(2, 3, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: encode(encoder, x).log_density, x)
        parameters = list(encoder.parameters()) if isinstance(encoder, nn.Module) else []
        for parameter in parameters[:1]:  # by finite differences
            (grad,) = torch.autograd.grad(encode(encoder, x).log_density.sum(), parameter, allow_unused=True)
            with torch.no_grad():
                direction = torch.randn_like(parameter)
                parameter += 1e-5 * direction
                up = encode(encoder, x).log_density.sum()
                parameter -= 2e-5 * direction
                down = encode(encoder, x).log_density.sum()
            torch.testing.assert_close((grad * direction).sum(), (up - down) / 2e-5, rtol=1e-4, atol=1e-7)

    def test_a_second_backward_works(self, name):
        encoder, x = ENCODERS[name](), torch.randn(4, 3, requires_grad=True)
        for _ in range(2):
            z = encode(encoder, x)
            (z.v.sum() + z.log_density.sum()).backward()


def test_log_volume_is_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        z = encode(nn.Linear(3, 3).float(), torch.randn(4, 3, dtype=torch.float32))
    assert z.log_density.dtype == torch.float32


@pytest.mark.parametrize(
    ("encoder", "x", "message"),
    [
        (nn.Linear(3, 2), torch.randn(4, 3), "PCA first"),
        (lambda x: x[:, :2], torch.randn(4, 3), "PCA first"),
        (nn.Linear(3, 3), torch.randn(4, 1, 3), "flatten each datum"),
        (nn.BatchNorm1d(3), torch.randn(4, 3), "maps each row on its own"),
        (lambda x: x * torch.tensor([1.0, 1.0, 0.0]), torch.randn(4, 3), "singular"),
    ],
)
def test_misfits_say_what_to_do(encoder, x, message):
    with pytest.raises(ValueError, match=message):
        encode(encoder, x)


def test_singular_matrix_is_refused():
    encoder = nn.Linear(3, 3)
    nn.init.zeros_(encoder.weight)
    with pytest.raises(ValueError, match="singular"):
        encode(encoder, torch.randn(4, 3))


class TestPCA:
    def test_against_scikit_learn(self):
        from sklearn.decomposition import PCA as Reference

        x = torch.randn(200, 6) @ torch.randn(6, 6)
        reference = Reference(4, whiten=True).fit(x.numpy())
        y, expected = PCA(6, 4).fit(x)(x), torch.from_numpy(reference.transform(x.numpy()))
        torch.testing.assert_close(y.abs(), expected.abs())

    def test_inverse_and_state(self):
        x = torch.randn(50, 2) @ torch.randn(2, 5) + 1.0
        pca = PCA(5, 2).fit(x)
        torch.testing.assert_close(pca.inverse(pca(x)), x)
        other = PCA(5, 2)
        other.load_state_dict(pca.state_dict())
        torch.testing.assert_close(other(x), pca(x))

    def test_deficient_rank_says_how_many_to_keep(self):
        x = torch.randn(50, 2) @ torch.randn(2, 5)
        with pytest.raises(ValueError, match="keep 2 or fewer"):
            PCA(5, 3).fit(x)
        with pytest.raises(ValueError, match="more rows than components"):
            PCA(5, 3).fit(x[:3])
        with pytest.raises(ValueError, match="between 1 and 5"):
            PCA(5, 6)
