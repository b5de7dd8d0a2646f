r"""Linear ICA: unmix independent sources, through the stock ELBO and by the estimator made for it.

Prior:    z_d ~ Laplace(0, 1), independent              what is assumed of a source: swap it, nothing else
Entropy:  Jacobian()                                    of a square linear encoder, z = W x + b: exact

    -ELBO(W, b)  =  -E[log P(W x + b)]  -  log |det W|  =  -E[log p(x)]
                       alignment          uniformity       the negative log-likelihood of x, whitened here

Every way is scored by the Amari distance of its W from the true mixing: 0 is perfect, 1 is nothing learned.
"""

import torch
from sklearn.decomposition import FastICA

import pyro_ldm as ldm


def main(num_sources: int = 6, num: int = 10_000, max_iter: int = 300, seed: int = 0) -> dict[str, float]:
    """Unmix the same data in three ways, print a table, return the Amari distances and two losses."""
    data = ldm.datasets.sources(num_sources=num_sources, num=num, seed=seed)

    # Through the stock ELBO: any prior, any square encoder, any torch optimizer.
    torch.manual_seed(seed)
    whiten = torch.linalg.inv(torch.linalg.cholesky(data.x.T.cov(correction=0)))
    x = (data.x - data.x.mean(0)) @ whiten.T
    prior = ldm.priors.Laplace(num_sources)
    encoder = torch.nn.Linear(num_sources, num_sources, dtype=x.dtype)
    torch.nn.init.orthogonal_(encoder.weight)
    loss = ldm.Objective(prior, ldm.guides.Invertible(encoder))
    optimizer = torch.optim.LBFGS(loss.parameters(), max_iter=max_iter, line_search_fn="strong_wolfe")

    def closure() -> torch.Tensor:
        optimizer.zero_grad()
        value = loss(x)
        value.backward()
        return value

    optimizer.step(closure)
    elbo = loss(x).item()

    # The same objective, solved by the estimator; and the usual one beside it.
    ica = ldm.ICA(prior=ldm.priors.Laplace, random_state=seed).fit(data.x)
    fastica = FastICA(random_state=seed).fit(data.x)

    unmixing = {
        "stock ELBO, torch L-BFGS": (encoder.weight.detach() @ whiten),
        "ldm.ICA": ica.components_,
        "FastICA": fastica.components_,
    }
    result = {name: ldm.diagnostics.amari_distance(matrix, data.mixing.T) for name, matrix in unmixing.items()}
    print(f"{num_sources} Laplace sources, {num} samples: Amari distance")
    for name, distance in result.items():
        print(f"{name:26} {distance:.4f}")
    print(f"loss, nats per datum: {elbo:.4f} by torch, {ica.loss_:.4f} by ldm.ICA")
    return result | {"loss: stock ELBO": elbo, "loss: ldm.ICA": ica.loss_}


if __name__ == "__main__":
    main()
