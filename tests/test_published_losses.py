"""Published losses, written out from their papers, against the objectives of their priors: value and gradient."""

import math
import warnings

import pyro
import pyro.distributions as dist
import pytest
import torch
import torch.nn.functional as F
from pyro.nn import PyroModule
from scipy.special import ive
from torch import nn

import pyro_ldm as ldm
from pyro_ldm.entropy import (
    KDE,
    KNN,
    GaussianKernel,
    Joint,
    LogDet,
    Mixture,
    Pooled,
    Separate,
    Sphere,
    VonMisesFisherKernel,
    Zero,
)

Normalize = ldm.encoders.Normalize


def assert_same(ours, theirs, parameters, tolerance=1e-12):
    """Value and gradient, to rounding."""
    parameters = list(parameters)
    torch.testing.assert_close(ours, theirs, rtol=tolerance, atol=tolerance)
    torch.testing.assert_close(
        torch.autograd.grad(ours, parameters, retain_graph=True),
        torch.autograd.grad(theirs, parameters, retain_graph=True),
        rtol=1e-10,
        atol=tolerance,
    )


def log_area(dim):
    """Of the unit sphere in R^D."""
    return math.log(2) + 0.5 * dim * math.log(math.pi) - math.lgamma(0.5 * dim)


def log_von_mises_fisher_constant(dim, kappa):
    """Mardia and Jupp (2000), eq. 9.3.4, with SciPy's exponentially scaled Bessel function."""
    order = 0.5 * dim - 1
    return order * math.log(kappa) - 0.5 * dim * math.log(2 * math.pi) - math.log(ive(order, kappa)) - kappa


def views(rows=24, features=6, shift=0.5):
    x = torch.randn(rows, features)
    return x, x + shift * torch.randn(rows, features)


class TestSimCLR:
    """Chen et al. (2020), https://arxiv.org/abs/2002.05709, eq. 1 and algorithm 1."""

    @staticmethod
    def nt_xent(z, z_prime, temperature):
        """l(i, j) = -log exp(s_ij / tau) / sum over k != i of exp(s_ik / tau), mean over all 2N rows; 2N - 1 others."""
        rows, n = torch.cat([z, z_prime]), len(z)
        total = 0.0
        for i in range(2 * n):
            similarity = F.cosine_similarity(rows[i : i + 1], rows, dim=-1) / temperature
            others = torch.arange(2 * n) != i
            total = total - similarity[(i + n) % (2 * n)] + similarity[others].exp().sum().log()
        return total / (2 * n)

    @pytest.mark.parametrize("temperature", [0.1, 0.5, 2.0])
    @pytest.mark.parametrize("dim", [3, 16])
    def test_nt_xent(self, temperature, dim):
        encoder, batch = nn.Linear(6, dim), views()
        prior = ldm.priors.VonMisesFisherViews(dim, concentration=2 / temperature)
        entropy = Pooled(KDE(VonMisesFisherKernel(1 / temperature)))
        guide = ldm.guides.Views(nn.Sequential(encoder, Normalize()), entropy)
        loss = ldm.Objective(prior, guide)(*batch)
        of_the_prior = log_area(dim) - log_von_mises_fisher_constant(dim, 2 / temperature)
        of_the_kernels = 2 * log_von_mises_fisher_constant(dim, 1 / temperature)
        published = 2 * self.nt_xent(*map(encoder, batch), temperature) - 2 * math.log(2 * len(batch[0]) - 1)
        assert_same(loss, published + of_the_prior + of_the_kernels, encoder.parameters())

    def test_the_prior_as_a_program_of_one_s_own(self):
        kappa = torch.tensor(4.0)

        def prior(*batch):
            with pyro.plate("batch", len(batch[0])):
                north = torch.eye(5)[0]
                z = pyro.sample("z", ldm.distributions.VonMisesFisher(north, torch.tensor(0.0)))
                pyro.sample("z_prime", ldm.distributions.VonMisesFisher(z, kappa))

        guide = ldm.guides.Views(nn.Sequential(nn.Linear(6, 5), Normalize()), Pooled(KDE(VonMisesFisherKernel(2.0))))
        built_in, batch = ldm.priors.VonMisesFisherViews(5, concentration=kappa), views()
        losses = [ldm.Objective(p, guide)(*batch) for p in (prior, built_in)]
        assert_same(*losses, guide.parameters())


