"""ICA as scikit-learn has estimators: what goes in is checked and whitened, what comes out has its names."""

import copy
import warnings
from collections.abc import Callable
from numbers import Integral, Real

import numpy as np
import pyro
import torch
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor

from pyro_ldm.ica.likelihood import Likelihood
from pyro_ldm.ica.minimise import minimise
from pyro_ldm.priors import Laplace, Sources

THINNING, ROWS_PER_SOURCE, NEAR = 8, 50, 0.3


class ICA(ClassNamePrefixFeaturesOutMixin, TransformerMixin, BaseEstimator):
    r"""Linear independent component analysis under a prior of one's own, by exact maximum likelihood.

    .. math:: \min_{W, b} \; -\mathbb{E}_x[\log P(W x + b)] - \log |\det W|

    This is the stock ELBO of ``Objective(prior, Invertible(nn.Linear(K, K)))`` on the centred and PCA-whitened data,
    minimised by preconditioned L-BFGS on all data. Hyperparameters of the prior that are learned (``nn.Parameter``) are
    fitted with W and b; Bayesian ones (distributions) likewise, their log-density counting once for all data: a
    posterior mode. The bias b puts the prior's origin where skewed sources want it.

    The prior says what a source looks like, and that is what is found: Laplace sources are heavy-tailed; of flat-topped
    ones it sees nothing. Where both may be there, learn the exponent: ``priors.GeneralizedGaussian`` with ``power=
    nn.Parameter(...)``. A Gaussian prior leaves W open up to a rotation.

    Args:
        n_components: Number of sources K; the leading principal components are kept. All columns if None.
        prior: Independent sources: an instance of :class:`~pyro_ldm.priors.Sources` of latent_dim K, or its class, or
            any function of K that returns one. It is copied. ``priors.Laplace`` if None.
        max_iter: Largest number of L-BFGS iterations.
        tol: Nats per datum: the fit ends when half the Newton decrement, the decrease still to be had, falls below. The
            statistical uncertainty of the loss is about K^2 / 2N. The fit also ends where no step lowers the loss any
            more, as happens between the kinks of a Laplace density.
        random_state: Seed of the random rotation it starts from.

    Attributes:
        components_: Unmixing matrix, (K, M), sources per unit of x: W times ``whitening_``. What ``transform``
            returns is ``(X - mean_) @ components_.T + bias_``, of the prior's scale, not of unit variance.
        bias_: b, (K,), in units of the sources.
        mixing_: Its pseudo-inverse, (M, K).
        mean_: Mean of each column, (M,).
        whitening_: PCA whitening, (K, M), of ``X - mean_``.
        prior_: The fitted copy of the prior; what was learned is at its optimum, what was Bayesian at its mode.
        loss_: The ELBO's loss on the whitened data, nats per datum: their exact negative log-likelihood, less the
            log-density of Bayesian hyperparameters / N. For K = M, add -log |det whitening_| for that of the raw data.
        n_iter_: Iterations run on all data; where there are plenty, the fit starts from that of every 8th row.
        n_features_in_: M.

    Shape:
        X (N, M), N > M, to sources (N, K).

    Raises:
        ValueError: If X is not a finite matrix of rank at least n_components with N > M, or the prior is not one of K
            independent sources on the whole real line.

    References:
        Ablin, Cardoso and Gramfort (2018), Faster independent component analysis by preconditioning with Hessian
        approximations, https://arxiv.org/abs/1706.08171, section III. Here steps go along the exponential map, any
        density serves, and the slope of its score is a central difference, which exists for kinked densities too.

        Pham and Garat (1997), Blind separation of mixture of independent sources through a quasi-maximum likelihood
        approach, https://doi.org/10.1109/78.599941 (the likelihood).

    Example:
        >>> data = ldm.datasets.sources(num_sources=3)
        >>> ica = ICA(prior=ldm.priors.Laplace, random_state=0).fit(data.x)
        >>> ldm.diagnostics.amari_distance(ica.components_, data.mixing.T) < 0.03
        True
    """

    def __init__(
        self,
        n_components: int | None = None,
        *,
        prior: Sources | Callable[[int], Sources] | None = None,
        max_iter: int = 500,
        tol: float = 1e-7,
        random_state: int | np.random.RandomState | None = None,
    ):
        self.n_components = n_components
        self.prior = prior
        self.max_iter = max_iter
        self.tol = tol
        self.random_state = random_state

    def fit(self, X, y=None) -> "ICA":
        """Fit the unmixing matrix, and what the prior leaves open, to X (N, M)."""
        for name, kind, least in (("max_iter", Integral, 1), ("tol", Real, 0)):
            value = getattr(self, name)
            if not isinstance(value, kind) or value < least:
                noun = "an integer" if kind is Integral else "a number"
                raise ValueError(f"{name} must be {noun} >= {least}, got {value!r}")
        X = self._validated(X, reset=True)
        self.mean_ = X.mean(axis=0)
        self.mean_ += (X - self.mean_).mean(axis=0)  # what rounding left, which would let constant columns vary
        rows = torch.from_numpy(X - self.mean_)
        whitening = _whitening(rows, self.n_components, largest=float(np.abs(X).max()))
        latent_dim = len(whitening)
        self.prior_ = _instance(self.prior, latent_dim)
        start = check_random_state(self.random_state).standard_normal((latent_dim, latent_dim))
        with pyro.validation_enabled(False), torch.enable_grad():
            likelihood = Likelihood(rows @ whitening.T, self.prior_)
            point = likelihood.start(torch.linalg.qr(torch.from_numpy(start))[0])
            if len(X) >= THINNING * ROWS_PER_SOURCE * latent_dim:
                # The long way is cheap on few of the rows; what is left is as short as these are uncertain.
                thinned = likelihood.thinned(THINNING)
                near = max(self.tol, NEAR * thinned.uncertainty)
                point, *_ = minimise(thinned, point, max_iter=self.max_iter, tol=near)
            point, self.loss_, self.n_iter_, converged = minimise(
                likelihood, point, max_iter=self.max_iter, tol=self.tol
            )
            likelihood.set(point.theta)
        if not converged:
            message = f"ICA has not converged in {self.max_iter} iterations: raise max_iter or tol"
            warnings.warn(message, ConvergenceWarning, stacklevel=2)
        self.whitening_ = whitening.numpy()
        self.components_ = (point.unmixing @ whitening).numpy()
        self.bias_ = point.bias.numpy()
        self.mixing_ = np.linalg.pinv(self.components_)
        return self

    def transform(self, X) -> np.ndarray:
        """Sources (N, K) of X (N, M)."""
        check_is_fitted(self)
        return (self._validated(X) - self.mean_) @ self.components_.T + self.bias_

    def inverse_transform(self, X) -> np.ndarray:
        """Data (N, M) of sources X (N, K); exact on what transform returned, if K = M."""
        check_is_fitted(self)
        X = np.asarray(X, dtype=np.float64)
        if X.ndim != 2 or X.shape[1] != len(self.components_):
            raise ValueError(f"sources of shape {X.shape}, where (N, {len(self.components_)}) is wanted")
        return (X - self.bias_) @ self.mixing_.T + self.mean_

    @property
    def _n_features_out(self) -> int:
        return len(self.components_)

    def _validated(self, X, *, reset: bool = False) -> np.ndarray:
        X = validate_data(
            self, X, reset=reset, dtype=np.float64, ensure_all_finite=False, ensure_min_samples=2 if reset else 1
        )
        bad = ~np.isfinite(X).all(axis=1)
        if bad.any():
            raise ValueError(
                f"X contains NaN or infinity in {bad.sum()} of {len(X)} rows (first: row {bad.argmax()}): "
                "drop or impute them"
            )
        return X


