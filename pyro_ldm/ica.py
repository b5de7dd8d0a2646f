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

import copy
import warnings
from collections.abc import Callable, Sequence
from numbers import Integral, Real
from typing import Any, NamedTuple

import numpy as np
import pyro
import torch
from pyro import poutine
from pyro.infer.autoguide.initialization import init_to_median
from pyro.nn import PyroParam
from sklearn.base import BaseEstimator, ClassNamePrefixFeaturesOutMixin, TransformerMixin
from sklearn.exceptions import ConvergenceWarning
from sklearn.utils import check_random_state
from sklearn.utils.validation import check_is_fitted, validate_data
from torch import Tensor
from torch.nn.utils import parameters_to_vector, vector_to_parameters

from pyro_ldm.priors import Laplace, Sources

CHUNK = 4096  # rows per pass: what one pass writes stays in the cache, 1.5 x as fast as all rows at once
CURVATURE_ROWS = 2048  # a preconditioner need not be more precise
SMALLEST_CURVATURE = 0.01
LARGEST_STEP = 0.5
MEMORY = 7
HALVINGS = 12
KINKS = 0.02  # share of the loss's uncertainty; the kinks of a density hide one of about 5 K / N
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
            likelihood = _Likelihood(rows @ whitening.T, self.prior_)
            point = likelihood.start(torch.linalg.qr(torch.from_numpy(start))[0])
            if len(X) >= THINNING * ROWS_PER_SOURCE * latent_dim:
                # The long way is cheap on few of the rows; what is left is as short as these are uncertain.
                thinned = likelihood.thinned(THINNING)
                near = max(self.tol, NEAR * thinned.uncertainty)
                point, *_ = _minimise(thinned, point, max_iter=self.max_iter, tol=near)
            point, self.loss_, self.n_iter_, converged = _minimise(
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


class _Point(NamedTuple):
    """Unmixing W (D, D) and bias b (D,) of z = W x + b, and the prior's unconstrained hyperparameters in one vector."""

    unmixing: Tensor
    bias: Tensor
    theta: Tensor

    def move(self, step: Tensor) -> "_Point":
        """The point at a step: E, then b in standard deviations of the sources, then theta, in one vector."""
        relative, bias, theta = step.split([self.unmixing.numel(), len(self.bias), len(self.theta)])
        unmixing = torch.linalg.matrix_exp(relative.view_as(self.unmixing)) @ self.unmixing
        return _Point(unmixing, self.bias + self.scale() * bias, self.theta + theta)

    def scale(self) -> Tensor:
        """Standard deviation of each source, x being white."""
        return torch.linalg.vector_norm(self.unmixing, dim=1)

    def encode(self, x: Tensor) -> Tensor:
        """Sources of rows x."""
        return torch.addmm(self.bias, x, self.unmixing.T)


class _Likelihood:
    """Loss and derivatives of whitened rows x (N, D) under a prior, whose hyperparameters it moves."""

    def __init__(self, x: Tensor, prior: Sources):
        self.x, self.prior = x, prior
        # In a scope of its own, as what is read in a call of the prior would be stored globally.
        with pyro.get_param_store().scope(), torch.random.fork_rng(devices=[]), torch.no_grad():
            torch.random.default_generator.manual_seed(0)
            trace = poutine.trace(poutine.block(prior, hide=["batch", "z"])).get_trace(range(1))
            self.hyperpriors: dict[str, Any] = {
                name: site["fn"] for name, site in trace.nodes.items() if site["type"] == "sample"
            }
            for name, fn in self.hyperpriors.items():
                setattr(
                    prior,
                    name,
                    PyroParam(init_to_median(trace.nodes[name], num_samples=101).double(), constraint=fn.support),
                )
        self.params = [param for param in prior.parameters() if param.requires_grad]

    def thinned(self, stride: int) -> "_Likelihood":
        """The same of every so many rows."""
        other = copy.copy(self)
        other.x = self.x[::stride].contiguous()
        return other

    @property
    def few(self) -> Tensor:
        """Rows enough for a preconditioner."""
        return self.x[:: max(1, len(self.x) // CURVATURE_ROWS)]

    @property
    def uncertainty(self) -> float:
        """Of the least loss, nats per datum: half a squared standard error for each entry of W."""
        return self.x.shape[1] ** 2 / (2 * len(self.x))

    def set(self, theta: Tensor) -> None:
        """Write the hyperparameters into the prior."""
        vector_to_parameters(theta, self.params)

    def __call__(self, point: _Point) -> tuple[float, Tensor]:
        """Loss, nats per datum, and its gradient with respect to a step, one vector."""
        energy, gradient = self._energy(self.x, point)
        size, dim = point.unmixing.numel(), len(point.bias)
        gradient[: size : dim + 1] -= 1  # the diagonal: the volume grows by the trace of E
        return energy - float(torch.linalg.slogdet(point.unmixing).logabsdet), gradient

    def _energy(self, x: Tensor, point: _Point) -> tuple[float, Tensor]:
        r""":math:`-\mathbb{E} \log P(z) - \tfrac{1}{N} \log P(\theta)`, and its gradient."""
        self.set(point.theta)
        source = self.prior.source()
        energy = 0.0
        by_step, by_bias, by_theta = (torch.zeros_like(part) for part in point)
        for rows in x.split(CHUNK):
            z = point.encode(rows).requires_grad_()
            total = -source.log_prob(z).sum()
            score, *rest = torch.autograd.grad(
                total, [z, *self.params], retain_graph=bool(self.params), materialize_grads=True
            )
            energy += total.item() / len(x)
            by_step.addmm_(score.T, z.detach() - point.bias, alpha=1 / len(x))
            by_bias += score.sum(0) / len(x)
            by_theta += self._flat(rest) / len(x)
        if self.hyperpriors:
            densities = [fn.log_prob(getattr(self.prior, name)).sum() for name, fn in self.hyperpriors.items()]
            total = -torch.stack(densities).sum()
            energy += total.item() / len(self.x)
            if total.requires_grad:  # a uniform hyperprior's does not: it only bounds
                by_theta += self._flat(torch.autograd.grad(total, self.params, materialize_grads=True)) / len(self.x)
        return energy, torch.cat([by_step.flatten(), point.scale() * by_bias, by_theta])

    def _flat(self, tensors: Sequence[Tensor]) -> Tensor:
        return parameters_to_vector(tensors).detach() if tensors else self.x.new_zeros(0)

    def curvature(self, point: _Point) -> Callable[[Tensor], Tensor]:
        """The approximate Hessian's inverse at a point, as a function of a vector like the gradient."""
        self.set(point.theta)
        z = point.encode(self.few)
        scale = point.scale()
        width = scale * len(z) ** -0.2
        slope = (self._score(z + width) - self._score(z - width)) / (2 * width)
        off = slope.mean(0).unsqueeze(-1) * scale.square()
        # Blocks ((a, 1), (1, b)); what is not clearly positive is shifted until it is.
        smallest = (off + off.T - ((off - off.T).square() + 4).sqrt()) / 2
        off = off + (SMALLEST_CURVATURE - smallest).clamp(min=0)
        det = (off * off.T - 1).fill_diagonal_(1.0)
        own = (slope * (z - point.bias).square()).mean(0) + 1
        rest = torch.cat([slope.mean(0) * scale.square(), self._curvature_of_theta(point).abs()])
        own, rest = own.clamp(min=SMALLEST_CURVATURE), rest.clamp(min=SMALLEST_CURVATURE)

        def solve(vector: Tensor) -> Tensor:
            gradient, others = vector[: off.numel()].view_as(off), vector[off.numel() :]
            step = (off.T * gradient - gradient.T) / det
            step = step.diagonal_scatter(gradient.diagonal() / own)
            return torch.cat([step.flatten(), others / rest])

        return solve

    def _curvature_of_theta(self, point: _Point) -> Tensor:
        """Diagonal, where each source has hyperparameters of its own; a fair scale, where one is shared."""
        result, at, delta = torch.ones_like(point.theta), 0, 1e-3
        if not self.params:
            return result
        base = self._energy(self.few, point)[1][-len(result) :]
        for param in self.params:
            block = slice(at, at := at + param.numel())
            moved = point.theta.clone()
            moved[block] += delta
            gradient = self._energy(self.few, point._replace(theta=moved))[1][-len(result) :]
            result[block] = ((gradient - base) / delta)[block]
        return result

    def _score(self, z: Tensor) -> Tensor:
        z = z.detach().requires_grad_()
        return torch.autograd.grad(-self.prior.source().log_prob(z).sum(), z)[0]

    @torch.no_grad()
    def start(self, unmixing: Tensor) -> _Point:
        """Scale each row to the prior, by the best power of 2, as a step of the loop cannot go far."""
        z = self.few @ unmixing.T
        source, powers = self.prior.source(), 2.0 ** torch.arange(-24, 25, dtype=z.dtype)
        loss = torch.stack([-source.log_prob(power * z).mean(0) - power.log() for power in powers])
        if loss.shape[1:] != z.shape[1:] or not loss.isfinite().any(0).all():
            raise ValueError(
                f"{type(self.prior).__name__} gives the data no density: its source() must return univariate densities "
                f"on the whole real line, of batch shape () or ({z.shape[1]},)"
            )
        best = powers[loss.nan_to_num(nan=torch.inf).argmin(0)]
        return _Point(best.unsqueeze(-1) * unmixing, torch.zeros_like(best), self._flat(self.params))


def _minimise(likelihood: _Likelihood, point: _Point, *, max_iter: int, tol: float) -> tuple[_Point, float, int, bool]:
    """Preconditioned L-BFGS with backtracking: where it ends, the loss there, iterations, whether it converged."""
    loss, gradient = likelihood(point)
    memory: list[tuple[Tensor, Tensor]] = []
    for iteration in range(1, max_iter + 1):
        solve = likelihood.curvature(point)
        for pairs in (memory, []):  # where a step gains nothing, the next is tried without the memory
            step = -_two_loops(gradient, pairs, solve)
            expected = -float(gradient @ step) / 2
            if expected < tol:
                continue
            shrink = min(1.0, LARGEST_STEP / float(step.abs().max()))
            # Where a step of next to no use fails, it fails by a kink, and no shorter one would be of more use.
            for halving in range(HALVINGS if expected > KINKS * likelihood.uncertainty else 1):
                share = shrink * 0.5**halving
                trial = point.move(share * step)
                new_loss, new_gradient = likelihood(trial)
                if new_loss < loss - 1e-4 * share * expected and bool(new_gradient.isfinite().all()):
                    break
            else:
                continue
            break
        else:
            return point, loss, iteration, True
        change = new_gradient - gradient
        if shrink < 1:
            memory = []  # what is learned about the curvature so far away misleads
        elif float(step @ change) > 0:
            memory = [*pairs, (share * step, change)][-MEMORY:]
        point, loss, gradient = trial, new_loss, new_gradient
    return point, loss, max_iter, False


def _two_loops(gradient: Tensor, memory: list[tuple[Tensor, Tensor]], solve: Callable[[Tensor], Tensor]) -> Tensor:
    """L-BFGS's inverse Hessian times the gradient, from the approximation and (step, change of gradient) pairs."""
    weights = []
    for step, change in reversed(memory):
        weights.append(step @ gradient / (step @ change))
        gradient = gradient - weights[-1] * change
    result = solve(gradient)
    for (step, change), weight in zip(memory, reversed(weights), strict=True):
        result = result + (weight - change @ result / (step @ change)) * step
    return result