class TestVICReg:
    """Bardes, Ponce and LeCun (2022), https://arxiv.org/abs/2105.04906, eq. 1 to 6, against the second-order expansion.

    Under a flat first view and noise s, for views of D dims with covariances C and variances v = diag C:

        loss = D / (2 s^2) invariance + D / 4 [c(Z) + c(Z')] + sum over both views and dims of [(v - 2)^2 - 1] / 4
               + (D / 2) log(2 pi s^2) - D log(2 pi e)

    The invariance and covariance terms are VICReg's, with weights D / (2 s^2) and D / 4. Its hinge on the standard
    deviation is not the rest: see the tests of it.
    """

    NOISE, DIM = 0.4, 5

    @staticmethod
    def invariance(z, z_prime):
        """Eq. 5, over D: published code takes the mean over dims."""
        return (z - z_prime).square().sum(-1).mean() / z.shape[-1]

    @staticmethod
    def covariance_penalty(z):
        """Eq. 4: off-diagonal entries of the covariance, squared, summed, over D."""
        n, dim = z.shape
        mean = z.mean(0)
        c = sum(torch.outer(row - mean, row - mean) for row in z) / (n - 1)
        return sum(c[i, j] ** 2 for i in range(dim) for j in range(dim) if i != j) / dim

    @staticmethod
    def hinge(z, epsilon=0.0):
        """Eq. 1 and 2, gamma = 1: mean over dims of max(0, 1 - sqrt(variance + epsilon))."""
        return torch.clamp(1 - (z.var(0) + epsilon).sqrt(), min=0).mean()

    def loss(self, encoder, batch, scale=None):
        prior = ldm.priors.GaussianViews(self.DIM, noise=self.NOISE, scale=scale)
        return ldm.Objective(prior, ldm.guides.Views(encoder, Separate(LogDet(order=2))))(*batch)

    def written_out(self, z, z_prime):
        dim, noise = self.DIM, self.NOISE
        total = 0.5 * dim / noise**2 * self.invariance(z, z_prime)
        for view in (z, z_prime):
            total = total + 0.25 * dim * self.covariance_penalty(view)
            total = total + ((view.var(0) - 2).square() - 1).sum() / 4
        return total + 0.5 * dim * math.log(2 * math.pi * noise**2) - dim * math.log(2 * math.pi * math.e)

    def test_invariance_and_covariance_are_vicreg_s(self):
        encoder, batch = nn.Linear(6, self.DIM), views()
        assert_same(self.loss(encoder, batch), self.written_out(*map(encoder, batch)), encoder.parameters())

    def test_a_gaussian_first_view_adds_its_energy(self):
        """Not in VICReg: |z|^2 / 2, which moves the first view's best variance from 2 to 1."""
        encoder, batch = nn.Linear(6, self.DIM), views()
        z = encoder(batch[0])
        energy = 0.5 * z.square().sum(-1).mean() + 0.5 * self.DIM * math.log(2 * math.pi)
        expected = self.written_out(*map(encoder, batch)) + energy
        assert_same(self.loss(encoder, batch, scale=1.0), expected, encoder.parameters())

    @staticmethod
    def slopes(deviation):
        """Slopes of hinge and of the expansion's diagonal part, over one dim's standard deviation, at fixed shape."""
        white = torch.randn(50, 1)
        white = (white - white.mean()) / white.std()
        slopes = []
        for term in (TestVICReg.hinge, lambda z: LogDet(order=2)(z).mean()):
            sigma = torch.tensor(deviation, requires_grad=True)
            slopes.append(float(torch.autograd.grad(term(sigma * white), sigma)[0]))
        return slopes

    def test_the_hinge_agrees_to_first_order_below_one(self):
        """At standard deviation 1, from below: both have slope -1 (the hinge at weight D, since it is a mean)."""
        hinge, expansion = self.slopes(1 - 1e-9)
        assert hinge == pytest.approx(-1.0)
        assert expansion == pytest.approx(-1.0, abs=1e-8)

    def test_above_one_the_hinge_is_flat_and_the_expansion_pushes_to_variance_two(self):
        for deviation in (1.2, math.sqrt(2), 1.8):
            hinge, expansion = self.slopes(deviation)
            assert hinge == 0.0
            assert expansion == pytest.approx((deviation**2 - 2) * deviation)

    def test_at_collapse_the_hinge_pushes_and_the_expansion_does_not(self):
        """The determinant itself pushes without bound: -1 / sigma. An expansion about 1 is no good far from it."""
        hinge, expansion = self.slopes(1e-4)
        assert hinge == pytest.approx(-1.0)
        assert expansion == pytest.approx(-2e-4, rel=1e-6)
        z = 1e-4 * torch.randn(50, 1)
        sigma = torch.tensor(1.0, requires_grad=True)
        (exact,) = torch.autograd.grad(LogDet()(sigma * z).mean(), sigma)
        assert float(exact) == pytest.approx(-1.0)  # in log sigma, hence -1e4 in sigma

    def test_published_epsilon_stops_the_hinge_too(self):
        """With epsilon = 1e-4 under the root, as published, the hinge has no slope at zero variance either."""
        sigma = torch.tensor(1e-6, requires_grad=True)
        (slope,) = torch.autograd.grad(self.hinge(sigma * torch.randn(50, 1), epsilon=1e-4), sigma)
        assert abs(float(slope)) < 1e-3


