"""What all sets of speech have in common."""

from abc import abstractmethod
from collections.abc import Sequence

from torch import Tensor

from graves_bayes.data.speech.audio import log_mel, stack_frames
from graves_bayes.data.speech.utterances import Utterance, Utterances, moments
from graves_core.data.base import BaseDataModule, Part
from graves_core.data.checks import check_at_least
from graves_core.data.spec import DataSpec
from graves_core.data.splits import holdout


class SpeechDataModule(BaseDataModule):
    """Recordings with the labels of what was said, for networks with connectionist temporal classification.

    A subclass reads the recordings. Batches have `inputs` `(B, T, features)`, filled up with zeros at the
    end, `lengths` `(B,)`, `labels` `(B, L)` and `label_lengths` `(B,)`. Features are logarithms of energies,
    made to mean 0 and deviation 1 over the training set.

    Args:
        classes: labels are the whole numbers from 0 to `classes - 1`.
        bins: bands of the mel scale.
        stack: so many frames of 10 ms make one step.
        batch_size: utterances per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the training utterances for validation, in [0, 1); 0 for none.

    Raises:
        TypeError: when an argument has the wrong type.
        ValueError: when an argument is out of its range.

    Example:
        >>> class Tones(SpeechDataModule):
        ...     def __init__(self) -> None:
        ...         super().__init__(2, 26, 1, 4, 0, False, 0, 0.5)
        ...     def utterances(self, part):
        ...         return [Utterance(torch.randn(9, 26), torch.tensor([0, 1])) for _ in range(8)]
        >>> import torch
        >>> tones = Tones()
        >>> tones.setup("fit")
        >>> next(iter(tones.train_dataloader()))["inputs"].shape
        torch.Size([4, 9, 26])
    """

    def __init__(
        self,
        classes: int,
        bins: int,
        stack: int,
        batch_size: int,
        num_workers: int,
        pin_memory: bool,
        seed: int,
        val_fraction: float,
    ) -> None:
        super().__init__(batch_size, num_workers, pin_memory, seed, val_fraction)
        self.classes = classes
        self.bins = check_at_least("bins", bins)
        self.stack = check_at_least("stack", stack)
        self._moments: tuple[Tensor, Tensor] | None = None

    @property
    def spec(self) -> DataSpec:
        """One step of an utterance has `stack * bins` features."""
        return DataSpec("sequence", (self.stack * self.bins,), classes=self.classes)

    @abstractmethod
    def utterances(self, part: Part) -> Sequence[Utterance]:
        """Reads a part of the set.

        Args:
            part: `"train"` or `"test"`.

        Raises:
            FileNotFoundError: when it isn't there.
            ValueError: naming the file, when it is damaged.
        """

    def features(self, samples: Tensor, rate: int) -> Tensor:
        """What a network reads of a recording, `(T, stack * bins)`, not yet normalised."""
        return stack_frames(log_mel(samples, rate, self.bins), self.stack)

    def read_train(self) -> tuple[Utterances, Utterances | None]:
        """Reads the training utterances and splits them at random, by `seed`."""
        train, val = self._chosen()
        self._moments = moments(train)
        return Utterances(train, *self._moments), Utterances(val, *self._moments) if val else None

    def split(self, utterances: Sequence[Utterance]) -> tuple[list[int], list[int]]:
        """Which utterances are for training and which for validation."""
        train, val = holdout(len(utterances), self.val_fraction, self.seed)
        return train.tolist(), val.tolist()

    def read_test(self) -> Utterances:
        """Reads the test utterances, and normalises them like those for training."""
        if self._moments is None:
            self._moments = moments(self._chosen()[0])
        return Utterances(self.utterances("test"), *self._moments)

    def _chosen(self) -> tuple[list[Utterance], list[Utterance]]:
        everything = self.utterances("train")
        train, val = self.split(everything)
        return [everything[row] for row in train], [everything[row] for row in val]
