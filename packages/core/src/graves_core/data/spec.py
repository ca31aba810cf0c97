"""What a data set yields, so that a model can check before training that the two fit."""

from dataclasses import dataclass, field
from typing import Literal

from graves_core.data.fields import FieldSpec

_SIZES = {"image": 3, "text": 1, "table": 0, "sequence": 1}


@dataclass(frozen=True)
class DataSpec:
    """Describes one example of a data set; images and tokens are `uint8`, nothing is scaled.

    Args:
        kind: `"image"` for batches `[images (B, C, H, W), labels (B,)]`, `"text"` for tokens `(B, L)`,
            `"table"` for `{field: (B, columns)}`, `"sequence"` for real features `(B, T, features)` with a
            sequence of labels.
        shape: shape of one example without the batch: `(C, H, W)`, `(L,)`, or `(features,)` of one step of a
            sequence; nothing for tables.
        levels: the values are the whole numbers from 0 to `levels - 1`; None for tables and sequences.
        classes: labels are the whole numbers from 0 to `classes - 1`; None when there are none.
        symbols: the alphabet of a text; `symbols[i]` is what token `i` stands for.
        padding: the token that fills up a text that is shorter than `L`; it stands at the end alone, and
            `symbols` and `levels` count it. None when all texts have the same length.
        fields: the groups of columns of a table.

    Raises:
        ValueError: when these contradict each other.

    Example:
        >>> DataSpec("text", (4,), levels=3, symbols="abc").decode([2, 0, 1, 1])
        'cabb'
        >>> people = DataSpec("table", fields={"age": FieldSpec("integer", ("age",), low=0, high=120)})
        >>> people.fields["age"].ranges
        ((0, 120),)
    """

    kind: Literal["image", "text", "table", "sequence"]
    shape: tuple[int, ...] = ()
    levels: int | None = None
    classes: int | None = None
    symbols: str | None = None
    padding: int | None = None
    fields: dict[str, FieldSpec] = field(default_factory=dict, hash=False)

    def __post_init__(self) -> None:
        """Refuses a spec that no data can have."""
        if self.kind not in _SIZES:
            raise ValueError(f"kind must be 'image', 'text', 'table' or 'sequence', got {self.kind!r}")
        sizes = _SIZES[self.kind]
        if len(self.shape) != sizes or min(self.shape, default=1) < 1:
            raise ValueError(f"shape of kind {self.kind!r} takes {sizes} sizes >= 1, got {self.shape}")
        if bool(self.fields) != (self.kind == "table"):
            raise ValueError(
                f"fields are for kind 'table', which needs some; got {list(self.fields)} for {self.kind!r}"
            )
        if self.kind == "table":
            self._check_none("levels", "classes", "symbols", "padding")
        elif self.kind == "sequence":
            self._check_none("levels", "symbols", "padding")
        else:
            self._check_values()

    def _check_none(self, *names: str) -> None:
        for name in names:
            if getattr(self, name) is not None:
                raise ValueError(f"{name} must be None for kind {self.kind!r}, got {getattr(self, name)!r}")

    def _check_values(self) -> None:
        if self.levels is None or not 2 <= self.levels <= 256:
            raise ValueError(f"levels must lie in 2..256, got {self.levels}")
        if self.symbols is not None and len(self.symbols) != self.levels:
            raise ValueError(f"symbols must be {self.levels} (levels) characters, got {len(self.symbols)}")
        if self.padding is not None and self.kind != "text":
            raise ValueError(f"padding must be None for kind {self.kind!r}, got {self.padding}")
        if self.padding is not None and not 0 <= self.padding < self.levels:
            raise ValueError(f"padding must lie in 0..{self.levels - 1}, got {self.padding}")

    def decode(self, tokens: list[int]) -> str:
        """The text that tokens stand for, without the padding at its end.

        Raises:
            ValueError: when the spec has no alphabet.
        """
        if self.symbols is None:
            raise ValueError(f"symbols is None: data of kind {self.kind!r} cannot be read as text")
        text = "".join(self.symbols[token] for token in tokens)
        return text if self.padding is None else text.rstrip(self.symbols[self.padding])