class TestPredictors:
    """SimSiam and BYOL: no entropy, a predictor, and a target that no gradient goes through."""

    KAPPA, DIM = 3.0, 4

    @pytest.fixture
    def networks(self):
        encoder = nn.Sequential(nn.Linear(6, 16), nn.BatchNorm1d(16), nn.ReLU(), nn.Linear(16, self.DIM))
        predictor = nn.Sequential(nn.Linear(self.DIM, 8), nn.BatchNorm1d(8), nn.ReLU(), nn.Linear(8, self.DIM))
        return encoder, predictor

    def objective(self, encoder, predictor, target, kappa):
        prior = ldm.priors.VonMisesFisherViews(self.DIM, concentration=kappa, predictor=predictor)
        stopped = ldm.stop_gradient(prior, sites=["z_prime"])
        return ldm.Objective(stopped, ldm.guides.Views(encoder, Zero(), target=target))

    def test_simsiam(self, networks):
        """Chen and He (2021), https://arxiv.org/abs/2011.10566, algorithm 1: D(p, z) = -cos(p, sg(z)), both orders."""
        encoder, predictor = networks
        x1, x2 = views()
        z1, z2 = encoder(x1), encoder(x2)
        p1, p2 = predictor(z1), predictor(z2)

        def negative_cosine(p, z):
            z = z.detach()
            return -((p / p.norm(dim=1, keepdim=True)) * (z / z.norm(dim=1, keepdim=True))).sum(1).mean()

        published = negative_cosine(p1, z2) / 2 + negative_cosine(p2, z1) / 2
        objective = self.objective(encoder, predictor, nn.Sequential(encoder, Normalize()), self.KAPPA)
        loss = (objective(x1, x2) + objective(x2, x1)) / 2
        constant = -log_von_mises_fisher_constant(self.DIM, self.KAPPA)
        assert_same(loss, self.KAPPA * published + constant, [*encoder.parameters(), *predictor.parameters()])
        assert objective.terms(x1, x2).divergence == "score"

    def test_the_gradient_it_stops_would_not_be_zero(self, networks):
        encoder, predictor = networks
        batch = views()
        prior = ldm.priors.VonMisesFisherViews(self.DIM, concentration=self.KAPPA, predictor=predictor)
        guide = ldm.guides.Views(encoder, Zero(), target=nn.Sequential(encoder, Normalize()))
        grads = []
        for p in (prior, ldm.stop_gradient(prior, sites=["z_prime"])):
            grads.append(torch.autograd.grad(ldm.Objective(p, guide)(*batch), encoder[0].weight)[0])
        assert (grads[0] - grads[1]).abs().max() > 1e-3

    def test_byol(self, networks):
        """Grill et al. (2020), https://arxiv.org/abs/2006.07733, eq. 2: |q - z'|^2 of unit vectors, 2 - 2 cos."""
        encoder, predictor = networks
        x1, x2 = views()
        average = ldm.encoders.ExponentialMovingAverage(encoder, decay=0.9)
        objective = self.objective(encoder, predictor, nn.Sequential(average, Normalize()), 2.0)
        objective(x1, x2)  # the target starts as a copy
        with torch.no_grad():
            online = [p.clone() for p in encoder.parameters()]
            for p in encoder.parameters():
                p.add_(0.3 * torch.randn_like(p))
        loss = objective(x1, x2)

        # The target by hand, eq. 1: xi = 0.9 xi + 0.1 theta, moved once; with its own batch statistics.
        weights = [0.9 * old + 0.1 * new.detach() for old, new in zip(online, encoder.parameters(), strict=True)]
        hidden = F.linear(x2, weights[0], weights[1])
        hidden = F.relu(F.batch_norm(hidden, None, None, weights[2], weights[3], training=True))
        z = F.normalize(F.linear(hidden, weights[4], weights[5]), dim=-1)
        q = F.normalize(predictor(encoder(x1)), dim=-1)
        published = (q - z).square().sum(-1).mean()
        constant = -2 - log_von_mises_fisher_constant(self.DIM, 2.0)  # kappa = 2: -2 cos = published - 2
        assert_same(loss, published + constant, [*encoder.parameters(), *predictor.parameters()])
        torch.testing.assert_close(published, (2 - 2 * F.cosine_similarity(q, z)).mean())


