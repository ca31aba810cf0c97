"""Any text of the user's."""

from pathlib import Path

from graves_core.data.files import DataFolder
from graves_core.data.text import TextDataModule
from graves_core.data.textsource import read_text


class TextFileDataModule(TextDataModule):
    """A text file, character by character: plain, gzipped, or alone in a zip; UTF-8.

    Batches are tokens `uint8 (B, length)`; token `i` stands for `spec.symbols[i]`. The first characters are
    for training, the next for validation, the last for testing. Training windows lie side by side, with
    another random shift in every epoch.

    Args:
        file: the text file: a path, or its name in `data_dir` or `data_dir/text`.
        data_dir: folder of data sets; None for the environment variable GRAVES_DATA, else the user's cache.
        symbols: the alphabet, 2 to 256 characters; None to take all that the text has, sorted.
        length: characters in a window.
        stride: distance between the beginnings of two validation or test windows; None for `length`, so that
            they do not overlap.
        batch_size: windows per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the shifts and of the order of training.
        val_fraction: share of the text for validation, in [0, 1); 0 for none.
        test_fraction: share of the text for testing, its end, in (0, 1).

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> TextFileDataModule("letters.txt", symbols="abc", length=64).spec.decode([0, 2])
        'ac'
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
    ) -> None:
        super().__init__(
            length, stride, symbols, batch_size, num_workers, pin_memory, seed, val_fraction, test_fraction
        )
        self.file = file
        self.folder = DataFolder(data_dir, "text")

    def read(self) -> tuple[str, Path]:
        """Reads the text.

        Raises:
            FileNotFoundError: when there is no such file.
            ValueError: naming the file, when it is damaged.
        """
        path = Path(self.file).expanduser()
        if not path.is_file():
            path = self.folder.require(self.file)
        return read_text(path), path
