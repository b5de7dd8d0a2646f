"""What every estimator promises: run on each that ``pyro_ldm.entropy`` exports, and on settings that matter."""

import inspect
import math
import warnings

import pytest
import torch

from pyro_ldm import entropy
from pyro_ldm.entropy import KDE, KNN, GaussianKernel, LogDet, Plane, SampleEntropy, pairwise

FOUND = [c for c in map(entropy.__dict__.get, entropy.__all__) if inspect.isclass(c) and issubclass(c, SampleEntropy)]
ESTIMATORS = [c() for c in FOUND if not inspect.isabstract(c)] + [
    LogDet(correct=False),
    LogDet(shrinkage=0.1),
    LogDet(shrinkage="oas"),
    LogDet(shrinkage="ledoit-wolf"),
    LogDet(order=2),
    KDE(include_self=True),
    KDE(GaussianKernel(0.7)),
    KDE(GaussianKernel(0.7, whiten=False)),
    KNN(1),
    KNN(5, space=Plane(whiten=False)),
]
FIXED_SCALE = (LogDet(order=2), KDE(GaussianKernel(0.7, whiten=False)))
NEED_FULL_RANK = [e for e in ESTIMATORS if repr(e) in map(repr, [LogDet(), LogDet(correct=False), KDE(), KNN()])]
# Stated bias at N = 2000, D = 3: within this of the closed form, in nats.
BIAS = {"KDE": 0.2, "KNN": 0.1, "LogDet": 0.06}

each = pytest.mark.parametrize("estimator", ESTIMATORS, ids=lambda e: " ".join(repr(e).split()))


def value_and_grad(estimator, z):
    z = z.clone().requires_grad_()
    score = estimator(z)
    (grad,) = torch.autograd.grad(score.mean(), z)
    return score.detach(), grad


def test_finds_the_estimators():
    assert {KDE, KNN, LogDet} <= set(FOUND)


@each
class TestEvery:
    def test_entropy_of_a_gaussian(self, estimator):
        true = 1.5 * math.log(2 * math.pi * math.e)
        measured = -torch.stack([estimator(torch.randn(2000, 3)).mean() for _ in range(5)]).mean()
        # A bandwidth of 0.7, or a row's own kernel, has a bias of its own, and shrinkage 0.1 is none on a sphere.
        slack = 0.5 if "0.7" in repr(estimator) or "include_self=True" in repr(estimator) else 0.0
        assert abs(float(measured) - true) < BIAS[type(estimator).__name__] + slack

    def test_shift_and_scale(self, estimator):
        z = torch.randn(300, 3) @ torch.randn(3, 3)
        torch.testing.assert_close(estimator(z + 5.0), estimator(z))
        if repr(estimator) not in map(repr, FIXED_SCALE):
            for a in (1e-3, 7.0, 1e3):
                torch.testing.assert_close(estimator(a * z), estimator(z) - 3 * math.log(a))

    def test_rotation_and_permutation(self, estimator):
        z = torch.randn(60, 3) * torch.tensor([1.0, 2.0, 0.3])
        rotation, _ = torch.linalg.qr(torch.randn(3, 3))
        order = torch.randperm(60)
        torch.testing.assert_close(estimator(z @ rotation), estimator(z))
        torch.testing.assert_close(estimator(z[order]), estimator(z)[order])

    def test_gradcheck(self, estimator):
        assert torch.autograd.gradcheck(estimator, torch.randn(7, 2, requires_grad=True))
        assert torch.autograd.gradcheck(estimator, torch.randn(2, 7, 2, requires_grad=True))

    def test_leading_dims_are_separate_batches(self, estimator):
        z = torch.randn(2, 3, 20, 2)
        scores = estimator(z)
        assert scores.shape == (2, 3, 20)
        torch.testing.assert_close(scores[1, 2], estimator(z[1, 2]))

    def test_float32_agrees_with_float64(self, estimator):
        z = torch.randn(200, 4)
        single, double = value_and_grad(estimator, z.float()), value_and_grad(estimator, z)
        assert single[0].dtype == torch.float32
        torch.testing.assert_close(single[0].double(), double[0], rtol=1e-4, atol=1e-4)
        torch.testing.assert_close(single[1].double(), double[1], rtol=1e-3, atol=1e-5)

    @pytest.mark.parametrize("dtype", [torch.float32, torch.float64])
    @pytest.mark.parametrize("kind", ["repeated", "equal", "a constant dim"])
    def test_finite_on_duplicate_rows(self, estimator, dtype, kind):
        z = {
            "repeated": torch.randn(5, 3).repeat(8, 1),
            "equal": torch.full((40, 3), 1.3),
            "a constant dim": torch.randn(40, 3) * torch.tensor([1.0, 1.0, 0.0]),
        }[kind].to(dtype)
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*of the rows repeat.*")
            score, grad = value_and_grad(estimator, z)
        assert torch.isfinite(score).all() and torch.isfinite(grad).all()

    def test_half_precision_and_autocast_are_computed_in_float32(self, estimator):
        z = torch.randn(200, 4, dtype=torch.float32)
        assert estimator(z.bfloat16()).dtype == torch.float32
        with torch.autocast("cpu", torch.bfloat16):
            torch.testing.assert_close(estimator(z), estimator(z))
            inside, grad = value_and_grad(estimator, z)
        torch.testing.assert_close(inside, estimator(z))
        assert torch.isfinite(grad).all()

    def test_masked_rows_count_nowhere(self, estimator):
        z, mask = torch.randn(50, 3), torch.arange(50) % 3 > 0
        score = estimator(z, None, mask)
        torch.testing.assert_close(score[mask], estimator(z[mask]))
        assert torch.equal(score[~mask], torch.zeros(int((~mask).sum())))
        batches = torch.randn(2, 50, 3)
        torch.testing.assert_close(estimator(batches, None, mask)[1][mask], estimator(batches[1][mask]))

    def test_chunks_change_nothing(self, estimator, monkeypatch):
        z = torch.randn(2, 40, 3)
        whole = value_and_grad(estimator, z)
        monkeypatch.setattr(pairwise, "CHUNK", 2 * 40 * 7)
        torch.testing.assert_close(value_and_grad(estimator, z), whole)

    @pytest.mark.parametrize(
        ("z", "words"),
        [
            (torch.zeros(5), "batch of vectors"),
            (torch.zeros(1, 3), "N >= 2"),
            (torch.full((9, 3), torch.nan), "NaN or Inf in 9 of 9 rows"),
            (torch.tensor([[0.0], [torch.inf], [1.0]]), "NaN or Inf in 1 of 3 rows"),
            (torch.zeros(9, 3, dtype=torch.long), "use Mixture"),
        ],
    )
    def test_bad_rows_say_what_to_do(self, estimator, z, words):
        with pytest.raises(ValueError, match=words):
            estimator(z)

    def test_bad_masks_say_what_to_do(self, estimator):
        for mask in (torch.ones(4, dtype=torch.bool), torch.ones(9)):
            with pytest.raises(ValueError, match=r"boolean of shape \(9,\)"):
                estimator(torch.randn(9, 3), None, mask)


@pytest.mark.parametrize("estimator", NEED_FULL_RANK, ids=repr)
def test_fewer_rows_than_dims_say_what_to_do(estimator):
    with pytest.raises(ValueError, match=r"N >= D \+ 1.*enlarge the batch"):
        estimator(torch.randn(8, 8))