class TestInfoNCE:
    """Van den Oord et al. (2018), https://arxiv.org/abs/1807.03748, eq. 4, and Poole et al. (2019),
    https://arxiv.org/abs/1905.06922, eq. 10 and 13, with the true conditional as critic.

    x ~ N(0, I_D), z' | x ~ N(x, s^2 I): I(x; z') = D / 2 log(1 + 1 / s^2). I = H[z'] - H[z' | x], the second known. A
    row's own conditional raises the density it is scored by, so include-self gives too small an entropy, and I from
    below; leave-one-out gives both from above.
    """

    @staticmethod
    def objective(noise, include_self):
        """The encoder's conditional as prior too: minus the loss is an estimate of I."""

        class Conditional(PyroModule):
            def __init__(self, wrap):
                super().__init__()
                self.wrap, self.scale = wrap, nn.Parameter(torch.tensor(noise))

            def forward(self, x):
                with pyro.plate("batch", len(x)):
                    return pyro.sample("z", self.wrap(dist.Normal(x, self.scale).to_event(1)))

        prior = Conditional(lambda q: q)
        guide = Conditional(lambda q: ldm.Pushforward(q, Mixture(include_self=include_self)))
        guide.scale = prior.scale
        return ldm.Objective(prior, guide)

    @staticmethod
    def log_conditionals(x, z, noise):
        """Entry i, j: log q(z_i | x_j)."""
        squared = (z[:, None] - x[None]).square().sum(-1)
        return -0.5 * squared / noise**2 - x.shape[-1] * (torch.as_tensor(noise).log() + 0.5 * math.log(2 * math.pi))

    @pytest.mark.parametrize("include_self", [True, False])
    def test_equals_the_published_formulas(self, include_self):
        x = torch.randn(20, 3, requires_grad=True)
        objective = self.objective(0.5, include_self)
        (scale,) = {p for p in objective.parameters()}
        objective(x)
        pyro.set_rng_seed(1)
        loss = objective(x)
        pyro.set_rng_seed(1)
        z = x + scale * torch.randn(20, 3)
        critic = self.log_conditionals(x, z, scale)
        if include_self:  # cross-entropy of finding one's own x among all N, less log N
            published = F.cross_entropy(critic, torch.arange(20)) - math.log(20)
        else:
            others = critic.masked_fill(torch.eye(20, dtype=torch.bool), -torch.inf)
            published = (others.logsumexp(-1) - math.log(19) - critic.diagonal()).mean()
        assert_same(loss, published, [x, scale])

    @pytest.mark.parametrize("include_self", [True, False])
    def test_a_kernel_of_the_conditional_s_width_gives_the_same(self, include_self):
        """KDE with z' as queries and x as support: the kernel density is the aggregated conditional."""
        x = torch.randn(20, 3)
        z = x + 0.5 * torch.randn(20, 3)
        kernels = KDE(GaussianKernel(0.5, whiten=False), include_self=include_self).log_prob(z, x, 0)
        conditional = dist.Normal(x, 0.5).to_event(1)
        torch.testing.assert_close(kernels, Mixture(include_self=include_self)(z, conditional))

    def test_sandwich(self):
        """N = 64, D = 2, s = 0.5: I = log 5 = 1.609 nats. Means of 1000 batches, with standard errors of 0.005 and
        0.006, lie 0.08 below and 0.10 above: more than 8 standard errors on either side."""
        true, reps = math.log(5), 1000
        estimates = []
        with torch.no_grad(), pyro.validation_enabled(False):
            for include_self in (True, False):
                objective = self.objective(0.5, include_self)
                estimates.append(torch.stack([-objective(torch.randn(64, 2)) for _ in range(reps)]))
        (low, low_error), (high, high_error) = ((float(e.mean()), float(e.std()) / math.sqrt(reps)) for e in estimates)
        assert max(low_error, high_error) < 0.008
        assert true - 0.2 < low < true - 8 * low_error
        assert true + 8 * high_error < high < true + 0.2

    def test_the_lower_bound_stops_at_log_n_and_the_upper_does_not(self):
        """s = 0.01, D = 4: I = 18.42 nats, far above log 64 = 4.16."""
        true, x = 2 * math.log(1 + 1e4), torch.randn(64, 4)
        with torch.no_grad():
            low, high = (float(-self.objective(0.01, include_self)(x)) for include_self in (True, False))
        assert low == pytest.approx(math.log(64)) and high > true


