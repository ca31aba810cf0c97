"""text8: Wikipedia in 27 symbols."""

from pathlib import Path

from graves_core.data.alphabet import LETTERS
from graves_core.data.base import Part
from graves_core.data.files import DataFolder, Remote
from graves_core.data.text import TextDataModule
from graves_core.data.textsource import read_text

REMOTE = Remote(
    "text8.zip",
    "a6640522afe85d1963ad56c05b0ede0a0c000dddc9671758a6cc09b7a38e5232",
    ("https://mattmahoney.net/dc/", "https://data.deepai.org/"),
)


class Text8DataModule(TextDataModule):
    """The first 100 million characters of a cleaned English Wikipedia: a-z and space.

    Batches are tokens `uint8 (B, length)`: 0 is space, 1 to 26 are a to z. The usual split: the first 90 %
    for training, then 5 % for validation, the last 5 % for testing. Training windows lie side by side, with
    another random shift in every epoch. `text8.zip` or the plain `text8` is looked for in `data_dir` and
    `data_dir/text8`, and used whatever its length; if it isn't there, it is downloaded to `data_dir/text8`.

    Args:
        data_dir: folder of data sets; None for the environment variable GRAVES_DATA, else the user's cache.
        length: characters in a window.
        stride: distance between the beginnings of two validation or test windows; None for `length`, so that
            they do not overlap.
        batch_size: windows per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the shifts and of the order of training.
        val_fraction: share of the text for validation, in [0, 0.95); 0 for none.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> Text8DataModule(length=256).spec.levels
        27
    """

    def __init__(
        self,
        data_dir: str | None = None,
        length: int = 256,
        stride: int | None = None,
        batch_size: int = 128,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
        val_fraction: float = 0.05,
    ) -> None:
        super().__init__(
            length,
            stride,
            LETTERS,
            batch_size,
            num_workers,
            pin_memory,
            seed,
            val_fraction,
            test_fraction=0.05,
        )
        self.folder = DataFolder(data_dir, "text8")

    def fetch(self, part: Part) -> None:
        """Downloads the text, unless it is there."""
        self.folder.fetch(REMOTE, "text8")

    def read(self) -> tuple[str, Path]:
        """Reads the text."""
        path = self.folder.require(REMOTE.name, "text8")
        return read_text(path), path
