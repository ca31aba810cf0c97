"""Long texts, cut into windows of characters."""

from abc import abstractmethod
from pathlib import Path
from typing import Literal, NamedTuple

from jaxtyping import UInt8
from torch import Tensor

from graves_core.data.alphabet import check_symbols, detect_symbols, encode
from graves_core.data.base import BaseDataModule
from graves_core.data.spec import DataSpec
from graves_core.data.splits import check_test_fraction, text_bounds
from graves_core.data.windows import StridedWindows, TiledWindows

TextPart = Literal["train", "val", "test"]


class Passage(NamedTuple):
    """The text of one part.

    Args:
        tokens: one number per character.
        path: where it is from, for errors.
    """

    tokens: UInt8[Tensor, "characters"]
    path: Path


class TextDataModule(BaseDataModule):
    """One text, split by place: first training, then validation, then test.

    Batches are tokens `uint8 (B, L)`; token `i` stands for `spec.symbols[i]`. Training windows lie side by
    side with another random shift in every epoch (see `TiledWindows`), validation and test windows begin
    every `stride` characters.

    Args:
        length: characters in a window.
        stride: distance between the beginnings of two validation or test windows; None for `length`, so that
            they do not overlap.
        symbols: the alphabet; None to take all characters that the text has, sorted.
        batch_size: windows per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the shifts and of the order of training.
        val_fraction: share of the text for validation, in [0, 1); 0 for none.
        test_fraction: share of the text for testing, its end, in (0, 1).

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> class Counting(TextDataModule):
        ...     def __init__(self) -> None:
        ...         super().__init__(5, None, None, 8, 0, False, seed=0, val_fraction=0.1, test_fraction=0.1)
        ...     def read(self):
        ...         return "0123456789" * 20, Path("nowhere")
        >>> counting = Counting()
        >>> counting.setup()
        >>> counting.spec.decode(next(iter(counting.val_dataloader()))[0].tolist())
        '01234'
    """

    def __init__(
        self,
        length: int,
        stride: int | None,
        symbols: str | None,
        batch_size: int,
        num_workers: int,
        pin_memory: bool,
        seed: int,
        val_fraction: float,
        test_fraction: float,
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory, seed, val_fraction)
        if length < 1:
            raise ValueError(f"length must be at least 1, got {length}")
        if stride is not None and stride < 1:
            raise ValueError(f"stride must be at least 1, got {stride}")
        self.length = length
        self.stride = stride or length
        self.symbols = None if symbols is None else check_symbols(symbols)
        self.test_fraction = check_test_fraction(test_fraction, val_fraction)
        self._passages: dict[TextPart, Passage] | None = None

    @abstractmethod
    def read(self) -> tuple[str, Path]:
        """Reads the whole text, and says where it is from (for errors).

        Raises:
            FileNotFoundError: when it isn't there.
            ValueError: naming the file, when it is damaged.
        """

    def read_parts(self) -> dict[TextPart, tuple[str, Path]]:
        """Reads the texts of the parts, and says where they are from.

        Parts that are not named are the end of the training text, in the shares that the constructor was
        given.

        Raises:
            FileNotFoundError: when one of them isn't there.
            ValueError: naming the file, when one of them is damaged.
        """
        return {"train": self.read()}

    @property
    def spec(self) -> DataSpec:
        """What one window is; with a detected alphabet this is known after `setup`.

        Raises:
            RuntimeError: before `setup`, when the alphabet is detected.
        """
        if self.symbols is None:
            raise RuntimeError("the alphabet is detected in setup: call it before spec, or give symbols")
        return DataSpec("text", (self.length,), levels=len(self.symbols), symbols=self.symbols)

    def passages(self) -> dict[TextPart, Passage]:
        """The whole text of each part, read once; there is no "val" when nothing is held back.

        Raises:
            FileNotFoundError: when a text isn't there.
            ValueError: naming the file, when it is damaged or has a character outside of the alphabet.
        """
        if self._passages is None:
            texts = self.read_parts()
            self.symbols = self.symbols or _symbols_of(texts)
            passages = {
                part: Passage(encode(text, self.symbols, path), path) for part, (text, path) in texts.items()
            }
            self._passages = self._with_ends(passages)
        return self._passages

    def read_train(self) -> tuple[TiledWindows, StridedWindows | None]:
        """Reads the text and cuts its training and validation parts into windows."""
        train = TiledWindows(self._part("train"), self.length, self.seed)
        if "val" not in self.passages():
            return train, None
        return train, StridedWindows(self._part("val"), self.length, self.stride)

    def read_test(self) -> StridedWindows:
        """Reads the text and cuts its test part into windows."""
        return StridedWindows(self._part("test"), self.length, self.stride)

    def _with_ends(self, passages: dict[TextPart, Passage]) -> dict[TextPart, Passage]:
        """Cuts the parts that have no text of their own off the end of the training text."""
        tokens, path = passages["train"]
        val_fraction = 0.0 if "val" in passages else self.val_fraction
        test_fraction = 0.0 if "test" in passages else self.test_fraction
        val, test = text_bounds(len(tokens), val_fraction, test_fraction)
        cuts: dict[TextPart, slice] = {"train": slice(0, val)}
        if val_fraction:
            cuts["val"] = slice(val, test)
        if test_fraction:
            cuts["test"] = slice(test, None)
        return passages | {part: Passage(tokens[cut], path) for part, cut in cuts.items()}

    def _part(self, name: TextPart) -> UInt8[Tensor, "characters"]:
        part, path = self.passages()[name]
        if len(part) < self.length:
            raise ValueError(
                f"{path} is too short: its {name} part has {len(part)} characters, fewer than "
                f"length={self.length}"
            )
        return part


def _symbols_of(texts: dict[TextPart, tuple[str, Path]]) -> str:
    characters = "".join("".join(set(text)) for text, _ in texts.values())
    return detect_symbols(characters, texts["train"][1])
