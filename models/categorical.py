r"""Categories: the ten digits found without labels, from pairs of different images of one digit.

Prior:    k uniform over K categories;  k' = k with probability p, else any other          what is assumed of a pair
Entropy:  Joint(Mixture())                             of the pair of categories, exact for the batch: the LDM objective

    KL( R(k, k') || P(k, k') )  =  sum_kk' R(k, k') [ log R(k, k') - log P(k, k') ],
    R(k, k')  =  mean_i q(k | x_i) q(k' | x'_i),   q a softmax encoder

The pairs are enumerated, by Pyro's TraceEnum_ELBO: no sampling noise. `Separate(Mixture())` in place of
`Joint(Mixture())` adds the mutual information I(k; k').

From the start p = .992 leaves categories unused or shared; so p grows from .3 over most of the steps. A run that gets
stuck all the same shows it, by a KL above 0.1 nats, and is begun anew. Labels make the pairs, and score the result: the
accuracy is that of the best matching of categories to digits.
"""

import torch
from pyro.infer import TraceEnum_ELBO
from pytorch_lightning import Callback
from scipy.optimize import linear_sum_assignment

import pyro_ldm as ldm


class WarmUp(Callback):
    """Let the probability to stay grow, linearly, over a share of all steps."""

    def __init__(self, prior: ldm.priors.CategoricalViews, start: float = 0.3, end: float = 0.992, share: float = 0.7):
        self.prior, self.start, self.end, self.share = prior, start, end, share

    def on_train_batch_start(self, trainer, pl_module, batch, batch_idx) -> None:
        """Set it for this step."""
        done = trainer.global_step / (self.share * trainer.estimated_stepping_batches)
        self.prior.set_stay(self.start + (self.end - self.start) * min(1.0, done))


def same_class(data: ldm.datasets.Data):
    """From row numbers to these images, and for each another one of its class."""
    order, count = data.y.argsort(), data.y.bincount()
    place, first = order.argsort(), count.cumsum(0) - count

    def views(rows: torch.Tensor) -> tuple[torch.Tensor, torch.Tensor]:
        own = rows.cpu()
        start, size = first[data.y[own]], count[data.y[own]]
        shift = 1 + (torch.rand(len(own)) * (size - 1)).long()
        return data.x[own].to(rows.device), data.x[order[start + (place[own] - start + shift) % size]].to(rows.device)

    return views


def matched(found: torch.Tensor, labels: torch.Tensor) -> float:
    """Share of the data in the category of their label, under the best matching of the two."""
    table = torch.bincount(10 * labels + found, minlength=100).reshape(10, 10)
    return float(table[linear_sum_assignment(table, maximize=True)].sum() / len(found))


def main(epochs: int = 40, attempts: int = 5, seed: int = 0) -> dict[str, float]:
    """Learn on training digits, match categories to digits on test digits, print."""
    train, test = ldm.datasets.digits().split()
    rows, views, elbo = torch.arange(len(train)), same_class(train), TraceEnum_ELBO(max_plate_nesting=1)
    for attempt in range(attempts):
        torch.manual_seed(start := seed + 1000 * attempt)
        prior, guide = ldm.priors.CategoricalViews(10), ldm.guides.Categorical(ldm.encoders.MLP(64, 10), 10)
        warm_up = (WarmUp(prior),)
        fit = ldm.fit(prior, guide, rows, views=views, elbo=elbo, epochs=epochs, seed=start, callbacks=warm_up)
        if fit.terms.kl < 0.1:
            break
        print(f"attempt {attempt + 1} is stuck at a KL of {fit.terms.kl:.2f} nats")
    accuracy = matched(ldm.training.latents(guide, test).argmax(-1), test.y)
    print("{4} {2:.3f} = -({0:.2f} alignment + {1:.2f} uniformity), nats per pair".format(*fit.terms))
    print(f"{accuracy:.3f} of {len(test)} test digits in the category matched to them")
    return {"kl": fit.terms.kl, "accuracy": accuracy, "attempts": attempt + 1.0}


if __name__ == "__main__":
    main()
