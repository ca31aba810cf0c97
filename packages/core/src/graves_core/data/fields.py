"""What the columns of a table hold."""

from dataclasses import dataclass
from typing import Literal

_TAKES = {"real": ("low", "high"), "integer": ("low", "high"), "class": ("classes",)}


@dataclass(frozen=True)
class FieldSpec:
    """Describes a field of a table: columns of one kind, `(B, columns)` in a batch, in their own units.

    Args:
        kind: `"real"` for float32; `"integer"` for whole numbers, `"class"` for the whole numbers from 0 to
            `classes - 1`, both int64.
        names: of the columns.
        low: the smallest value: of each real column, or of all integer columns.
        high: the largest value, likewise.
        classes: how many each column of classes has.

    Raises:
        ValueError: when these contradict each other.

    Example:
        >>> FieldSpec("real", ("bmi", "bp"), low=(18.0, 62.0), high=(42.2, 133.0)).ranges
        ((18.0, 42.2), (62.0, 133.0))
        >>> FieldSpec("class", ("smokes", "drinks"), classes=2).ranges
        ((0, 1), (0, 1))
    """

    kind: Literal["real", "integer", "class"]
    names: tuple[str, ...]
    low: tuple[float, ...] | int | None = None
    high: tuple[float, ...] | int | None = None
    classes: int | None = None

    def __post_init__(self) -> None:
        """Refuses a field that no table can have."""
        if self.kind not in _TAKES:
            raise ValueError(f"kind must be 'real', 'integer' or 'class', got {self.kind!r}")
        if not self.names or len(set(self.names)) < len(self.names):
            raise ValueError(f"names must be at least one, all different, got {self.names}")
        for name in ("low", "high", "classes"):
            self._check(name, getattr(self, name))
        for column, (low, high) in zip(self.names, self.ranges, strict=True):
            if not low < high:
                raise ValueError(f"low must be less than high, got {low} and {high} for {column!r}")

    def _check(self, name: str, value: tuple[float, ...] | int | None) -> None:
        if name not in _TAKES[self.kind]:
            fits, wanted = value is None, "None"
        elif self.kind == "real":
            fits = isinstance(value, tuple) and len(value) == len(self.names)
            wanted = f"a tuple of {len(self.names)} numbers"
        else:
            fits = isinstance(value, int) and (name != "classes" or value >= 2)
            wanted = "a whole number >= 2" if name == "classes" else "a whole number"
        if not fits:
            raise ValueError(f"{name} of kind {self.kind!r} must be {wanted}, got {value}")

    @property
    def ranges(self) -> tuple[tuple[float, float], ...]:
        """The smallest and the largest value of each column."""
        if isinstance(self.low, tuple) and isinstance(self.high, tuple):
            return tuple(zip(self.low, self.high, strict=True))
        if isinstance(self.low, int) and isinstance(self.high, int):
            return ((self.low, self.high),) * len(self.names)
        return ((0, (self.classes or 0) - 1),) * len(self.names)