PLANE = [LogDet(), LogDet(order=2), LogDet(shrinkage="oas"), LogDet(shrinkage="ledoit-wolf"), KDE(), KNN()]
PLANE += [KDE(include_self=True), KDE(GaussianKernel(0.7, whiten=False))]
SPHERE = [KDE(VonMisesFisherKernel(5.0)), KNN(space=Sphere())]
OBJECTIVES = [(arrange(e), False) for arrange in (Joint, Separate, Pooled) for e in PLANE]
OBJECTIVES += [(arrange(e), True) for arrange in (Separate, Pooled) for e in SPHERE]
OBJECTIVES += [
    (Joint(KDE(VonMisesFisherKernel(5.0, num_spheres=2))), True),
    (Joint(KNN(space=Sphere(num_spheres=2))), True),
]


@pytest.mark.parametrize(("entropy", "sphere"), OBJECTIVES, ids=lambda v: " ".join(repr(v).split()))
class TestBatches:
    """What views a user may bring: half precision, collapsed ones, too few."""

    @pytest.fixture(autouse=True)
    def single_precision(self):
        torch.set_default_dtype(torch.float32)

    def run(self, entropy, sphere, batch):
        encoder = nn.Linear(6, 4)
        prior = ldm.priors.VonMisesFisherViews(4) if sphere else ldm.priors.GaussianViews(4)
        guide = ldm.guides.Views(nn.Sequential(encoder, Normalize()) if sphere else encoder, entropy)
        loss = ldm.Objective(prior, guide)(*batch)
        return loss, torch.autograd.grad(loss, list(encoder.parameters()))

    def test_bfloat16_autocast(self, entropy, sphere):
        """The encoder's outputs are rounded to 8 bits; the estimators run in float32."""
        with torch.autocast("cpu", torch.bfloat16):
            assert nn.Linear(2, 2)(torch.randn(2, 2)).dtype == torch.bfloat16
            loss, grads = self.run(entropy, sphere, views(64))
        assert loss.dtype == torch.float32
        assert torch.isfinite(loss) and all(torch.isfinite(g).all() for g in grads)
        assert any(g.abs().max() > 0 for g in grads)

    def test_all_equal_rows(self, entropy, sphere):
        with warnings.catch_warnings():
            warnings.filterwarnings("ignore", message=".*of the rows repeat.*")
            loss, grads = self.run(entropy, sphere, [torch.ones(64, 6)] * 2)
        assert torch.isfinite(loss) and all(torch.isfinite(g).all() for g in grads)

    def test_one_pair_is_refused(self, entropy, sphere):
        with pytest.raises(ValueError, match="enlarge the batch or drop its last, short one"):
            self.run(entropy, sphere, views(1))

    def test_views_of_different_length_are_refused(self, entropy, sphere):
        with pytest.raises(ValueError, match=r"2 views of one shape.*\(64, 6\), \(60, 6\)"):
            self.run(entropy, sphere, [torch.randn(64, 6), torch.randn(60, 6)])


