r"""Linear ICA as a scikit-learn estimator: the stock ELBO of a linear invertible encoder, minimised without handlers.

.. math:: \mathcal L(W, b) = -\frac{1}{N} \sum_{i=1}^N \sum_{d=1}^D \log p_d(z_{id}) - \log |\det W| = -\mathrm{ELBO},
    \qquad z_i = W x_i + b

Steps are relative, :math:`W \leftarrow e^E W`. With the scores :math:`\psi_d = -(\log p_d)'`, which autograd takes from
any prior, and y = W x,

.. math:: \frac{\partial \mathcal L}{\partial E} = \mathbb{E}[\psi(z) y^\top] - I, \qquad
    \frac{\partial^2 \mathcal L}{\partial E_{ij} \partial E_{kl}} \approx \delta_{ik} \delta_{jl} \,
    \mathbb{E}[\psi_i'(z_i)] \, \mathbb{E}[y_j^2] + \delta_{il} \delta_{jk}

The approximation is exact for independent z, falls apart into 2 x 2 blocks, and starts every L-BFGS direction.
"""

from pyro_ldm.ica.estimator import ICA

__all__ = ["ICA"]
