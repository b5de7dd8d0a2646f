"""What relates VAEs, probabilistic PCA and latent distribution matching, exactly, in linear-Gaussian worlds."""

import math

import pyro
import pyro.distributions as dist
import pytest
import torch

import pyro_ldm as ldm
from pyro_ldm import baselines
from pyro_ldm.entropy import Conditional

COVARIANCE = torch.tensor([[2.0, 0.6, 0.1], [0.6, 1.0, -0.3], [0.1, -0.3, 0.7]], dtype=torch.float64)
ENCODER, NOISE = torch.tensor([0.7, -0.4, 0.3], dtype=torch.float64), 0.55


def exact_sample(covariance, num):
    """Rows whose mean is 0 and whose covariance is just that, so that averages of quadratics are expectations."""
    x = torch.randn(num, len(covariance))
    x = x - x.mean(0)
    x = x @ torch.linalg.inv(torch.linalg.cholesky(x.T @ x / num)).T
    return x @ torch.linalg.cholesky(covariance).T


class World:
    """x ~ N(0, S), q(z | x) = N(a x, s^2), as data with exact moments: x beside the noise of q."""

    def __init__(self, num=500):
        joint = torch.block_diag(COVARIANCE, torch.eye(1))
        rows = exact_sample(joint, num)
        self.x, self.noise = rows[:, :3], rows[:, 3:]
        self.var_z = ENCODER @ COVARIANCE @ ENCODER + NOISE**2
        self.kl = float(0.5 * (self.var_z - 1 - self.var_z.log()))  # KL(R || P), R = N(0, var_z)
        self.entropy_x = float(0.5 * torch.logdet(2 * math.pi * math.e * COVARIANCE))
        # R(x | z) is Gaussian: the best decoder.
        self.best_weight = COVARIANCE @ ENCODER / self.var_z
        self.best_covariance = COVARIANCE - torch.outer(self.best_weight, self.best_weight) * self.var_z

    def elbo(self, decoder, likelihood):
        world = self

        class Fixed(dist.Normal):
            def rsample(self, sample_shape=()):
                return self.loc + self.scale * world.noise

        def guide(x):
            with pyro.plate("batch", len(x)):
                q = Fixed((x @ ENCODER).unsqueeze(-1), torch.full((len(x), 1), NOISE)).to_event(1)
                pyro.sample("z", ldm.Pushforward(q, Conditional()))

        model = baselines.Generative(ldm.priors.Gaussian(1), decoder, likelihood)
        objective = ldm.Objective(model, guide)
        assert objective.terms(self.x).objective == "-ELBO"
        return -float(objective(self.x))


def linear(weight):
    return lambda z: z * weight


@torch.no_grad()
def test_the_best_decoder_reaches_minus_kl_minus_the_data_s_entropy():
    world = World()
    best = world.elbo(linear(world.best_weight), lambda output: dist.MultivariateNormal(output, world.best_covariance))
    assert best == pytest.approx(-world.kl - world.entropy_x, abs=1e-9)


@torch.no_grad()
def test_any_other_decoder_stays_below_by_its_own_divergence():
    """The gap is E_R KL(R(x | z) || p(x | z))."""
    world = World()
    envelope = -world.kl - world.entropy_x
    for _ in range(20):
        weight, factor = world.best_weight + 0.3 * torch.randn(3), torch.randn(3, 3)
        covariance = factor @ factor.T + 0.1 * torch.eye(3)
        elbo = world.elbo(linear(weight), lambda out, c=covariance: dist.MultivariateNormal(out, c))
        shift = (weight - world.best_weight) * world.var_z.sqrt()
        gap = 0.5 * (
            torch.trace(torch.linalg.solve(covariance, world.best_covariance + torch.outer(shift, shift)))
            - 3
            + torch.logdet(covariance)
            - torch.logdet(world.best_covariance)
        )
        assert elbo == pytest.approx(envelope - float(gap), abs=1e-9) and elbo < envelope
    for _ in range(10):  # and decoders of another kind
        pyro.set_rng_seed(_)
        decoder = baselines.MLPDecoder(1, (3,), hidden=[16])
        assert world.elbo(decoder, baselines.Gaussian(0.8)) < envelope


def test_a_trained_decoder_comes_up_to_the_envelope_from_below():
    world = World(num=2000)
    decoder, likelihood = torch.nn.Linear(1, 3), baselines.Gaussian(torch.nn.Parameter(torch.ones(3)))
    with torch.no_grad():
        before = world.elbo(decoder, likelihood)
    optimizer = torch.optim.Adam([*decoder.parameters(), *likelihood.parameters()], lr=0.05)
    z = (world.x @ ENCODER).unsqueeze(-1) + NOISE * world.noise
    for _ in range(300):
        optimizer.zero_grad()
        (-likelihood(decoder(z)).log_prob(world.x).sum(-1).mean()).backward()
        optimizer.step()
    with torch.no_grad():
        after = world.elbo(decoder, likelihood)
    # Its noise is independent over the numbers of x, and the best decoder's is not: this much it cannot reach.
    short = 0.5 * (world.best_covariance.diagonal().log().sum() - torch.logdet(world.best_covariance))
    assert before < after - 1.0
    assert after == pytest.approx(-world.kl - world.entropy_x - float(short), abs=1e-3)


@pytest.mark.slow
def test_a_linear_vae_is_probabilistic_pca():
    """Tipping and Bishop (1999): the evidence at the optimum, which scikit-learn knows, and its subspace."""
    from sklearn.decomposition import PCA

    basis, _ = torch.linalg.qr(torch.randn(6, 2))
    x = torch.randn(1000, 2) * torch.tensor([2.0, 1.2]) @ basis.T + 0.5 * torch.randn(1000, 6) + 1.0
    pca = PCA(2).fit(x.numpy())

    class Encoder(torch.nn.Module):
        """Linear means, one scale for all data, as the posterior has."""

        def __init__(self):
            super().__init__()
            self.loc, self.scale = torch.nn.Linear(6, 2), torch.nn.Parameter(torch.zeros(2))

        def forward(self, x):
            return torch.cat([self.loc(x), self.scale.expand(len(x), 2)], -1)

    decoder = torch.nn.Linear(2, 6)
    likelihood = baselines.Gaussian()
    model = baselines.Generative(ldm.priors.Gaussian(2), decoder, likelihood)
    guide = ldm.guides.Gaussian(Encoder(), Conditional())
    objective = ldm.Objective(model, guide)
    objective(x)
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.03)
    schedule = torch.optim.lr_scheduler.ExponentialLR(optimizer, 0.996)
    for _ in range(1200):
        optimizer.zero_grad()
        objective(x).backward()
        optimizer.step()
        schedule.step()
    weight, bias = decoder.weight.detach(), decoder.bias.detach()
    covariance = weight @ weight.T + float(likelihood.log_scale.detach().exp()) ** 2 * torch.eye(6)
    evidence = float(dist.MultivariateNormal(bias, covariance).log_prob(x).mean())
    known = float(pca.score(x.numpy()))
    assert evidence == pytest.approx(known, abs=1e-2)
    # The optimal posterior is Gaussian with a diagonal covariance, so that the ELBO reaches the evidence too.
    assert baselines.iwae_bound(model, guide, x, num_particles=1).nats == pytest.approx(known, abs=3e-2)
    q, _ = torch.linalg.qr(weight)
    cosines = torch.linalg.svdvals(q.T @ torch.as_tensor(pca.components_.T))
    assert float(cosines.min()) > math.cos(math.radians(2.0))
