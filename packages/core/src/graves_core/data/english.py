"""An English text that every Python installation carries."""

import importlib.util
from pathlib import Path

from graves_core.data.alphabet import LETTERS, to_letters
from graves_core.data.text import TextDataModule

TOPICS = "pydoc_data.topics"


def read_topics() -> str:
    """The topics of `help()` as they are, in alphabetical order.

    Raises:
        FileNotFoundError: when this Python comes without them.
    """
    if importlib.util.find_spec("pydoc_data") is None or importlib.util.find_spec(TOPICS) is None:
        raise FileNotFoundError(f"this Python has no {TOPICS}; use TextFileDataModule with a text of yours")
    from pydoc_data.topics import topics

    return " ".join(topics[topic] for topic in sorted(topics))


class EnglishTextDataModule(TextDataModule):
    """The Python language reference as `help()` shows it, reduced to the 27 symbols of text8.

    About 400,000 characters of real English without a download, for trying things out; every version of
    Python has slightly others. Batches are tokens `uint8 (B, length)`: 0 is space, 1 to 26 are a to z. The
    first 90 % are for training, the next 5 % for validation, the last 5 % for testing. Training windows lie
    side by side, with another random shift in every epoch.

    Args:
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
        >>> english = EnglishTextDataModule(length=32, batch_size=4)
        >>> english.setup()
        >>> next(iter(english.train_dataloader())).shape
        torch.Size([4, 32])
    """

    def __init__(
        self,
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

    def read(self) -> tuple[str, Path]:
        """Puts the topics of `help()` together, in alphabetical order.

        Raises:
            FileNotFoundError: when this Python comes without them.
        """
        return to_letters(read_topics()), Path(TOPICS)
