"""A posterior in a table, and whether its chains agree; the same under either ArviZ."""

from typing import TYPE_CHECKING, Any

import numpy as np

from pyro_ldm.diagnostics.arviz.adapter import Tree, group, import_arviz
from pyro_ldm.diagnostics.arviz.variables import SAMPLE_DIMS

if TYPE_CHECKING:
    import pandas
    from xarray import Dataset

MIN_DRAWS = 4  # split chains of two draws each: below, ArviZ returns NaN
TAILS = (0.05, 0.95)  # of the effective sample size in the tails, whatever the interval


def summary(tree: Tree, *, ci: float = 0.9) -> "pandas.DataFrame":
    """Table of the posterior: a row per scalar, its name with labels, such as ``scale[0]``.

    Columns: mean, sd, the ends of the equal-tailed interval (``eti_5%``, ``eti_95%``), effective sample sizes in the
    bulk and in the tails, and R-hat where several Markov chains were run. Of a variational posterior there is no R-hat.
    How the draws came about and, of a variational posterior, the k-hat of its weights are in ``.attrs``.

    Args:
        tree: With group posterior.
        ci: Probability of the interval.

    Raises:
        ValueError: If there is no posterior, chains have fewer than four draws, a draw is not finite, or ci is not
            between 0 and 1.

    Example:
        >>> from pyro_ldm.diagnostics.arviz import to_arviz
        >>> table = summary(to_arviz(posterior={"scale": torch.rand(4, 100, 2)}))
        >>> list(table.index), list(table.columns)
        (['scale[0]', 'scale[1]'], ['mean', 'sd', 'eti_5%', 'eti_95%', 'ess_bulk', 'ess_tail', 'r_hat'])
    """
    import pandas

    if not 0 < ci < 1:
        raise ValueError(f"ci is a probability, got {ci}: pass 0.9 for an interval from 5 % to 95 %")
    posterior = _posterior(tree)
    ends = (1 - ci) / 2, (1 + ci) / 2
    measures = {
        "mean": posterior.mean(SAMPLE_DIMS),
        "sd": posterior.std(SAMPLE_DIMS, ddof=1),
        **{f"eti_{100 * end:g}%": posterior.quantile(end, SAMPLE_DIMS) for end in ends},
        "ess_bulk": import_arviz().ess(posterior, method="bulk"),
        "ess_tail": import_arviz().ess(posterior, method="tail", prob=TAILS),
    }
    if _why_no_rhat(posterior) is None:
        measures["r_hat"] = rhat(tree)
    columns = {
        column: np.concatenate([np.ravel(measure[name].values) for name in posterior.data_vars])
        for column, measure in measures.items()
    }
    rows = [row for name in posterior.data_vars for row in _labels(posterior, name)]
    table = pandas.DataFrame(columns, index=rows)
    table.attrs = {key: posterior.attrs[key] for key in ("inference", "k_hat") if key in posterior.attrs}
    return table


def rhat(tree: Tree) -> "Dataset":
    """Rank-normalised split R-hat of the posterior, for each scalar: Markov chains that agree have less than 1.01.

    Of what never varies, such as a zero of a Cholesky factor, it is NaN; of chains that are stuck in different places,
    infinite or as good as that.

    Args:
        tree: With group posterior, of several chains.

    Raises:
        ValueError: If the posterior is variational or of one chain, whose R-hat would say nothing.

    References:
        Vehtari, Gelman, Simpson, Carpenter and Bürkner (2021), Rank-normalization, folding, and localization: an
        improved R-hat, https://doi.org/10.1214/20-BA1221

    Example:
        >>> from pyro_ldm.diagnostics.arviz import to_arviz
        >>> rhat(to_arviz(posterior={"scale": torch.rand(4, 100, 2)}))["scale"].shape
        (2,)
    """
    posterior = _posterior(tree)
    reason = _why_no_rhat(posterior)
    if reason is not None:
        raise ValueError(reason)
    with np.errstate(invalid="ignore", divide="ignore"):
        return import_arviz().rhat(posterior)


def _posterior(tree: Tree) -> "Dataset":
    """The posterior, fit for statistics."""
    posterior = group(tree, "posterior").transpose(*SAMPLE_DIMS, ...)
    if posterior.sizes["draw"] < MIN_DRAWS:
        raise ValueError(
            f"the posterior has {posterior.sizes['draw']} draws per chain, too few for a summary: take at least "
            f"{MIN_DRAWS}, better 1000"
        )
    bad = [str(name) for name, draws in posterior.data_vars.items() if not np.isfinite(draws.values).all()]
    if bad:
        raise ValueError(f"the posterior has NaN or infinite draws of {bad}: look at the prior and the latents")
    return posterior


def _why_no_rhat(posterior: "Dataset") -> str | None:
    """What is wrong with the R-hat of these draws, if anything."""
    if str(posterior.attrs.get("inference", "")).startswith("SVI"):
        k_hat = f", here {posterior.attrs['k_hat']:.2f}," if "k_hat" in posterior.attrs else ""
        return (
            "R-hat asks whether Markov chains agree by now; draws of a variational posterior are independent, and "
            f"agree with each other however wrong they are: look at the k-hat of their weights{k_hat} instead"
        )
    if posterior.sizes["chain"] < 2:
        return "R-hat compares chains, and the posterior has one: run several, such as num_chains=4"
    return None


def _labels(posterior: "Dataset", name: Any) -> list[str]:
    """Names of a variable's scalars, with labels of its dims."""
    dims = [dim for dim in posterior[name].dims if dim not in SAMPLE_DIMS]
    if not dims:
        return [str(name)]
    labels = [[str(label) for label in posterior[dim].values] for dim in dims]
    return [
        f"{name}[{', '.join(labels[axis][i] for axis, i in enumerate(index))}]"
        for index in np.ndindex(*(len(each) for each in labels))
    ]
