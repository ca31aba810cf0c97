"""The copy task: remember a sequence of bits, then say it."""

from collections.abc import Sequence
from functools import partial
from typing import Literal

import lightning.pytorch as pl
import torch

from graves_core.batches import mix_seed, rank_and_world
from graves_core.data import DataSpec
from graves_core.data.checks import check_at_least, check_seed
from graves_core.data.datasets import BatchedDataset, as_it_is
from graves_core.data.generated import Batch, GeneratedBatches
from graves_core.loader import ResumableLoader
from graves_rnn_training.data.sequences import SYMBOLS, copy_task

Lengths = Literal["batch", "sequence"]


class CopyDataModule(pl.LightningDataModule):
    """Random bits that a network reads and then has to say again, longer ones the better it gets.

    A batch is `{"inputs": uint8 (B, T), "targets": int64 (B, T)}` with `T = 2 L + 1`: `L` bits (0 and 1), the
    marker 2, then `L` times the blank 3, for which the targets are the bits. Elsewhere targets are -100,
    which `cross_entropy` ignores.

    In training, `L` is drawn uniformly from `level - spread` (but at least 1) to `level`. A curriculum may
    raise `level` at any moment (`graves_core.Curriculum`). Training batches are made in the training process
    when they are asked for, so that a new level holds from the next batch on. They depend on the seed, the
    number of the batch and the level alone: `N` ranks with `batch_size / N` see the batches of one rank.

    Validation and test sequences are always the same ones, and have the lengths that are given.

    Args:
        level: bits of the longest training sequences at the beginning.
        spread: how much shorter training sequences may be.
        lengths: whether one length is drawn per `"batch"`, or one per `"sequence"`; then shorter sequences
            are followed by blanks without targets, up to the longest of the global batch.
        batch_size: sequences per batch and device.
        batches_per_epoch: training batches that make an epoch; no two epochs have the same.
        val_lengths: bits of the sequences for validation and for the test; none for no validation.
        val_sequences: how many there are of each of these lengths.
        seed: of all that is drawn.

    Raises:
        TypeError: when a number has the wrong type.
        ValueError: when an argument is out of its range.

    Example:
        >>> copying = CopyDataModule(level=3, spread=0, batch_size=2)
        >>> batch = next(iter(copying.train_dataloader()))
        >>> [copying.spec.decode(symbols) for symbols in batch["inputs"].tolist()]
        ['100|___', '000|___']
        >>> batch["targets"][0].tolist()
        [-100, -100, -100, -100, 1, 0, 0]
    """

    def __init__(
        self,
        level: int = 1,
        spread: int = 5,
        lengths: Lengths = "batch",
        batch_size: int = 16,
        batches_per_epoch: int = 500,
        val_lengths: Sequence[int] = (10,),
        val_sequences: int = 128,
        seed: int = 0,
    ) -> None:
        super().__init__()
        if lengths not in ("batch", "sequence"):
            raise ValueError(f"lengths must be 'batch' or 'sequence', got {lengths!r}")
        self.spread = check_at_least("spread", spread, 0)
        self.lengths = lengths
        self.batch_size = check_at_least("batch_size", batch_size)
        self.batches_per_epoch = check_at_least("batches_per_epoch", batches_per_epoch)
        self.val_lengths = [check_at_least("val_lengths", length) for length in val_lengths]
        self.val_sequences = check_at_least("val_sequences", val_sequences)
        self.seed = check_seed(seed)
        self._level = check_at_least("level", level)

    @property
    def level(self) -> int:
        """Bits of the longest training sequences from the next batch on."""
        return self._level

    @level.setter
    def level(self, level: int) -> None:
        self._level = check_at_least("level", level)

    @property
    def spec(self) -> DataSpec:
        """What the longest training sequence of this level is: `levels` input symbols, `classes` targets."""
        return DataSpec("text", (2 * self.level + 1,), levels=len(SYMBOLS), classes=2, symbols=SYMBOLS)

    def train_dataloader(self) -> ResumableLoader:
        """New sequences in every epoch."""
        size = self.batch_size * rank_and_world()[1]
        return self._loader(GeneratedBatches(partial(self._make, size), self.batches_per_epoch, size))

    def val_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """The same sequences always, in the order of `val_lengths`; no loader at all without lengths."""
        return self._loader(_Fixed(self, "val")) if self.val_lengths else []

    def test_dataloader(self) -> ResumableLoader | list[ResumableLoader]:
        """Like those for validation, but others."""
        return self._loader(_Fixed(self, "test")) if self.val_lengths else []

    def state_dict(self) -> dict[str, int]:
        """Tells the level."""
        return {"level": self.level}

    def load_state_dict(self, state_dict: dict[str, int]) -> None:
        """Takes over the level of the run that is resumed."""
        self.level = state_dict["level"]

    def _make(self, size: int, epoch: int, batch: int) -> Batch:
        draw = torch.Generator().manual_seed(mix_seed(self.seed, "copy", "train", epoch, batch))
        shortest = max(self.level - self.spread, 1)
        count = size if self.lengths == "sequence" else 1
        lengths = torch.randint(shortest, self.level + 1, (count,), generator=draw).expand(size)
        bits = torch.randint(2, (size, int(lengths.max())), generator=draw, dtype=torch.uint8)
        return copy_task(bits, lengths)

    def _loader(self, dataset: BatchedDataset) -> ResumableLoader:
        return ResumableLoader(dataset, self.batch_size, shuffle=False, seed=self.seed, collate_fn=as_it_is)


class _Fixed(BatchedDataset):
    """Sequences for validation or the test, whose draws depend on nothing but the seed and their length."""

    def __init__(self, copying: CopyDataModule, part: Literal["val", "test"]) -> None:
        count, lengths = copying.val_sequences, copying.val_lengths
        self.lengths = torch.tensor(lengths).repeat_interleave(count)
        self.bits = torch.zeros(len(self.lengths), max(lengths), dtype=torch.uint8)
        for place, length in enumerate(lengths):
            draw = torch.Generator().manual_seed(mix_seed(copying.seed, "copy", part, length))
            bits = torch.randint(2, (count, length), generator=draw, dtype=torch.uint8)
            self.bits[place * count : (place + 1) * count, :length] = bits

    def __len__(self) -> int:
        return len(self.lengths)

    def __getitem__(self, index: int) -> Batch:
        return {name: rows[0] for name, rows in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        lengths = self.lengths[list(indices)]
        return copy_task(self.bits[list(indices), : int(lengths.max())], lengths)
