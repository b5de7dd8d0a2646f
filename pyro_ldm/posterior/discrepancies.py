r"""Discrepancies: summaries T(z) of latents that a predictive check compares with those of replicated latents.

Functions here take float tensors (..., N, D), any leading dims, to (..., K); so does a function of one's own.
"""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor

LEVELS = (0.01, 0.1, 0.5, 0.9, 0.99)  # of the marginal quantiles
LAGS = (1, 2, 4, 8)


@dataclass(frozen=True)
class Discrepancy:
    """A summary of latents, with words for how it may misfit.

    Args:
        function: Called with the latents of every site, in their order, (N, D) or series (N, T, D), in float64: T(z)
            for one site, T(z, z_prime) for two views. It gives a number or (K,).
        labels: What each of the K numbers is about, such as "dim 3"; their position by default.
        above: What to say where the latents' value is larger than replicated ones.
        below: What to say where it is smaller.
    """

    function: Callable[..., Tensor]
    labels: Sequence[str] = ()
    above: str = "larger than the prior's"
    below: str = "smaller than the prior's"

    def label(self, k: int, num: int) -> str:
        """What the k-th of so many numbers is about."""
        return self.labels[k] if self.labels else "" if num == 1 else str(k)


def skewness(z: Tensor) -> Tensor:
    """Third standardised moment of each dim, (..., N, D) to (..., D): 0 if symmetric, above if skewed to the right."""
    return _standardised(z).pow(3).mean(-2)


def kurtosis(z: Tensor) -> Tensor:
    """Excess kurtosis of each dim, (..., N, D) to (..., D): 0 if Gaussian, above if its tails are heavier."""
    return _standardised(z).pow(4).mean(-2) - 3


def quantiles(z: Tensor, levels: Sequence[float] = LEVELS) -> Tensor:
    """Marginal quantiles at L levels, in units of z, (..., N, D) to (..., D L), one dim after the other.

    Each is the nearest order statistic, so that no sample is too large to sort.
    """
    order = z.sort(-2).values
    ranks = torch.tensor([round(level * (z.shape[-2] - 1)) for level in levels], device=z.device)
    return order.index_select(-2, ranks).mT.flatten(-2)


def spectrum(z: Tensor) -> Tensor:
    """Variances along the principal axes, largest first, in squared units of z, (..., N, D) to (..., D)."""
    centred = z - z.mean(-2, keepdim=True)
    return torch.linalg.eigvalsh(centred.mT @ centred / (z.shape[-2] - 1)).flip(-1)


def largest_correlation(z: Tensor) -> Tensor:
    """Of each dim, the largest absolute correlation with another dim, (..., N, D) to (..., D); 0 where D = 1."""
    unit = _standardised(z)
    correlation = unit.mT @ unit / z.shape[-2]
    return (correlation - torch.diag_embed(correlation.diagonal(dim1=-2, dim2=-1))).abs().amax(-1)


def magnitude_correlation(z: Tensor) -> Tensor:
    """The same of the distances from the mean: dependence beyond correlation, such as a scale that dims share."""
    return largest_correlation((z - z.mean(-2, keepdim=True)).abs())


def cross_view_correlation(z: Tensor, z_prime: Tensor) -> Tensor:
    """Correlation of each dim between two views, both (..., N, D), to (..., D)."""
    return (_standardised(z) * _standardised(z_prime)).mean(-2)


def autocorrelation(z: Tensor, lags: Sequence[int] = LAGS, *, mask: Tensor | None = None) -> Tensor:
    """Correlation of each dim with itself L lags of steps ago, over all series, (..., N, T, D) to (..., D L).

    Args:
        z: Series.
        lags: In steps, each below T.
        mask: Boolean (N, T), True where a step counts; pairs of steps count where both do.
    """
    there = torch.ones(z.shape[-3:-1], dtype=z.dtype, device=z.device) if mask is None else mask.to(z)
    there = there.unsqueeze(-1)
    z = torch.where(there > 0, z, 0.0)  # whatever stands at steps that do not count
    centred = (z - z.sum((-3, -2), keepdim=True) / there.sum()) * there
    variance = centred.square().sum((-3, -2)) / there.sum()
    lagged = [
        (centred[..., lag:, :] * centred[..., :-lag, :]).sum((-3, -2)) / (there[:, lag:] * there[:, :-lag]).sum()
        for lag in lags
    ]
    return (torch.stack(lagged, -1) / variance.unsqueeze(-1)).flatten(-2)


