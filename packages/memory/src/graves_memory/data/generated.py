"""Tasks of remembering as data: made on the fly, harder by level, whole or in chunks."""

from collections.abc import Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, Literal

import lightning.pytorch as pl
import torch

from graves_core.batches import mix_seed, rank_and_world
from graves_core.data.checks import check_at_least, check_seed
from graves_core.data.datasets import BatchedDataset, as_it_is
from graves_core.data.generated import GeneratedBatches
from graves_core.loader import ResumableLoader
from graves_memory.data.padding import joined
from graves_memory.data.tasks.base import Batch, Task
from graves_memory.data.tasks.copying import CopyTask


@dataclass(frozen=True)
class TaskSpec:
    """The sizes of a task, so that a model can check before training that the two fit.

    Args:
        input_size: channels of the input.
        output_size: bits of a word of the answer.
    """

    input_size: int
    output_size: int


class TaskDataModule(pl.LightningDataModule):
    """Sequences of a task: new ones in every training batch, the same ones in every validation.

    A batch is `{"inputs": float32 (B, T, I), "targets": float32 (B, T, O), "mask": bool (B, T), "level":
    int64 (B,)}`: what is read, the bits that are to be said, where they are to be said, and how hard each
    sequence is. All training sequences of a batch are equally long. Shorter validation sequences are followed
    by zeros outside of the mask.

    In training, the difficulty is drawn uniformly from the task's `shortest` to `level`. A curriculum may
    raise `level` at any moment (`graves_core.Curriculum`). Training batches are made in the training process
    when they are asked for, so that a new level holds from the next batch on. They depend on the seed, the
    number of the batch and the level alone: `N` ranks with `batch_size / N` see the batches of one rank.

    With `chunk`, each training sequence is cut into batches of so many steps (the last may be shorter) that
    follow one another, also over the end of an epoch. `"reset": bool (B,)` is then true in the first one of a
    sequence, and false where the state of the network is to be carried on. The difficulty is drawn at the
    level at which a sequence begins. A run that is resumed goes on in the middle of a sequence.

    Args:
        task: what is to be done; None for `CopyTask`.
        level: greatest difficulty of training sequences at the beginning; None for the task's `shortest`.
        batch_size: sequences per batch and device.
        batches_per_epoch: training batches that make an epoch; no two epochs have the same.
        val_levels: difficulties of the sequences for validation and for the test; none for no validation.
        val_sequences: how many there are of each of these.
        chunk: steps of a training batch; None for whole sequences.
        seed: of all that is drawn.

    Raises:
        TypeError: when an argument has the wrong type.
        ValueError: when an argument is out of its range.

    Example:
        >>> copying = TaskDataModule(CopyTask(bits=4, shortest=3), level=3, batch_size=2)
        >>> batch = next(iter(copying.train_dataloader()))
        >>> batch["inputs"].shape, batch["targets"].shape, batch["mask"][0].tolist()
        (torch.Size([2, 8, 6]), torch.Size([2, 8, 4]), [False, False, False, False, False, True, True, True])
    """

    def __init__(
        self,
        task: Task | None = None,
        level: int | None = None,
        batch_size: int = 8,
        batches_per_epoch: int = 500,
        val_levels: Sequence[int] = (10,),
        val_sequences: int = 128,
        chunk: int | None = None,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if task is not None and not isinstance(task, Task):
            raise TypeError(f"task must be a Task or None, got {type(task).__name__}")
        self.task = task or CopyTask()
        self.batch_size = check_at_least("batch_size", batch_size)
        self.batches_per_epoch = check_at_least("batches_per_epoch", batches_per_epoch)
        self.val_levels = [check_at_least("val_levels", hard, self.task.shortest) for hard in val_levels]
        self.val_sequences = check_at_least("val_sequences", val_sequences)
        self.chunk = chunk if chunk is None else check_at_least("chunk", chunk)
        self.seed = check_seed(seed)
        self.level = self.task.shortest if level is None else level
        self._begun: tuple[int, int] | None = None
        self._whole: tuple[tuple[int, int, int], Batch] | None = None

    @property
    def level(self) -> int:
        """Greatest difficulty of the training sequences that begin from the next batch on."""
        return self._level

    @level.setter
    def level(self, level: int) -> None:
        self._level = check_at_least("level", level, self.task.shortest)

    @property
    def spec(self) -> TaskSpec:
        """The sizes of the task."""
        return TaskSpec(self.task.input_size, self.task.output_size)

    def train_dataloader(self) -> ResumableLoader:
        """New sequences in every epoch."""
        size = self.batch_size * rank_and_world()[1]
        return self._loader(GeneratedBatches(partial(self._make, size), self.batches_per_epoch, size))

    def val_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """The same sequences always, in the order of `val_levels`; no loader at all without levels."""
        return self._loader(_Fixed(self, "val")) if self.val_levels else []

    def test_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """Like those for validation, but others."""
        return self._loader(_Fixed(self, "test")) if self.val_levels else []

    def predict_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """The sequences of the test."""
        return self.test_dataloader()

    def state_dict(self) -> dict[str, Any]:
        """Tells the level, and the first batch and the level of what is being read in chunks."""
        return {"level": self.level, "begun": None if self._begun is None else list(self._begun)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Takes over the level, and the sequence, of the run that is resumed."""
        self.level = state_dict["level"]
        begun = state_dict["begun"]
        self._begun = None if begun is None else (begun[0], begun[1])

    def _loader(self, dataset: BatchedDataset) -> ResumableLoader:
        return ResumableLoader(dataset, self.batch_size, shuffle=False, seed=self.seed, collate_fn=as_it_is)

    def _make(self, size: int, epoch: int, batch: int) -> Batch:
        """A global batch of an epoch."""
        number = epoch * self.batches_per_epoch + batch
        if self.chunk is None:
            return self._sequences(size, number, self.level)
        return self._next_chunk(size, number, self.chunk)

    def _sequences(self, size: int, number: int, level: int) -> Batch:
        draw = torch.Generator().manual_seed(mix_seed(self.seed, "task", "train", number))
        return self.task.make(level, size, draw)

    def _next_chunk(self, size: int, number: int, steps: int) -> Batch:
        """Batch `number` of a run: the next piece of the sequences that were begun, or of new ones."""
        place = -1 if self._begun is None else number - self._begun[0]
        if self._begun is None or not 0 <= place * steps < self._read(size, *self._begun)["mask"].shape[1]:
            self._begun, place = (number, self.level), 0
        whole = self._read(size, *self._begun)
        window = slice(place * steps, (place + 1) * steps)
        chunk = {name: rows[:, window] if rows.dim() > 1 else rows for name, rows in whole.items()}
        return chunk | {"reset": torch.full((size,), place == 0)}

    def _read(self, size: int, number: int, level: int) -> Batch:
        """The sequences that began at a batch and a level; the last ones are kept."""
        if self._whole is None or self._whole[0] != (size, number, level):
            self._whole = (size, number, level), self._sequences(size, number, level)
        return self._whole[1]


class _Fixed(BatchedDataset):
    """Sequences for validation or the test; each depends on the seed, its difficulty and its number alone."""

    def __init__(self, data: TaskDataModule, part: Literal["val", "test"]) -> None:
        self.task, self.seed, self.part = data.task, data.seed, part
        self.levels, self.count = data.val_levels, data.val_sequences

    def __len__(self) -> int:
        return len(self.levels) * self.count

    def __getitem__(self, index: int) -> Batch:
        return {name: rows[0] for name, rows in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        return joined([self._sequence(index) for index in indices])

    def _sequence(self, index: int) -> Batch:
        level, number = self.levels[index // self.count], index % self.count
        draw = torch.Generator().manual_seed(mix_seed(self.seed, "task", self.part, level, number))
        return self.task.make(level, 1, draw, length=level)
