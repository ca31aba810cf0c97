"""Columns of tables: reals, whole numbers and classes, each as the data of one kind of flow."""

import torch
from jaxtyping import Float, Int64, Shaped
from torch import Tensor

from graves_bfn.codecs.base import Codec, check_kind
from graves_bfn.flows.bins import bin_centre, bin_index
from graves_core.data.fields import FieldSpec
from graves_core.data.spec import DataSpec

MOST_BINS = 2**20
"""With many more bins on [-1, 1], float32 would confuse neighbours."""


class RealColumns(Codec):
    """A field of real columns, each mapped linearly from its range to [-1, 1]: for `ContinuousFlow`.

    Args:
        low: what becomes -1, for each column.
        high: what becomes 1, for each column.

    Raises:
        ValueError: when there is not one range per column, or one is empty.

    Example:
        >>> RealColumns(low=[0.0, 10.0], high=[1.0, 30.0]).encode(torch.tensor([[0.5, 10.0]]))
        tensor([[ 0., -1.]])
    """

    def __init__(self, low: list[float], high: list[float]) -> None:
        if not low or len(low) != len(high):
            raise ValueError(f"low and high must have one number per column, not {low} and {high}")
        if not all(least < most for least, most in zip(low, high, strict=True)):
            raise ValueError(f"low must be less than high in every column, not {low} and {high}")
        self.low = list(low)
        self.high = list(high)

    def encode(
        self, batch: Float[Tensor, "batch columns"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch columns"]:
        """Real numbers, in [-1, 1] where the columns are in their ranges; nothing is random."""
        middle, half = self._middle_and_half(batch)
        return (batch - middle) / half

    def decode(self, x: Float[Tensor, "batch columns"]) -> Float[Tensor, "batch columns"]:
        """The columns in their own units."""
        middle, half = self._middle_and_half(x)
        return x * half + middle

    def data_shape(self, spec: DataSpec) -> tuple[int, ...]:
        """(columns,); wants a field of real columns whose ranges these hold."""
        name, field = only_field(self, spec, "real")
        if len(field.names) != len(self.low):
            raise ValueError(
                f"RealColumns was given ranges of {len(self.low)} columns, but field {name!r} has "
                f"{len(field.names)}"
            )
        check_ranges(self, field, list(zip(self.low, self.high, strict=True)))
        return (len(field.names),)

    def _middle_and_half(self, like: Tensor) -> tuple[Tensor, Tensor]:
        low, high = torch.tensor([self.low, self.high], dtype=torch.float64)
        # not in one step, because a blocking copy makes the host wait for the device
        columns = torch.stack([(low + high) / 2, (high - low) / 2]).to(like.dtype)
        middle, half = columns.to(like.device, non_blocking=True)
        return middle, half


class IntegerColumns(Codec):
    """A field of whole numbers as centres of K = high - low + 1 bins on [-1, 1]: for `DiscretisedFlow`.

    Numbers out of the range cannot be refused without waiting for the device: they become its ends.

    Args:
        low: the smallest number, of all columns.
        high: the largest number.

    Raises:
        ValueError: when there are not 2 to 2^20 numbers.

    Example:
        >>> years = IntegerColumns(low=20, high=59)
        >>> years.num_bins, years.decode(years.encode(torch.tensor([[20, 41, 99]])))
        (40, tensor([[20, 41, 59]]))
    """

    def __init__(self, low: int, high: int) -> None:
        if not 2 <= high - low + 1 <= MOST_BINS:
            raise ValueError(f"high must lie in low + 1..low + {MOST_BINS - 1}, not {high} for low={low}")
        self.low = low
        self.high = high
        self.num_bins = high - low + 1

    def encode(
        self, batch: Int64[Tensor, "batch columns"], *, generator: torch.Generator | None = None
    ) -> Float[Tensor, "batch columns"]:
        """Bin centres; nothing is random."""
        return bin_centre(batch.clamp(self.low, self.high) - self.low, self.num_bins)

    def decode(self, x: Float[Tensor, "batch columns"]) -> Int64[Tensor, "batch columns"]:
        """The number of the bin that each value falls into."""
        return bin_index(x, self.num_bins) + self.low

    def data_shape(self, spec: DataSpec) -> tuple[int, ...]:
        """(columns,); wants a field of whole numbers within the range."""
        _, field = only_field(self, spec, "integer")
        check_ranges(self, field, [(self.low, self.high)] * len(field.names))
        return (len(field.names),)


class ClassColumns(Codec):
    """A field of classes, 0 to `num_classes` - 1: for `DiscreteFlow`.

    Args:
        num_classes: how many classes each column has.

    Raises:
        ValueError: when it is less than 2.

    Example:
        >>> ClassColumns(num_classes=3).encode(torch.tensor([[2], [0]]))
        tensor([[2],
                [0]])
    """

    def __init__(self, num_classes: int) -> None:
        if num_classes < 2:
            raise ValueError(f"num_classes must be at least 2, not {num_classes}")
        self.num_classes = num_classes

    def encode(
        self, batch: Shaped[Tensor, "batch columns"], *, generator: torch.Generator | None = None
    ) -> Int64[Tensor, "batch columns"]:
        """Classes; nothing is random."""
        return batch.long()

    def data_shape(self, spec: DataSpec) -> tuple[int, ...]:
        """(columns,); wants a field of as many classes."""
        name, field = only_field(self, spec, "class")
        if field.classes != self.num_classes:
            raise ValueError(
                f"ClassColumns was given num_classes={self.num_classes}, but field {name!r} has "
                f"{field.classes} classes"
            )
        return (len(field.names),)


def only_field(codec: Codec, spec: DataSpec, kind: str) -> tuple[str, FieldSpec]:
    """The field of a table that has no other.

    Raises:
        ValueError: when it has several, or a field of another kind.
    """
    check_kind(codec, spec, "table")
    if len(spec.fields) != 1:
        raise ValueError(f"{type(codec).__name__} reads one field, not the table of {list(spec.fields)}")
    ((name, field),) = spec.fields.items()
    if field.kind != kind:
        raise ValueError(
            f"{type(codec).__name__} is made for {kind} columns, but field {name!r} is of kind {field.kind}"
        )
    return name, field


def check_ranges(codec: Codec, field: FieldSpec, ranges: list[tuple[float, float]]) -> None:
    """Refuses columns that go beyond the ranges of a codec.

    Raises:
        ValueError: naming the column and both ranges.
    """
    for column, (low, high), (least, most) in zip(field.names, ranges, field.ranges, strict=True):
        if least < low or most > high:
            raise ValueError(
                f"{type(codec).__name__} was given low={low} and high={high} for column {column!r}, which "
                f"goes from {least} to {most}"
            )