def default_discrepancies(sites: Mapping[str, Tensor], *, mask: Tensor | None = None) -> dict[str, Discrepancy]:
    """The discrepancies of a predictive check, for the latents' kind.

    Of every site, over its rows, or all steps of its series: mean, standard deviation, skewness, kurtosis and quantiles
    of each dim; the covariance's spectrum; and of each dim the largest correlation with another, of values and of
    magnitudes. Of two views also their correlation and the kurtosis of their difference, of series the autocorrelation.

    Args:
        sites: Latents by site, each (N, D) or series (N, T, D).
        mask: Boolean (N,) or (N, T), True where a row or step counts.

    Raises:
        ValueError: If a site is neither of rows nor of series.

    Example:
        >>> list(default_discrepancies({"z": torch.randn(50, 1)}))
        ['mean', 'standard deviation', 'skewness', 'kurtosis', 'quantile', 'variance']
    """
    for name, z in sites.items():
        if z.dim() not in (2, 3):
            raise ValueError(
                f"{name} has shape {tuple(z.shape)}: the discrepancies are of latents (N, D) or series (N, T, D); pass "
                "discrepancies of your own"
            )
    dims = {name: z.shape[-1] for name, z in sites.items()}

    def labels(*parts: str) -> list[str]:
        prefix = (lambda name: f"{name}, ") if len(sites) > 1 else (lambda name: "")
        return [prefix(name) + part.format(dim) for name, size in dims.items() for dim in range(size) for part in parts]

    def rows(z: Tensor) -> Tensor:
        z = z if z.is_floating_point() else z.double()  # counts
        return (z if mask is None else z[mask.to(z.device)]).flatten(0, -2)

    def each(function: Callable[[Tensor], Tensor]) -> Callable[..., Tensor]:
        return lambda *latents: torch.cat([function(rows(z)) for z in latents], -1)

    dim, more, less = labels("dim {}"), "more than the prior's", "less than the prior's"
    found = {
        "mean": Discrepancy(each(lambda z: z.mean(-2)), dim, "centre above the prior's", "centre below the prior's"),
        "standard deviation": Discrepancy(
            each(lambda z: z.std(-2)), dim, "wider than the prior's", "narrower than the prior's"
        ),
        "skewness": Discrepancy(each(skewness), dim, f"skewed to the right {more}", f"skewed to the left {more}"),
        "kurtosis": Discrepancy(
            each(kurtosis), dim, "tails heavier than the prior's", "tails lighter than the prior's"
        ),
        "quantile": Discrepancy(
            each(quantiles),
            labels(*[f"dim {{}} at {100 * level:g} %" for level in LEVELS]),
            "further up than the prior's",
            "further down than the prior's",
        ),
        "variance": Discrepancy(each(spectrum), labels("principal axis {}"), f"varies {more}", f"varies {less}"),
    }
    if min(dims.values()) > 1:
        found["correlation"] = Discrepancy(
            each(largest_correlation), dim, f"correlated with another dim {more}", f"correlated {less}"
        )
        found["magnitude correlation"] = Discrepancy(
            each(magnitude_correlation), dim, f"size tied to another dim's {more}", f"size tied {less}"
        )
    if len(sites) == 2 and len(set(dims.values())) == 1:
        plain = [f"dim {d}" for d in range(next(iter(dims.values())))]
        found["cross-view correlation"] = Discrepancy(
            lambda z, z_prime: cross_view_correlation(rows(z), rows(z_prime)),
            plain,
            f"views agree {more}",
            f"views agree {less}",
        )
        found["kurtosis between views"] = Discrepancy(
            lambda z, z_prime: kurtosis(rows(z_prime) - rows(z)),
            plain,
            "differences of views have heavier tails than the prior's",
            "differences of views have lighter tails than the prior's",
        )
    if all(z.dim() == 3 for z in sites.values()):
        num, steps = next(iter(sites.values())).shape[:2]
        there = (
            torch.ones(num, steps, dtype=torch.bool) if mask is None else mask.cpu().reshape(num, -1).expand(-1, steps)
        )
        lags = [lag for lag in LAGS if bool((there[:, lag:] & there[:, :-lag]).any())]
        if lags:
            found["autocorrelation"] = Discrepancy(
                lambda *latents: torch.cat([autocorrelation(z, lags, mask=there) for z in latents], -1),
                labels(*[f"dim {{}} at lag {lag}" for lag in lags]),
                f"steps correlated {more}",
                f"steps correlated {less}",
            )
    return found


@torch.no_grad()
def evaluate(discrepancies: Mapping[str, Discrepancy], sites: Mapping[str, Tensor]) -> dict[str, np.ndarray]:
    """The values of discrepancies on latents, (K,) each.

    Args:
        discrepancies: By name.
        sites: Latents by site.

    Raises:
        ValueError: If one is not finite, no number or vector, or has labels for more or fewer.
    """
    latents = [values.double() if values.is_floating_point() else values for values in sites.values()]
    found = {}
    for name, discrepancy in discrepancies.items():
        value = torch.atleast_1d(torch.as_tensor(discrepancy.function(*latents))).double().cpu().numpy()
        if value.ndim != 1 or not np.isfinite(value).all():
            what = f"has shape {value.shape}" if value.ndim != 1 else "is not finite"
            raise ValueError(
                f"discrepancy {name!r} {what}: it must give a finite number or vector for any latents of the prior"
            )
        if discrepancy.labels and len(discrepancy.labels) != len(value):
            raise ValueError(
                f"discrepancy {name!r} has {len(discrepancy.labels)} labels for {len(value)} numbers: pass one for each"
            )
        found[name] = value
    return found


def _standardised(z: Tensor) -> Tensor:
    centred = z - z.mean(-2, keepdim=True)
    scale = centred.square().mean(-2, keepdim=True).sqrt()
    return centred / torch.where(scale > 0, scale, 1.0)  # a dim that is constant, such as an unused category, is zero
