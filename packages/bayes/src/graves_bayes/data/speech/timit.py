"""TIMIT, read sentences of American English with their phonemes, from a copy of the user's."""

from collections.abc import Sequence
from pathlib import Path

import torch

from graves_bayes.data.speech.audio import read_audio
from graves_bayes.data.speech.base import SpeechDataModule
from graves_bayes.data.speech.phonemes import CLASSES, phoneme_labels
from graves_bayes.data.speech.utterances import Utterance
from graves_core.data.base import Part
from graves_core.data.damage import refusing
from graves_core.data.files import DataFolder

CORE_TEST = [
    "mdab0", "mwbt0", "felc0", "mtas1", "mwew0", "fpas0", "mjmp0", "mlnt0", "fpkt0", "mlll0",
    "mtls0", "fjlm0", "mbpm0", "mklt0", "fnlp0", "mcmj0", "mjdh0", "fmgd0", "mgrt0", "mnjm0",
    "fdhc0", "mjln0", "mpam0", "fmld0",
]  # fmt: skip
"""The 24 speakers of the core test set; each read 8 sentences that no training speaker reads."""


class TIMITDataModule(SpeechDataModule):
    """The phonemes of TIMIT in 39 classes: 3,696 sentences for training, the 192 of the core test set.

    TIMIT is sold by the Linguistic Data Consortium (LDC93S1). The folder with `TRAIN` and `TEST`, in capital
    or small letters, is looked for as `timit` or `TIMIT` in `data_dir`. The two sentences that all speakers
    read (`SA`) are left out, as is usual.

    Args:
        data_dir: folder of data sets; None for the environment variable GRAVES_DATA, else the user's cache.
        bins: bands of the mel scale.
        stack: so many frames of 10 ms make one step.
        batch_size: sentences per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the training sentences for validation, in [0, 1); the paper takes 184 of
            3,696 (0.0498), and none when it needs no early stopping.

    Raises:
        TypeError: when an argument has the wrong type.
        ValueError: when an argument is out of its range.

    Source: Graves 2011, for the sentences.

    Example:
        >>> TIMITDataModule().spec.classes
        39
    """

    def __init__(
        self,
        data_dir: str | None = None,
        bins: int = 40,
        stack: int = 1,
        batch_size: int = 1,
        num_workers: int = 0,
        pin_memory: bool = False,
        seed: int = 0,
        val_fraction: float = 0.0498,
    ) -> None:
        super().__init__(len(CLASSES), bins, stack, batch_size, num_workers, pin_memory, seed, val_fraction)
        self.folder = DataFolder(data_dir, "timit", ("TIMIT",))

    def utterances(self, part: Part) -> Sequence[Utterance]:
        """Reads the sentences of a part, sorted by their path.

        Raises:
            FileNotFoundError: when they aren't there.
            ValueError: naming the file, when it is damaged.
        """
        folder = self.folder.require(f"{part.upper()}/", f"{part}/")
        sounds = [path for path in sorted(folder.glob("*/*/*")) if path.name.lower().endswith(".wav")]
        sounds = [path for path in sounds if not path.name.lower().startswith("sa")]
        if part == "test":
            sounds = [path for path in sounds if path.parent.name.lower() in CORE_TEST]
        if not sounds:
            raise ValueError(f"{folder} holds no sentences like DR1/FCJF0/SI1027.WAV")
        return [self._read(path) for path in sounds]

    def _read(self, sound: Path) -> Utterance:
        samples, rate = read_audio(sound, str(sound))
        path = sound.with_suffix(".PHN" if sound.suffix.isupper() else ".phn")
        with refusing(path):
            lines = [line.split() for line in path.read_text(encoding="ascii").splitlines()]
            if not lines or any(len(line) != 3 for line in lines):
                raise ValueError("every line must have a beginning, an end and a symbol")
            labels = phoneme_labels([line[2].lower() for line in lines])
        return Utterance(self.features(samples, rate), torch.tensor(labels))
