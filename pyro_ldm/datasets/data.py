r"""`Data`: a data set, checked once when it is made, with its true latents where they are known.

.. math:: x_i, \quad i = 1 .. N, \qquad \text{and where the world is known} \quad x_i = s_i A
"""

from collections.abc import Sequence
from dataclasses import KW_ONLY, dataclass

import torch


class DataError(ValueError):
    """Data that cannot be used; the message is one sentence with the cause and the remedy."""


@dataclass(frozen=True, eq=False, repr=False)
class Data:
    r"""A data set: observations, and labels and true latents where there are any.

    Fields are kept on the CPU, floating-point ones as float32, whatever comes in. Rows are counted from 0.

    Args:
        x: Observations, one per row.
        y: Labels, for probes and pictures only; of a series, one for all of it or one per step.
        truth: The true latents behind x, in the same order.
        nuisance: What else is behind x, of which a good representation tells nothing, in the same order.
        mask: Which steps of each series are there, where the others are padding; `fit` passes it on beside x.
        inputs: What is done to each series, such as actions; the input of a step leads into it. A prior that
            takes them gets them by `fit(prior, guide, (data.x, data.inputs))`.
        mixing: The matrix A of a linear world, x = truth @ A (row vectors).
        name: What error messages and reports call it.

    Shape:
        x (N, \*event), N >= 2; y (N,); truth and nuisance (N, \*latent); mixing (sources, D). `shape` is the event
        shape, (1, 8, 8) for an image or (D,) for a vector. Of series x (N, T, \*event), y (N,) or (N, T), truth and
        nuisance (N, T, K), mask (N, T), boolean, inputs (N, T, U).

    Raises:
        DataError: If a field is no tensor of real numbers, x has a wrong rank, fewer than 2 rows or no columns,
            a value is not finite, lengths disagree, or the mask is not boolean or leaves nothing of a series.

    Example:
        >>> import torch
        >>> data = Data(torch.arange(10.0).reshape(5, 2), name="count")
        >>> data
        Data('count', 5 x (2,))
        >>> train, test = data.split((0.6, 0.4), seed=0)
        >>> len(train), len(test)
        (3, 2)
    """

    x: torch.Tensor
    _: KW_ONLY
    y: torch.Tensor | None = None
    truth: torch.Tensor | None = None
    nuisance: torch.Tensor | None = None
    mixing: torch.Tensor | None = None
    mask: torch.Tensor | None = None
    inputs: torch.Tensor | None = None
    name: str = ""

    def __post_init__(self) -> None:
        for field in ("x", "y", "truth", "nuisance", "mixing", "mask", "inputs"):
            # A frozen dataclass sets its own fields this way; nobody else does.
            object.__setattr__(self, field, self._checked(field))
        if self.x.ndim < 2:
            raise self._error(
                f"x has shape {tuple(self.x.shape)} where (N, ...) is wanted: "
                "use x.reshape(-1, 1) if each number is one datum, x.reshape(1, -1) if all are one"
            )
        if len(self) < 2:
            raise self._error(f"x has {len(self)} row(s) where at least 2 are needed: give more data")
        if self.x.numel() == 0:
            raise self._error(f"x has rows of shape {self.shape}, which hold no numbers: give at least one column")
        for field, values in (("y", self.y), ("truth", self.truth), ("nuisance", self.nuisance)):
            rows = len(self) if values is None else len(torch.atleast_1d(values))
            if rows != len(self):
                raise self._error(f"x has {len(self)} rows and {field} has {rows}: give one {field} per row of x")
        if self.mixing is not None:
            latents = self.mixing.shape[:1] if self.truth is None else self.truth.shape[1:]
            got, wanted = tuple(self.mixing.shape), (*latents, *self.shape)
            if got != wanted:
                raise self._error(f"mixing has shape {got} where {wanted} is wanted: give it as x = truth @ mixing")
        if self.mask is not None:
            self._check_mask(self.mask)
        if self.inputs is not None and (self.inputs.ndim != 3 or self.inputs.shape[:2] != self.x.shape[:2]):
            raise self._error(
                f"inputs has shape {tuple(self.inputs.shape)} for x of shape {tuple(self.x.shape)}: "
                "give a row per step, (N, T, U) for x (N, T, ...)"
            )

    @property
    def shape(self) -> tuple[int, ...]:
        """The event shape: that of one datum."""
        return tuple(self.x.shape[1:])

    def __len__(self) -> int:
        return len(self.x)

    def __repr__(self) -> str:
        fields = ("y", "truth", "nuisance", "mixing", "mask", "inputs")
        extra = "".join(f", {field}" for field in fields if getattr(self, field) is not None)
        return f"Data({self.name!r}, {len(self)} x {self.shape}{extra})"

    def split(self, fractions: Sequence[float] = (0.8, 0.2), *, seed: int = 0) -> tuple["Data", ...]:
        """Parts of the rows, disjoint and together all of them, shuffled by a seed of their own.

        The same length, fractions and seed always give the same parts; the global random state is not touched.

        Args:
            fractions: Share of the rows of each part; positive, summing to 1.
            seed: Seed of the shuffle.

        Raises:
            DataError: If the fractions are not positive or do not sum to 1, or a part would have fewer than 2 rows.

        Example:
            >>> from pyro_ldm.datasets import digits
            >>> train, test = digits().split()
            >>> len(train), len(test)
            (1438, 359)
        """
        if not fractions or min(fractions) <= 0 or abs(sum(fractions) - 1) > 1e-9:
            raise self._error(f"cannot split by {tuple(fractions)}: give positive fractions that sum to 1")
        order = torch.randperm(len(self), generator=torch.Generator().manual_seed(seed)).to(self.x.device)
        ends = [round(sum(fractions[: i + 1]) * len(self)) for i in range(len(fractions))]
        return tuple(self._rows(order[start:end]) for start, end in zip([0, *ends], ends, strict=False))

    def _rows(self, index: torch.Tensor) -> "Data":
        fields = {name: getattr(self, name) for name in ("y", "truth", "nuisance", "mask", "inputs")}
        rows = {name: None if field is None else field[index] for name, field in fields.items()}
        return Data(self.x[index], **rows, mixing=self.mixing, name=self.name)

    def _check_mask(self, mask: torch.Tensor) -> None:
        if mask.dtype != torch.bool or self.x.ndim < 3 or mask.shape != self.x.shape[:2]:
            raise self._error(
                f"mask is {str(mask.dtype).removeprefix('torch.')} of shape {tuple(mask.shape)} for x of shape "
                f"{tuple(self.x.shape)}: give a boolean one of shape (N, T) for x (N, T, ...)"
            )
        empty = ~mask.any(1)
        if empty.any():
            raise self._error(
                f"mask leaves no step of {int(empty.sum())} of {len(mask)} series "
                f"(first: row {int(empty.nonzero()[0])}): drop them"
            )

    def _checked(self, field: str) -> torch.Tensor | None:
        values = getattr(self, field)
        if values is None and field != "x":
            return None
        if not isinstance(values, torch.Tensor):
            raise self._error(f"{field} is a {type(values).__name__}: make it a tensor with torch.as_tensor({field})")
        if values.is_complex():
            raise self._error(f"{field} is complex: stack its real and imaginary parts as two columns")
        values = values.cpu()
        result = values.detach() if field in ("y", "mask") else values.detach().to(torch.float32)
        bad = ~torch.atleast_1d(values).isfinite().unsqueeze(-1).flatten(1).all(1)
        if bad.any():
            raise self._error(
                f"{field} contains NaN or Inf in {int(bad.sum())} of {len(bad)} rows "
                f"(first: row {int(bad.nonzero()[0])}): drop or impute them before fitting"
            )
        if not result.isfinite().all():
            raise self._error(f"{field} has values beyond the range of float32 (3.4e38): rescale them before fitting")
        return result

    def _error(self, message: str) -> DataError:
        return DataError(f"{self.name}: {message}" if self.name else message)
