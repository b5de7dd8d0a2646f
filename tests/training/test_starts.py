"""The multi-start: a start that diverges is lost, a fit whose starts all diverge fails."""

import math

import pytest
import torch

import pyro_ldm as ldm
from pyro_ldm.entropy import LogDet


class Diverges(torch.nn.Linear):
    """A layer whose parameters, once drawn anew, give NaN; or the other way round."""

    def __init__(self, first: bool, others: bool):
        self.others = others
        super().__init__(6, 2)
        self.register_buffer("factor", torch.tensor(1e300 if first else 1.0))

    def reset_parameters(self):
        super().reset_parameters()
        if hasattr(self, "factor"):
            self.factor.fill_(1e300 if self.others else 1.0)

    def forward(self, x):
        # Finite in evaluation, in which the objective is first called.
        return super().forward(x) * (self.factor**2 if self.training else 1.0)


def fit(first, others):
    guide = ldm.guides.Deterministic(Diverges(first, others), LogDet())
    x = torch.randn(200, 6)
    return ldm.fit(ldm.priors.Gaussian(2), guide, x, epochs=1, starts=3, batch_size=50, lr=0.03, progress=False)


@pytest.mark.parametrize(("first", "others"), [(True, False), (False, True)])
def test_a_diverged_start_is_left_behind(first, others):
    result = fit(first, others)
    assert [math.isinf(loss) for loss in result.starts] == [first, others, others]
    assert math.isfinite(result.terms.kl)


def test_all_diverged():
    with pytest.raises(ValueError, match="learning rate"):
        fit(True, True)


def test_starts_of_a_vae_are_judged_by_its_whole_loss():
    """Data about 100 under a decoder that starts about 0: the squared error is nearly all of it."""
    model = ldm.baselines.Generative(ldm.priors.Gaussian(2), torch.nn.Linear(2, 3), ldm.baselines.Gaussian(1.0))
    guide = ldm.guides.Gaussian(torch.nn.Linear(3, 4), ldm.entropy.Conditional())
    x = 100 + torch.randn(100, 3)
    result = ldm.fit(model, guide, x, epochs=1, starts=2, batch_size=50, lr=1e-4, progress=False)
    assert min(result.starts) > -0.5 * result.terms.reconstruction > 1000


def test_other_starts_are_from_other_parameters_and_of_the_seed_alone():
    def starts(seed):
        torch.manual_seed(0)
        guide = ldm.guides.Deterministic(torch.nn.Linear(6, 2), LogDet())
        settings = {"epochs": 1, "starts": 3, "batch_size": 50, "progress": False, "seed": seed}
        return ldm.fit(ldm.priors.Gaussian(2), guide, x, **settings).starts

    x = torch.randn(200, 6)
    assert len(set(starts(0))) == 3 and starts(0) == starts(0) != starts(1)