@pytest.mark.parametrize("validate", [True, False])
@pytest.mark.parametrize("entropy", [*map(Pooled, SPHERE), Separate(LogDet()), Zero()], ids=lambda e: type(e).__name__)
def test_rows_off_the_sphere_are_refused(entropy, validate):
    """Also where only the prior is on the sphere, and validation is off, as ``fit`` has it."""
    prior, guide = ldm.priors.VonMisesFisherViews(4), ldm.guides.Views(nn.Linear(6, 4), entropy)
    with pyro.validation_enabled(validate), pytest.raises(ValueError, match=r"unit norm.*[nN]ormalize"):
        ldm.Objective(prior, guide)(*views())


def test_rows_normalised_in_half_precision_are_refused():
    """Under autocast F.normalize leaves bfloat16's norms, off by up to 0.4 %; Normalize does not."""

    class Half(nn.Module):
        def __init__(self):
            super().__init__()
            self.linear = nn.Linear(6, 4, dtype=torch.float32)

        def forward(self, x):
            return F.normalize(self.linear(x), dim=-1)

    objective = ldm.Objective(
        ldm.priors.VonMisesFisherViews(4).float(), ldm.guides.Views(Half(), Pooled(KDE(VonMisesFisherKernel(5.0))))
    )
    with torch.autocast("cpu", torch.bfloat16), pytest.raises(ValueError, match=r"Normalize\(\)"):
        objective(*(x.float() for x in views(64)))


def test_views_given_as_tensors_of_different_length_are_refused():
    def guide(z, z_prime):
        with pyro.plate("batch", len(z)):
            ldm.sample_views({"z": z, "z_prime": z_prime}, Joint(LogDet()))

    with pytest.raises(ValueError, match="views must agree in shape"):
        ldm.Objective(ldm.priors.GaussianViews(4), guide)(torch.randn(64, 4), torch.randn(60, 4))


