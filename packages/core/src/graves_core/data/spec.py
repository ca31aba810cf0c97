"""What a data set yields, so that a model can check before training that the two fit."""

from dataclasses import dataclass
from typing import Literal


@dataclass(frozen=True)
class DataSpec:
    """Describes one example of a data set; all values are `uint8`, nothing is scaled.

    Args:
        kind: `"image"` for batches `[images (B, C, H, W), labels (B,)]`, `"text"` for tokens `(B, L)`.
        shape: shape of one example without the batch: `(C, H, W)` or `(L,)`.
        levels: the values are the whole numbers from 0 to `levels - 1`.
        classes: labels are the whole numbers from 0 to `classes - 1`; None when there are none.
        symbols: the alphabet of a text; `symbols[i]` is what token `i` stands for.

    Raises:
        ValueError: when these contradict each other.

    Example:
        >>> DataSpec("text", (4,), levels=3, symbols="abc").decode([2, 0, 1, 1])
        'cabb'
    """

    kind: Literal["image", "text"]
    shape: tuple[int, ...]
    levels: int
    classes: int | None = None
    symbols: str | None = None

    def __post_init__(self) -> None:
        """Refuses a spec that no data can have."""
        dimensions = {"image": 3, "text": 1}.get(self.kind)
        if dimensions is None:
            raise ValueError(f"kind must be 'image' or 'text', got {self.kind!r}")
        if len(self.shape) != dimensions or min(self.shape) < 1:
            raise ValueError(f"shape of kind {self.kind!r} takes {dimensions} sizes >= 1, got {self.shape}")
        if not 2 <= self.levels <= 256:
            raise ValueError(f"levels must lie in 2..256, got {self.levels}")
        if self.symbols is not None and len(self.symbols) != self.levels:
            raise ValueError(f"symbols must be {self.levels} (levels) characters, got {len(self.symbols)}")

    def decode(self, tokens: list[int]) -> str:
        """The text that tokens stand for.

        Raises:
            ValueError: when the spec has no alphabet.
        """
        if self.symbols is None:
            raise ValueError(f"symbols is None: data of kind {self.kind!r} cannot be read as text")
        return "".join(self.symbols[token] for token in tokens)