def _whitening(rows: Tensor, n_components: int | None, *, largest: float) -> Tensor:
    """PCA whitening (K, M) of centred rows (N, M)."""
    num, columns = rows.shape
    if num < columns + 1:
        raise ValueError(
            f"X has {num} samples (rows) of {columns} features (columns), and ICA needs more rows than columns: "
            "give more data, or reduce the columns first, as by sklearn.decomposition.PCA"
        )
    wanted = columns if n_components is None else n_components
    if not isinstance(wanted, Integral) or not 1 <= wanted <= columns:
        raise ValueError(
            f"n_components must be None or an integer from 1 to the {columns} columns of X, got {wanted!r}"
        )
    # By QR, not by the covariance, which would square the ratio of the largest to the smallest direction.
    _, singular, directions = torch.linalg.svd(torch.linalg.qr(rows, mode="r")[1])
    eps = torch.finfo(rows.dtype).eps
    noise = eps * max(num * float(singular[0]), 10 * num**0.5 * largest)
    rank = int((singular > noise).sum())
    if rank < wanted:
        constant = (rows.abs().amax(0) <= 10 * eps * largest).nonzero().flatten().tolist()
        raise ValueError(
            f"X has {rank} linearly independent columns, fewer than the {wanted} components wanted"
            + (f" (constant: column {', '.join(map(str, constant))})" if constant else "")
            + (f": pass n_components={rank}, or drop the redundant columns" if rank else ": nothing varies")
        )
    # The sign of a singular vector is arbitrary; its largest entry is made positive.
    signs = directions.gather(1, directions.abs().argmax(1, keepdim=True)).sign()
    return ((num**0.5 / singular).unsqueeze(-1) * directions * signs)[:wanted]


def _instance(prior: Sources | Callable[[int], Sources] | None, latent_dim: int) -> Sources:
    """A copy of the prior, in double precision."""
    prior = Laplace if prior is None else prior
    if not isinstance(prior, torch.nn.Module):
        if not callable(prior):
            raise ValueError(f"prior must be a prior of independent sources, or its class, got {prior!r}")
        prior = prior(latent_dim)
    if not isinstance(prior, Sources):
        raise ValueError(
            f"ICA needs independent sources, a prior derived from priors.Sources, and got {type(prior).__name__}: "
            "for any other prior use Objective with guides.Invertible"
        )
    if prior.latent_dim != latent_dim:
        raise ValueError(
            f"the prior has latent_dim {prior.latent_dim}, and there are {latent_dim} components: make them agree, "
            "or pass the prior's class"
        )
    return copy.deepcopy(prior).double()
