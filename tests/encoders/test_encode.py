"""encode: the log-volume equals the determinant of the dense Jacobian, for every kind of encoder."""

import pyro.distributions as dist
import pytest
import torch
from torch import nn

from pyro_ldm.encoders import MLP, PCA, Linear, encode


class Warp(nn.Module):
    """A smooth map of each row, square and no special case of anything."""

    def __init__(self, dim=3):
        super().__init__()
        self.mix = nn.Linear(dim, dim)

    def forward(self, x):
        return x + 0.3 * torch.tanh(self.mix(x))


class Cubed(nn.Linear):
    """A subclass whose weight is not its Jacobian."""

    def forward(self, x):
        return super().forward(x) ** 3


class Residual(nn.Sequential):
    """A subclass that is not the composition of its parts."""

    def forward(self, x):
        return x + 0.3 * super().forward(x)


def flow(name="MAF"):
    zuko = pytest.importorskip("zuko")
    return getattr(zuko.flows, name)(3, transforms=2, hidden_features=[8])


ENCODERS = {
    "linear": lambda: nn.Linear(3, 3),
    "own linear": lambda: Linear(3, 3),
    "torch transform": lambda: torch.distributions.transforms.SigmoidTransform(),
    "affine transform": lambda: torch.distributions.transforms.AffineTransform(1.0, torch.tensor([2.0, 3.0, 0.5])),
    "pyro transform": lambda: dist.transforms.affine_autoregressive(3, hidden_dims=[8]),
    "inverse of a pyro transform": lambda: dist.transforms.affine_autoregressive(3, hidden_dims=[8]).inv,
    "composed transforms": lambda: dist.transforms.ComposeTransformModule(
        [
            dist.transforms.affine_autoregressive(3, hidden_dims=[8]),
            dist.transforms.Permute(torch.tensor([2, 0, 1])),
            dist.transforms.affine_coupling(3, hidden_dims=[8]),
        ]
    ),
    "zuko flow": flow,
    "zuko spline flow": lambda: flow("NSF"),
    "zuko lazy transform": lambda: flow().transform,
    "zuko transform": lambda: flow().transform(),
    "sequence": lambda: nn.Sequential(Linear(3, 3), Warp(), Linear(3, 3, bias=True)),
    "sequence with a zuko flow": lambda: nn.Sequential(Linear(3, 3), flow(), Linear(3, 3, bias=True)),
    "sequence through another width": lambda: MLP(3, 3, hidden=[8], activation=nn.Tanh, batch_norm=False),
    "subclass of linear": lambda: Cubed(3, 3),
    "subclass of a sequence": lambda: Residual(nn.Linear(3, 3), nn.Tanh()),
    "batch norm in use": lambda: nn.Sequential(Linear(3, 3), nn.BatchNorm1d(3)).eval(),
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
        if "zuko" not in name:  # those return a distribution or a transform when called
            torch.testing.assert_close(z.v, encoder(x))

    def test_gradient_to_input_and_parameters(self, name):
        encoder, x = ENCODERS[name](), torch.randn(2, 3, requires_grad=True)
        assert torch.autograd.gradcheck(lambda x: encode(encoder, x).log_density, x)
        parameters = list(encoder.parameters()) if isinstance(encoder, nn.Module) else []
        if not parameters:
            return
        total = encode(encoder, x).log_density.sum()
        grads = torch.autograd.grad(total, parameters, allow_unused=True, materialize_grads=True)
        directions = [torch.randn_like(parameter) for parameter in parameters]
        along, values = sum((g * d).sum() for g, d in zip(grads, directions, strict=True)), []
        for step in (1e-6, -2e-6):  # all parameters at once, by central differences
            with torch.no_grad():
                for parameter, direction in zip(parameters, directions, strict=True):
                    parameter += step * direction
            values.append(encode(encoder, x).log_density.sum().detach())
        torch.testing.assert_close(along, (values[0] - values[1]) / 2e-6, rtol=1e-4, atol=1e-6)

    def test_a_second_backward_works(self, name):
        encoder, x = ENCODERS[name](), torch.randn(4, 3, requires_grad=True)
        for _ in range(2):
            z = encode(encoder, x)
            (z.v.sum() + z.log_density.sum()).backward()

    def test_batch_dims_lead(self, name):
        encoder, x = ENCODERS[name](), torch.randn(2, 4, 3)
        z = encode(encoder, x)
        assert z.batch_shape == (2, 4) and z.event_shape == (3,)
        torch.testing.assert_close(z.log_density[1], encode(encoder, x[1]).log_density)


@pytest.mark.parametrize("name", ["MAF", "NSF"])
def test_change_of_variables_is_the_flow_s_density(name):
    """log N(z; 0, I) + log |det dz/dx|, against what zuko itself says."""
    encoder, x = flow(name), torch.randn(6, 3)
    z = encode(encoder, x)
    base = dist.Normal(torch.zeros(3), 1.0).to_event(1)
    torch.testing.assert_close(base.log_prob(z.v) - z.log_density, encoder().log_prob(x))


def test_change_of_variables_integrates_to_one():
    """The density of x that a standard normal z implies, on a grid."""
    encoder, axis = Warp(2), torch.linspace(-9, 9, 181)
    x = torch.cartesian_prod(axis, axis)
    z = encode(encoder, x)
    density = (dist.Normal(torch.zeros(2), 1.0).to_event(1).log_prob(z.v) - z.log_density).exp()
    assert float(density.sum().detach()) * 0.1**2 == pytest.approx(1.0, abs=1e-3)


def test_chunks_agree():
    """At D = 200 the Jacobians of 150 rows are taken in two chunks."""
    encoder, x = nn.Sequential(Warp(200), nn.Identity()), torch.randn(150, 200)
    apart = torch.cat([encode(encoder, part).log_density for part in x.split(50)])
    torch.testing.assert_close(encode(encoder, x).log_density, apart)


def test_log_volume_is_float32_under_autocast():
    with torch.autocast("cpu", torch.bfloat16):
        z = encode(nn.Linear(3, 3).float(), torch.randn(4, 3, dtype=torch.float32))
        half = encode(Warp().float(), torch.randn(4, 3, dtype=torch.bfloat16))
    assert z.log_density.dtype == torch.float32
    assert half.log_density.dtype == half.v.dtype == torch.float32


@pytest.mark.parametrize(
    ("encoder", "x", "message"),
    [
        (nn.Linear(3, 2), torch.randn(4, 3), "PCA first"),
        (lambda x: x[:, :2], torch.randn(4, 3), "PCA first"),
        (nn.Sequential(nn.Linear(3, 8), nn.Linear(8, 2)), torch.randn(4, 3), "PCA first"),
        (nn.Linear(64, 64), torch.randn(4, 1, 8, 8), "flatten each datum"),
        (nn.Linear(3, 3), torch.randn(3), "flatten each datum"),
        (nn.BatchNorm1d(3), torch.randn(4, 3), "BatchNorm1d.* maps each row on its own"),
        (MLP(3, 3, hidden=[8]), torch.randn(4, 3), "MLP.* maps each row on its own"),
        (nn.Dropout(), torch.randn(4, 3), "maps each row on its own"),
        (lambda x: x + x.mean(0), torch.randn(4, 3), "differently alone and in its batch"),
        (torch.distributions.transforms.SoftmaxTransform(), torch.randn(4, 3), "is not invertible"),
        (lambda x: x * float("nan"), torch.randn(4, 3), "not finite"),
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

    def test_data_that_are_not_finite_say_so(self):
        with pytest.raises(ValueError, match="NaN or Inf"):
            PCA(5, 2).fit(torch.full((50, 5), float("nan")))

    def test_float32_far_from_the_origin(self):
        """The covariance is taken about the mean and in float64, so an offset costs no digits."""
        x = (1000 + torch.randn(500, 6) @ torch.randn(6, 6)).float()
        y = PCA(6, 6).float().fit(x)(x)
        torch.testing.assert_close(y.T.cov(), torch.eye(6, dtype=torch.float32), atol=1e-4, rtol=0)

    def test_goes_before_a_square_map(self):
        """Images of deficient rank: the volume is that of the square map alone."""
        x = (torch.randn(60, 4) @ torch.randn(4, 64)).reshape(60, 1, 8, 8)
        square = Linear(4, 4)
        z = encode(square, PCA(64, 4).fit(x)(x))
        torch.testing.assert_close(z.log_density, torch.zeros(60))
