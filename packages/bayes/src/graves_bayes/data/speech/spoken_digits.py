"""Strings of spoken digits, made of the recordings of the Free Spoken Digit Dataset."""

import math
import re
from collections.abc import Iterator, Sequence
from pathlib import Path
from zipfile import ZipFile

import torch
from torch import Tensor

from graves_bayes.data.speech.audio import read_audio
from graves_bayes.data.speech.base import SpeechDataModule
from graves_bayes.data.speech.utterances import Utterance
from graves_core.data.base import Part
from graves_core.data.checks import check_at_least
from graves_core.data.damage import read_at_most, refusing
from graves_core.data.files import DataFolder

RATE = 8000
TEST_RECORDINGS = 5
"""The first five recordings of each digit by each speaker are the official test set."""
LARGEST = 1_000_000
"""No recording of a digit has more bytes."""
_NAME = re.compile(r"(?:.*/)?(\d)_([a-z]+)_(\d+)\.wav")

Recording = tuple[int, str, Tensor]
"""The digit, who said it, and the samples."""


class SpokenDigitsDataModule(SpeechDataModule):
    """Strings of digits by one speaker each, with pauses between them: a small, open sibling of TIMIT.

    Made of the recordings of the Free Spoken Digit Dataset (github.com/Jakobovski/free-spoken-digit-dataset,
    CC BY-SA 4.0): a copy of its repository as a folder `free-spoken-digit-dataset`, or as a zip file
    `fsdd.zip` or `fsdd-5speakers.zip`, is looked for in `data_dir` and `data_dir/fsdd`. Strings for
    training and validation are of other recordings, and strings for the test of those of the official test
    set. They are always the same ones: a description length counts what a set of that size costs.

    Args:
        data_dir: folder of data sets; None for the environment variable GRAVES_DATA, else the user's cache.
        strings: how many strings for training and validation together.
        test_strings: how many for the test.
        shortest: the fewest digits of a string.
        longest: the most digits of a string.
        pause: the longest pause between two digits in seconds.
        bins: bands of the mel scale.
        stack: so many frames of 10 ms make one step.
        batch_size: strings per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the strings, of the split and of the order of training.
        val_fraction: share of the recordings and of the strings for validation, in [0, 1); 0 for none.

    Raises:
        TypeError: when an argument has the wrong type.
        ValueError: when an argument is out of its range.

    Example:
        >>> SpokenDigitsDataModule(stack=3).spec.shape
        (78,)
    """

    def __init__(
        self,
        data_dir: str | None = None,
        strings: int = 1000,
        test_strings: int = 200,
        shortest: int = 2,
        longest: int = 5,
        pause: float = 0.2,
        bins: int = 26,
        stack: int = 3,
        batch_size: int = 16,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
        val_fraction: float = 0.1,
    ) -> None:
        super().__init__(10, bins, stack, batch_size, num_workers, pin_memory, seed, val_fraction)
        self.strings = check_at_least("strings", strings)
        self.test_strings = check_at_least("test_strings", test_strings)
        self.shortest = check_at_least("shortest", shortest)
        self.longest = check_at_least("longest", longest, shortest)
        if not pause >= 0:
            raise ValueError(f"pause must be at least 0 seconds, got {pause}")
        self.pause = pause
        self.folder = DataFolder(data_dir, "fsdd")

    def utterances(self, part: Part) -> Sequence[Utterance]:
        """Makes the strings of a part; the last ones of the training part are of recordings of their own.

        Raises:
            FileNotFoundError: when the recordings aren't there.
            ValueError: naming the file, when it is damaged.
        """
        path = self.folder.require("free-spoken-digit-dataset/", "fsdd.zip", "fsdd-5speakers.zip")
        recordings = read_recordings(path, part)
        if part == "test":
            return self._make(recordings, self.test_strings, self.seed + 2)
        held = round(self.val_fraction * self.strings)
        train, val = _by_recording(recordings, self.val_fraction)
        made = self._make(train, self.strings - held, self.seed)
        return made + (self._make(val, held, self.seed + 1) if held else [])

    def split(self, utterances: Sequence[Utterance]) -> tuple[list[int], list[int]]:
        """The last strings, which are of other recordings, are for validation."""
        held = round(self.val_fraction * self.strings)
        rows = list(range(len(utterances)))
        return rows[: len(rows) - held], rows[len(rows) - held :]

    def _make(self, recordings: Sequence[Recording], count: int, seed: int) -> list[Utterance]:
        draw = torch.Generator().manual_seed(seed)
        speakers = sorted({speaker for _, speaker, _ in recordings})
        of_speaker = {name: [each for each in recordings if each[1] == name] for name in speakers}
        made = []
        for _ in range(count):
            said = of_speaker[speakers[_below(len(speakers), draw)]]
            length = self.shortest + _below(self.longest - self.shortest + 1, draw)
            chosen = [said[_below(len(said), draw)] for _ in range(length)]
            pauses = (torch.rand(length + 1, generator=draw) * self.pause * RATE).long().tolist()
            sound = [torch.zeros(pauses[0])]
            for (_, _, samples), pause in zip(chosen, pauses[1:], strict=True):
                sound += [samples, torch.zeros(pause)]
            features = self.features(torch.cat(sound), RATE)
            made.append(Utterance(features, torch.tensor([digit for digit, _, _ in chosen])))
        return made