class TestCPC:
    """Van den Oord et al. (2018), https://arxiv.org/abs/1807.03748, eq. 4: -log of f(z_i, c_i) over a sum of f.

    With c_t = h_t, the predictor's unit vector, f(z, c) = exp(kappa z . c), M targets z_i with predictions h_i, and
    s_ij = kappa z_i . h_j, three objectives share the alignment, -s_ii, and differ in what is summed over j:

        a predictor as prior, Pooled(KDE)                             exp(kappa z_i . z_j)   targets among targets
        the same, but R from the predictions, include-self            exp(s_ij)              targets against contexts
        a prior relative to R: p(z | c) = R(z) f(z, c) / Z(c), Zero   exp(s_ji)              a context's candidates

    The third is CPC's: R in the prior and in the entropy cancel. The published critic is bilinear, f = exp(z W c), that
    is kappa W c without its length scaled to 1: then a von Mises-Fisher prior has a normaliser that CPC lacks.
    """

    N, STEPS, DIM, KAPPA, BETA = 6, 4, 3, 4.0, 2.5

    @pytest.fixture
    def networks(self):
        return nn.Linear(5, self.DIM), ldm.encoders.Recurrent(self.DIM, self.DIM, hidden=8, cell=nn.GRU)

    @pytest.fixture
    def x(self):
        return torch.randn(self.N, self.STEPS, 5)

    def prior(self, predictor):
        return ldm.priors.VonMisesFisherAutoregressive(self.DIM, predictor, concentration=self.KAPPA)

    def objective(self, prior, encoder, entropy):
        return ldm.Objective(prior, ldm.guides.Deterministic(nn.Sequential(encoder, Normalize()), entropy))

    @staticmethod
    def predict(predictor, z):
        """h_t for each step, from those before it; at the first from zeros."""
        return predictor(torch.cat([torch.zeros_like(z[:, :1]), z[:, :-1]], 1))

    def pairs(self, networks, x):
        """Targets and predictions of all steps but the first, which has no context: (M, D) each, unit vectors."""
        encoder, predictor = networks
        z = F.normalize(encoder(x), dim=-1)
        h = F.normalize(self.predict(predictor, z), dim=-1)
        return z[:, 1:].flatten(0, 1), h[:, 1:].flatten(0, 1)

    @pytest.mark.parametrize("include_self", [True, False])
    @pytest.mark.parametrize("arrange", [Pooled, Separate])
    def test_a_predictor_as_prior(self, networks, x, arrange, include_self):
        """Negatives of Pooled: all other steps of all series; of Separate: the same step of the other series."""
        encoder, predictor = networks
        entropy = arrange(KDE(VonMisesFisherKernel(self.BETA), include_self=include_self))
        loss = self.objective(self.prior(predictor), encoder, entropy)(x)

        z = F.normalize(encoder(x), dim=-1)
        h = F.normalize(self.predict(predictor, z), dim=-1)
        steps = [(n, t) for n in range(self.N) for t in range(self.STEPS)]
        published = 0.0
        for n, t in steps:
            others = [s for s in steps if (arrange is Pooled or s[1] == t) and (include_self or s != (n, t))]
            denominator = sum((self.BETA * z[n, t] @ z[s]).exp() for s in others)
            numerator = self.KAPPA * z[n, t] @ h[n, t] if t else torch.zeros(())  # the first step is uniform
            published = published - (numerator.exp() / denominator).log()
        count = (self.STEPS if arrange is Pooled else 1) * self.N - (not include_self)
        of_the_prior = log_area(self.DIM) - (self.STEPS - 1) * log_von_mises_fisher_constant(self.DIM, self.KAPPA)
        of_the_kernels = self.STEPS * (log_von_mises_fisher_constant(self.DIM, self.BETA) - math.log(count))
        expected = published / self.N + of_the_prior + of_the_kernels
        assert_same(loss, expected, [*encoder.parameters(), *predictor.parameters()])

    def test_on_the_plane(self, networks, x):
        """Gaussian noise s and kernels of width h: -log of exp(-|z - h|^2 / 2 s^2) over the kernels' sum."""
        encoder, predictor = networks
        noise, width = 0.4, 0.6
        prior = ldm.priors.Autoregressive(self.DIM, predictor, noise=noise, scale=2.0)
        kde = KDE(GaussianKernel(width, whiten=False), include_self=True)
        loss = ldm.Objective(prior, ldm.guides.Deterministic(encoder, Pooled(kde)))(x)

        z = encoder(x)
        h, rows = self.predict(predictor, z), z.flatten(0, 1)  # the first step's center is predicted too, from z_0 = 0
        scale = torch.tensor([2.0, *[noise] * (self.STEPS - 1)])
        alignment = 0.5 * (z - h).square().sum(-1) / scale**2
        kernels = (-0.5 * (rows[:, None] - rows).square().sum(-1) / width**2).exp().sum(-1).log()
        constant = self.DIM * (scale.log().sum() - self.STEPS * math.log(width)) - self.STEPS * math.log(len(rows))
        expected = alignment.sum(-1).mean() + self.STEPS * kernels.mean() + constant
        assert_same(loss, expected, [*encoder.parameters(), *predictor.parameters()])

    def test_targets_against_contexts(self, networks, x):
        """With the predictions' mixture in place of R it is InfoNCE over contexts: a lower bound on I(c; z)."""
        encoder, predictor = networks
        case = self

        class Predicted(ldm.entropy.Entropy):
            event_dim, on_sphere = 2, True

            def forward(self, z, conditional=None, mask=None):
                h = Normalize()(case.predict(predictor, z))
                kde = KDE(VonMisesFisherKernel(case.KAPPA), include_self=True)
                later = kde.log_prob(z[:, 1:].flatten(0, 1), h[:, 1:].flatten(0, 1), 0)
                return later.unflatten(0, (case.N, -1)).sum(-1) - log_area(case.DIM)

        loss = self.objective(self.prior(predictor), encoder, Predicted())(x)
        z, h = self.pairs(networks, x)
        info_nce = F.cross_entropy(self.KAPPA * z @ h.T, torch.arange(len(z)))
        expected = (self.STEPS - 1) * (info_nce - math.log(len(z)))
        assert_same(loss, expected, [*encoder.parameters(), *predictor.parameters()])

    def published(self, networks, x):
        """Eq. 4: each context's own next step among all M candidates."""
        z, h = self.pairs(networks, x)
        return F.cross_entropy(self.KAPPA * h @ z.T, torch.arange(len(z)))

    def test_candidates_of_a_context(self, networks, x):
        """CPC as published: the predictor's density is relative to R, and normalised over the batch."""
        encoder, predictor = networks
        series, case = self.prior(predictor), self

        class Relative(PyroModule):
            def __init__(self):
                super().__init__()
                self.series = series

            def forward(self, x):
                with pyro.plate("batch", len(x)):
                    z = pyro.sample("z", self.series.distribution(x))
                    h = Normalize()(case.predict(predictor, z))[:, 1:].flatten(0, 1)
                    critic = ldm.distributions.VonMisesFisher(h.unsqueeze(1), torch.tensor(case.KAPPA))
                    normaliser = critic.log_prob(z[:, 1:].flatten(0, 1)).logsumexp(-1) - math.log(len(h))
                    pyro.factor("relative", -normaliser.unflatten(0, (case.N, -1)).sum(-1))

        loss = self.objective(Relative(), encoder, Zero())(x)
        expected = (self.STEPS - 1) * (self.published(networks, x) - math.log(self.N * (self.STEPS - 1)))
        expected = expected + log_area(self.DIM)  # the first step, uniform
        assert_same(loss, expected, [*encoder.parameters(), *predictor.parameters()])

    def among_targets(self, networks, x):
        """The predictor as prior, written as a cross-entropy over the same M candidates."""
        z, h = self.pairs(networks, x)
        return (self.KAPPA * (z @ z.T)).logsumexp(-1).mean() - self.KAPPA * (z * h).sum(-1).mean()

    def test_they_are_not_the_same(self, networks, x):
        parameters = [*networks[0].parameters(), *networks[1].parameters()]
        losses = self.published(networks, x), self.among_targets(networks, x)
        assert (losses[0] - losses[1]).abs() > 0.05
        ours, theirs = (torch.cat([g.flatten() for g in torch.autograd.grad(v, parameters)]) for v in losses)
        assert (ours - theirs).norm() > 0.05 * theirs.norm()

    def test_under_perfect_prediction_they_are_equal_in_value(self):
        turn = nn.Linear(self.DIM, self.DIM, bias=False)
        turn.weight.data = torch.linalg.qr(torch.randn(self.DIM, self.DIM)).Q
        x = [torch.randn(self.N, self.DIM)]
        for _ in range(self.STEPS - 1):
            x.append(turn(x[-1]))
        networks, x = (nn.Identity(), turn), torch.stack(x, 1).detach()
        torch.testing.assert_close(self.published(networks, x), self.among_targets(networks, x))

    def test_where_targets_fill_the_sphere_every_denominator_is_one_constant(self):
        """mean over z of exp(kappa z . c) = 1 / (area C(kappa)) for any unit vector c, a context or a target: at
        M = 100 000 its relative standard error is 0.005."""
        z, c = (F.normalize(torch.randn(m, self.DIM), dim=-1) for m in (100_000, 50))
        log_mean = (self.KAPPA * c @ z.T).logsumexp(-1) - math.log(len(z))
        limit = -log_area(self.DIM) - log_von_mises_fisher_constant(self.DIM, self.KAPPA)
        assert (log_mean - limit).abs().max() < 0.025


