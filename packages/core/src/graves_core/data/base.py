"""What all data sets have in common: when they read, how they split, what their loaders are like."""

from abc import ABC, abstractmethod
from contextlib import suppress
from typing import Literal

from lightning.pytorch import LightningDataModule

from graves_core.data.datasets import BatchedDataset, as_it_is
from graves_core.data.spec import DataSpec
from graves_core.loader import ResumableLoader

Part = Literal["train", "test"]


class BaseDataModule(LightningDataModule, ABC):
    """A data set with loaders that resume in the middle of an epoch and never repeat an example over ranks.

    A subclass says what an example is (`spec`), and how the two parts of the set are read. Reading checks
    every file, before training starts.

    Training batches are shuffled, and the last one is left out when it is not full: every step then averages
    over as many examples, no step on three examples weighs like one on a hundred, and compiled models see
    one shape. Validation, test and prediction take every example once, in order. Prediction takes the test
    part.

    Args:
        batch_size: examples per batch and device.
        num_workers: processes that load batches; 0 loads them in the training process.
        pin_memory: put batches into page-locked memory, from where they travel faster to a GPU.
        seed: of the split and of the order of training.
        val_fraction: share of the training part that is held back for validation, in [0, 1); 0 for none.

    Raises:
        ValueError: when an argument is out of its range.

    Example:
        >>> import torch
        >>> from graves_core.data import StridedWindows
        >>> class Numbers(BaseDataModule):
        ...     spec = DataSpec("text", (2,), levels=256)
        ...     def read_train(self):
        ...         return self.read_test(), None
        ...     def read_test(self):
        ...         return StridedWindows(torch.arange(6, dtype=torch.uint8), length=2, stride=2)
        >>> numbers = Numbers(batch_size=2, num_workers=0, pin_memory=False, seed=0, val_fraction=0.0)
        >>> numbers.setup()
        >>> [batch.tolist() for batch in numbers.test_dataloader()]
        [[[0, 1], [2, 3]], [[4, 5]]]
    """

    def __init__(
        self, batch_size: int, num_workers: int, pin_memory: bool, seed: int, val_fraction: float
    ) -> None:
        super().__init__()
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        if num_workers < 0:
            raise ValueError(f"num_workers must be at least 0, got {num_workers}")
        if not 0 <= seed < 2**32:
            raise ValueError(f"seed must lie in 0..2**32-1, got {seed}")
        if not 0 <= val_fraction < 1:
            raise ValueError(f"val_fraction must lie in [0, 1), got {val_fraction}")
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.seed = seed
        self.val_fraction = val_fraction
        self._train: BatchedDataset | None = None
        self._val: BatchedDataset | None = None
        self._test: BatchedDataset | None = None

    @property
    @abstractmethod
    def spec(self) -> DataSpec:
        """What one example is."""

    @abstractmethod
    def read_train(self) -> tuple[BatchedDataset, BatchedDataset | None]:
        """Reads the training part and splits it; there is no validation set when `val_fraction` is 0.

        Raises:
            FileNotFoundError: when it isn't there.
            ValueError: naming the file, when it is damaged.
        """

    @abstractmethod
    def read_test(self) -> BatchedDataset:
        """Reads the test part.

        Raises:
            FileNotFoundError: when it isn't there.
            ValueError: naming the file, when it is damaged.
        """

    def fetch(self, part: Part) -> None:
        """Downloads what is missing of a part; sets that need no files have nothing to do.

        Args:
            part: `"train"` or `"test"`.
        """

    def prepare_data(self) -> None:
        """Downloads what is missing for the coming stage, on one process per machine."""
        stage = self.trainer.state.fn if self.trainer is not None else None
        if stage in (None, "fit", "validate"):
            self.fetch("train")
        if stage in (None, "test", "predict"):
            self.fetch("test")

    def setup(self, stage: str | None = None) -> None:
        """Reads what the stage needs; before a fit also the test part if it is there, to refuse a bad one.

        Args:
            stage: `"fit"`, `"validate"`, `"test"`, `"predict"`; None for all.
        """
        if stage in (None, "fit", "validate") and self._train is None:
            self._train, self._val = self.read_train()
        if stage in (None, "test", "predict") and self._test is None:
            self._test = self.read_test()
        if stage == "fit" and self._test is None:
            with suppress(FileNotFoundError):
                self._test = self.read_test()

    def train_dataloader(self) -> ResumableLoader:
        """Shuffled batches of the training split."""
        train = _ready(self._train, "fit")
        ranks = self.trainer.world_size if self.trainer is not None else 1
        return self._loader(train, shuffle=True, drop_last=len(train) >= self.batch_size * ranks)

    def val_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """The validation split in order; no loader at all when `val_fraction` is 0."""
        _ready(self._train, "fit")
        return [] if self._val is None else self._loader(self._val)

    def test_dataloader(self) -> ResumableLoader:
        """The test part in order."""
        return self._loader(_ready(self._test, "test"))

    def predict_dataloader(self) -> ResumableLoader:
        """The test part in order."""
        return self._loader(_ready(self._test, "test"))

    def _loader(
        self, dataset: BatchedDataset, shuffle: bool = False, drop_last: bool = False
    ) -> ResumableLoader:
        return ResumableLoader(
            dataset,
            batch_size=self.batch_size,
            shuffle=shuffle,
            seed=self.seed,
            num_workers=self.num_workers,
            pin_memory=self.pin_memory,
            drop_last=drop_last,
            collate_fn=as_it_is,
        )


def _ready(dataset: BatchedDataset | None, stage: str) -> BatchedDataset:
    if dataset is None:
        raise RuntimeError(f'call setup("{stage}") before asking for its loader')
    return dataset
