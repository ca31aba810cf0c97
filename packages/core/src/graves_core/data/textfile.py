"""Any text of the user's."""

from pathlib import Path
from typing import Literal

from graves_core.data.alphabet import BYTES
from graves_core.data.files import DataFolder
from graves_core.data.text import TextDataModule, TextPart
from graves_core.data.textsource import read_text


class TextFileDataModule(TextDataModule):
    """Any file, character by character (UTF-8) or byte by byte: plain, gzipped, or alone in a zip.

    Batches are tokens `uint8 (B, length)`; token `i` stands for `spec.symbols[i]`. The first characters are
    for training, the next for validation, the last for testing, unless these have files of their own, as
    those of WikiText have. Training windows lie side by side, with another random shift in every epoch.

    Args:
        file: the text file: a path, or its name in `data_dir` or `data_dir/text`.
        data_dir: folder of data sets; None for the environment variable GRAVES_DATA, else the user's cache.
        symbols: the alphabet, 2 to 256 characters; None to take all that the text has, sorted. Bytes have
            theirs: token `i` is byte `i`, and `spec.symbols` shows it as Latin-1 does.
        length: characters in a window.
        stride: distance between the beginnings of two validation or test windows; None for `length`, so that
            they do not overlap.
        batch_size: windows per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the shifts and of the order of training.
        val_fraction: share of the text for validation, in [0, 1); 0 for none.
        test_fraction: share of the text for testing, its end, in (0, 1).
        val_file: like `file`, the text for validation; `val_fraction` has no meaning then.
        test_file: like `file`, the text for testing; `test_fraction` has no meaning then.
        unit: what one token is.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> TextFileDataModule("letters.txt", symbols="abc", length=64).spec.decode([0, 2])
        'ac'
        >>> wiki = TextFileDataModule(
        ...     "wiki.train.raw", val_file="wiki.valid.raw", test_file="wiki.test.raw", unit="byte"
        ... )
        >>> wiki.spec.levels
        256
    """

    def __init__(
        self,
        file: str,
        data_dir: str | None = None,
        symbols: str | None = None,
        length: int = 256,
        stride: int | None = None,
        batch_size: int = 128,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
        val_fraction: float = 0.05,
        test_fraction: float = 0.05,
        val_file: str | None = None,
        test_file: str | None = None,
        unit: Literal["character", "byte"] = "character",
    ) -> None:
        if unit not in ("character", "byte"):
            raise ValueError(f"unit must be 'character' or 'byte', got {unit!r}")
        if unit == "byte" and symbols is not None:
            raise ValueError(f"symbols must be None for unit 'byte', got {symbols!r}")
        symbols = BYTES if unit == "byte" else symbols
        super().__init__(
            length, stride, symbols, batch_size, num_workers, pin_memory, seed, val_fraction, test_fraction
        )
        self.file = file
        self.val_file = val_file
        self.test_file = test_file
        self.unit = unit
        self.folder = DataFolder(data_dir, "text")

    def read(self) -> tuple[str, Path]:
        """Reads the text.

        Raises:
            FileNotFoundError: when there is no such file.
            ValueError: naming the file, when it is damaged.
        """
        return self._read(self.file)

    def read_parts(self) -> dict[TextPart, tuple[str, Path]]:
        """Reads the text, and those of the parts that have files of their own."""
        texts = super().read_parts()
        if self.val_file is not None:
            texts["val"] = self._read(self.val_file)
        if self.test_file is not None:
            texts["test"] = self._read(self.test_file)
        return texts

    def _read(self, file: str) -> tuple[str, Path]:
        path = Path(file).expanduser()
        if not path.is_file():
            path = self.folder.require(file)
        return read_text(path, "latin-1" if self.unit == "byte" else "utf-8"), path