class TestJEPA:
    """LeCun (2022), https://openreview.net/forum?id=BZ5a1r-kVsf, section 4.4: the squared error of a latent predicted
    from the one before it and an action; collapse avoided by a target that no gradient goes through."""

    def test_squared_error_of_the_prediction(self):
        dim, noise, x, actions = 3, 0.4, torch.randn(6, 5, 4), torch.randn(6, 5, 2)
        encoder, predictor = nn.Linear(4, dim), ldm.encoders.LastSteps(dim + 2, dim, hidden=[8])
        prior = ldm.stop_gradient(ldm.priors.Autoregressive(dim, predictor, noise=noise), sites=["z"])
        objective = ldm.Objective(prior, ldm.guides.Deterministic(encoder, Zero()))
        loss = objective(x, actions)

        published = 0.0
        for t in range(5):
            before = encoder(x[:, t - 1]) if t else torch.zeros(6, dim)
            predicted = predictor.mlp(torch.cat([before, actions[:, t]], -1))
            scale = noise if t else 1.0
            published = published + (predicted - encoder(x[:, t]).detach()).square().sum(-1).mean() / (2 * scale**2)
        constant = 5 * dim * 0.5 * math.log(2 * math.pi) + 4 * dim * math.log(noise)
        assert_same(loss, published + constant, [*encoder.parameters(), *predictor.parameters()])
        assert objective.terms(x, actions).divergence == "score"
