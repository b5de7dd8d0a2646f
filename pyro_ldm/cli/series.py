"""Whether data are series, and whether prior, data and options agree about it."""

from typing import Any

from pyro_ldm.cli.program import Program
from pyro_ldm.cli.sites import Sites
from pyro_ldm.datasets import Data


def has_steps(data: Data) -> bool:
    """Whether a datum is a series, of vectors (T, D) or of images (T, C, H, W), as its shape or a mask of steps says.

    Example:
        >>> [has_steps(Data(torch.zeros(2, *shape))) for shape in ((5,), (9, 5), (1, 8, 8), (9, 1, 8, 8))]
        [False, True, False, True]
    """
    return data.mask is not None or len(data.shape) in (2, 4)


def shape_of_a_step(data: Data) -> tuple[int, ...]:
    """(D,) of series (N, T, D), (C, H, W) of series (N, T, C, H, W)."""
    return tuple(data.shape[1:])


def check_series(config: Any, data: Data, sites: Sites) -> None:
    """Refuse a prior of series on data without steps, and a prior of vectors on data with steps.

    An encoder of one's own may map a whole series to one vector.

    Raises:
        ValueError: If they do not agree, or the prior has another number of steps than the data.
    """
    got = f"the data have shape {('N', *data.shape)}".replace("'", "")
    if sites.num_steps is not None:
        if not has_steps(data):
            raise ValueError(
                f"the prior is one of series (N, T, ...), and {got}: use a prior of vectors, such as Gaussian, or data "
                "with an axis of steps, (N, T, D) or (N, T, C, H, W)"
            )
        if sites.num_steps != data.shape[0]:
            raise ValueError(f"the prior has {sites.num_steps} steps, and {got}: give it the steps of the data")
    elif has_steps(data) and not (config.encoder and _own(config.encoder)):
        raise ValueError(
            f"the prior is one of vectors, and {got}, series of {data.shape[0]} steps: use a prior of series, such as "
            "Kalman, or an encoder of your own (file.py:name) that makes one vector of a series"
        )


def _own(choice: Any) -> bool:
    return choice["class_path"].rpartition(".")[2] == Program.__name__