def read_recordings(path: Path, part: Part) -> list[Recording]:
    """Reads the recordings of a part, sorted by digit, speaker and number.

    Args:
        path: the folder of the repository, or a zip file of it.
        part: `"train"` or `"test"`.

    Raises:
        ValueError: naming the file, when it is damaged or holds no recording.
    """
    found: list[tuple[int, str, int, Tensor]] = []
    for name, content in _from_folder(path) if path.is_dir() else _from_zip(path):
        match = _NAME.fullmatch(name)
        if match is None or (int(match[3]) < TEST_RECORDINGS) != (part == "test"):
            continue
        samples, rate = read_audio(bytes(content), f"{path}: {name}")
        if rate != RATE:
            raise ValueError(f"{path}: {name} must have {RATE} samples a second, not {rate}")
        found.append((int(match[1]), match[2], int(match[3]), samples))
    if not found:
        raise ValueError(f"{path} holds no recordings that are named like 7_george_12.wav")
    return [(digit, speaker, samples) for digit, speaker, _, samples in sorted(found, key=lambda of: of[:3])]


def _from_folder(path: Path) -> Iterator[tuple[str, bytearray]]:
    for file in path.glob("recordings/*.wav"):
        with refusing(file), file.open("rb") as stream:
            content = read_at_most(stream, LARGEST)
        yield file.name, content


def _from_zip(path: Path) -> Iterator[tuple[str, bytearray]]:
    with refusing(path):
        archive = ZipFile(path)
    with archive:
        for name in archive.namelist():
            if _NAME.fullmatch(name) is not None:
                with refusing(path), archive.open(name) as stream:
                    content = read_at_most(stream, LARGEST)
                yield name, content


def _by_recording(
    recordings: Sequence[Recording], val_fraction: float
) -> tuple[list[Recording], list[Recording]]:
    """The first recordings of each digit by each speaker are for validation."""
    groups: dict[tuple[int, str], list[Recording]] = {}
    for recording in recordings:
        groups.setdefault(recording[:2], []).append(recording)
    train: list[Recording] = []
    val: list[Recording] = []
    for group in groups.values():
        held = min(math.ceil(val_fraction * len(group)), len(group) - 1)
        val += group[:held]
        train += group[held:]
    return train, val


def _below(limit: int, draw: torch.Generator) -> int:
    return int(torch.randint(limit, (), generator=draw))
