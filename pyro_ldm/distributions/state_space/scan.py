r"""Prefixes of an associative operation, in a number of steps that grows with log T.

.. math:: e_1, \quad e_1 \circ e_2, \quad \dots, \quad e_1 \circ \dots \circ e_T
"""

from collections.abc import Callable

import torch
from torch import Tensor

Elements = tuple[Tensor, ...]


def associative_scan(combine: Callable[[Elements, Elements], Elements], elements: Elements) -> Elements:
    """All prefixes of an associative operation.

    Pairs are combined, the half as many that result are scanned, and every second prefix is then one combination away:
    about 2 T combinations, 2 log2(T) of them one after the other.

    Args:
        combine: From the earlier and the later elements, many at once, to those of both together.
        elements: Tensors whose first dim is T.

    Returns:
        Tensors of the same shapes: at t, elements 1 to t combined.

    References:
        Blelloch (1990), Prefix sums and their applications, https://www.cs.cmu.edu/~guyb/papers/Ble93.pdf.

    Example:
        >>> associative_scan(lambda a, b: (a[0] + b[0],), (torch.arange(5),))
        (tensor([ 0,  1,  3,  6, 10]),)
    """
    length = len(elements[0])
    if length < 2:
        return elements
    pairs = combine(tuple(e[0:-1:2] for e in elements), tuple(e[1::2] for e in elements))
    odd = associative_scan(combine, pairs)
    if length == 2:
        return tuple(torch.cat([e[:1], o]) for e, o in zip(elements, odd, strict=True))
    left = odd if length % 2 else tuple(o[:-1] for o in odd)
    even = combine(left, tuple(e[2::2] for e in elements))
    return tuple(interleave(torch.cat([e[:1], v]), o) for e, v, o in zip(elements, even, odd, strict=True))


def step_by_step(shape: torch.Size, device: torch.device) -> bool:
    """Whether a loop over steps is faster than a scan, for matrices (T, *batch, S, S): by measurement, on a CPU.

    A scan does about three times the work in 2 log2(T) calls in place of T. For few steps calls hardly differ; where
    many series have matrices of their own, the work decides.
    """
    return device.type == "cpu" and (shape[0] <= 8 or shape[1:].numel() >= 1024)


def interleave(even: Tensor, odd: Tensor) -> Tensor:
    """Rows at even places, the first among them, and at odd ones."""
    out = odd.new_empty((len(even) + len(odd), *odd.shape[1:]))
    out[::2], out[1::2] = even, odd
    return out
