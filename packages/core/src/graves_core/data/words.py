"""The words of an English text that every Python installation carries."""

import re
from pathlib import Path

from jaxtyping import UInt8
from torch import Tensor

from graves_core.data.alphabet import encode
from graves_core.data.base import BaseDataModule
from graves_core.data.english import TOPICS, read_topics
from graves_core.data.spec import DataSpec
from graves_core.data.splits import check_test_fraction, random_parts
from graves_core.data.windows import StridedWindows

SYMBOLS = "_abcdefghijklmnopqrstuvwxyz"
PADDING = 0
_WORD = re.compile(r"(?<![\w'’])[A-Z]?[a-z]+(?![\w'’])")


class EnglishWordsDataModule(BaseDataModule):
    """The different words of the Python language reference: short texts of different lengths.

    Words of the letters a to z, in small letters; parts of names such as `__init__` and of contractions such
    as "don't" are no words. The text differs between versions of Python: on 3.11 there are 2,712 words of 3
    to 12 letters. Batches are tokens `uint8 (B, length)`: 1 to 26 are a to z, 0 is the padding after the end
    of a word. The words are split at random by `seed`, and no word is in two parts.

    Args:
        length: letters of the longest words, and tokens in an example.
        min_length: letters of the shortest words.
        batch_size: words per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the words for validation, in [0, 1); 0 for none.
        test_fraction: share of the words for testing, in (0, 1).

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> words = EnglishWordsDataModule(length=8, batch_size=4)
        >>> words.setup()
        >>> batch = next(iter(words.train_dataloader()))
        >>> batch.shape, [words.spec.decode(word).isalpha() for word in batch.tolist()]
        (torch.Size([4, 8]), [True, True, True, True])
    """

    def __init__(
        self,
        length: int = 12,
        min_length: int = 3,
        batch_size: int = 128,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
        val_fraction: float = 0.1,
        test_fraction: float = 0.1,
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory, seed, val_fraction)
        if not 1 <= min_length <= length:
            raise ValueError(f"min_length must lie in 1..{length} (length), got {min_length}")
        self.length = length
        self.min_length = min_length
        self.test_fraction = check_test_fraction(test_fraction, val_fraction)

    @property
    def spec(self) -> DataSpec:
        """What one word is: `(length,)` tokens over "_" for padding and the letters a to z."""
        return DataSpec("text", (self.length,), levels=len(SYMBOLS), symbols=SYMBOLS, padding=PADDING)

    def read(self) -> UInt8[Tensor, "words length"]:
        """Finds the words, in alphabetical order.

        Raises:
            FileNotFoundError: when this Python comes without the text.
            ValueError: when no word is that long.
        """
        found = {word.lower() for word in _WORD.findall(read_topics())}
        words = sorted(word for word in found if self.min_length <= len(word) <= self.length)
        if not words:
            raise ValueError(f"no words have min_length={self.min_length} to length={self.length} letters")
        padded = [word.ljust(self.length, SYMBOLS[PADDING]) for word in words]
        return encode("".join(padded), SYMBOLS, Path(TOPICS)).view(-1, self.length)

    def read_train(self) -> tuple[StridedWindows, StridedWindows | None]:
        """Finds the words, and takes those for training and validation."""
        train, val, _ = self._parts()
        return self._side_by_side(train), self._side_by_side(val) if len(val) else None

    def read_test(self) -> StridedWindows:
        """Finds the words, and takes those for testing."""
        return self._side_by_side(self._parts()[2])

    def _parts(self) -> list[UInt8[Tensor, "words length"]]:
        words = self.read()
        parts = random_parts(len(words), self.val_fraction, self.test_fraction, self.seed)
        return [words[part] for part in parts]

    def _side_by_side(self, words: UInt8[Tensor, "words length"]) -> StridedWindows:
        return StridedWindows(words.flatten(), self.length, stride=self.length)
