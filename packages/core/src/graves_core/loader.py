"""A data loader that shares every batch out over the ranks and that resumes in the middle of an epoch."""

# ruff: noqa: NPY002 -- datasets do draw from numpy's global generator

import random
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any, Protocol, runtime_checkable

import numpy as np
import torch
from torch.utils.data import DataLoader, Dataset, default_collate

from graves_core.batches import BatchIndices, RankBatches


@runtime_checkable
class Rows(Protocol):
    """A map-style dataset: it has a length and gives the row of an index.

    It may also offer `__getitems__(indices)`, which reads a whole batch at once.
    """

    def __len__(self) -> int:
        """Counts the rows."""
        ...

    def __getitem__(self, index: int, /) -> Any:
        """Reads one row."""
        ...


@runtime_checkable
class PerEpoch(Protocol):
    """A dataset whose rows are others in every epoch."""

    def set_epoch(self, epoch: int, /) -> None:
        """Chooses the epoch, in the process that reads and before every batch."""
        ...


class ResumableLoader:
    """Loads the same batches whatever interrupts the run or shares it out, else like torch's `DataLoader`.

    - `N` ranks with `batch_size / N` see the global batches of one rank with `batch_size`; see
      `graves_core.batches.RankBatches`. Lightning finds nothing to replace here, with or without
      `use_distributed_sampler`.
    - `state_dict` counts the batches that were handed out, not those that workers have read ahead, and a
      loader that loads it goes on with the very next batch. Lightning keeps it in its checkpoints by itself.
    - What the dataset draws from the global generators of torch, numpy and Python while it reads a batch
      depends on `(seed, epoch, batch, rank)` alone: not on `num_workers`, and not on how often the run was
      resumed. The generators of the training process stay as they are.

    The epoch advances by `set_epoch` of `batch_sampler`, which Lightning calls, and by handing out its
    last batch. An iteration that is abandoned and begun anew starts the same epoch again. With the
    Trainer's `overfit_batches`, pass `shuffle=False`.

    Args:
        dataset: rows with `__len__` and `__getitem__`. If it has `__getitems__(indices)`, that is called
            once per batch, and what it returns goes to `collate_fn`. If it has `set_epoch(epoch)`, that is
            called before every batch, in the process that reads it.
        batch_size: rows per batch on each rank.
        shuffle: whether each epoch has its own order, a permutation from `(seed, epoch)`.
        seed: seed of the orders and of the dataset's own draws.
        num_workers: number of processes that read ahead; 0 reads in the training process.
        pin_memory: whether batches are copied to page-locked memory, for faster copies to a GPU.
        drop_last: whether an incomplete last global batch is left out.
        collate_fn: makes a batch of a list of rows; `None` stacks them as torch does.

    Raises:
        TypeError: when an argument has the wrong type.
        ValueError: when an argument is out of range, or the dataset is empty.

    Example:
        >>> loader = ResumableLoader(range(10), batch_size=4, shuffle=True, seed=1)
        >>> epoch = [batch.tolist() for batch in loader]
        >>> again = ResumableLoader(range(10), batch_size=4, shuffle=True, seed=1)
        >>> again.load_state_dict({"epoch": 0, "batches": 1})
        >>> [batch.tolist() for batch in again] == epoch[1:]
        True
    """

    def __init__(
        self,
        dataset: Rows,
        batch_size: int,
        shuffle: bool,
        seed: int = 0,
        num_workers: int = 0,
        pin_memory: bool = False,
        drop_last: bool = False,
        collate_fn: Callable[[Any], Any] | None = None,
    ) -> None:
        rows = _count_rows(dataset)
        _check_integer("batch_size", batch_size, 1)
        _check_integer("seed", seed, 0)
        _check_integer("num_workers", num_workers, 0)
        if collate_fn is not None and not callable(collate_fn):
            raise TypeError(f"collate_fn must be callable or None, got {collate_fn!r}")
        if drop_last and rows < batch_size:
            raise ValueError(
                f"drop_last=True leaves no batch: batch_size={batch_size}, dataset has {rows} rows"
            )
        self.dataset = dataset
        self.batch_size = batch_size
        self.num_workers = num_workers
        self.pin_memory = pin_memory
        self.batch_sampler = RankBatches(rows, batch_size, shuffle, seed, drop_last)
        self._loader: DataLoader[Any] = DataLoader(
            _SeededReads(dataset),
            batch_sampler=self.batch_sampler,
            num_workers=num_workers,
            pin_memory=pin_memory,
            collate_fn=collate_fn or default_collate,
            persistent_workers=num_workers > 0,
            generator=torch.Generator(),
        )

    @property
    def _iterator(self) -> Any:
        """The attribute through which Lightning ends persistent workers."""
        return self._loader._iterator

    @_iterator.setter
    def _iterator(self, iterator: Any) -> None:
        self._loader._iterator = iterator

    def __len__(self) -> int:
        """Counts the batches of an epoch on each rank.

        Raises:
            ValueError: when the rows are too few to give every rank a batch.
        """
        return len(self.batch_sampler)

    def __iter__(self) -> Iterator[Any]:
        """Yields the epoch's batches; the place to begin is read when the first one is asked for."""
        batches = self.batch_sampler
        epoch, done, total = batches.epoch, batches.first, len(batches)
        iterator = iter(self._loader)
        batches.first = 0
        for batch in iterator:
            done += 1
            batches.epoch, batches.done = (epoch, done) if done < total else (epoch + 1, 0)
            yield batch

    def state_dict(self) -> dict[str, int]:
        """Tells the epoch and how many of its batches were handed out."""
        return {"epoch": self.batch_sampler.epoch, "batches": self.batch_sampler.done}

    def load_state_dict(self, state: dict[str, int]) -> None:
        """Makes the next iteration go on where `state` was taken.

        Args:
            state: what `state_dict` returned.

        Raises:
            ValueError: when `state` counts more batches than an epoch has, as after a change of the dataset,
                the batch size or the number of ranks.
        """
        epoch, done = state["epoch"], state["batches"]
        if not 0 <= done < len(self):
            raise ValueError(
                f"cannot resume after batch {done} of an epoch with {len(self)} batches: "
                "the dataset, the batch size or the number of devices is not that of the checkpoint"
            )
        batches = self.batch_sampler
        batches.epoch, batches.first, batches.done = epoch, done, done


class _SeededReads(Dataset[Any]):
    def __init__(self, dataset: Rows) -> None:
        self.dataset = dataset

    def __getitems__(self, indices: BatchIndices) -> Any:
        # here and not in the loader, because workers that persist have a dataset of their own
        if isinstance(self.dataset, PerEpoch):
            self.dataset.set_epoch(indices.epoch)
        with _draws_from(indices.seed):
            read = getattr(self.dataset, "__getitems__", None)
            return [self.dataset[index] for index in indices] if read is None else read(list(indices))


@contextmanager
def _draws_from(seed: int) -> Iterator[None]:
    states = torch.get_rng_state(), np.random.get_state(), random.getstate()
    # `torch.manual_seed` would also reseed the GPU
    torch.default_generator.manual_seed(seed)
    np.random.seed(seed % 2**32)
    random.seed(seed)
    try:
        yield
    finally:
        torch.set_rng_state(states[0])
        np.random.set_state(states[1])
        random.setstate(states[2])


def _count_rows(dataset: object) -> int:
    if not isinstance(dataset, Rows):
        raise TypeError(f"dataset must have __len__ and __getitem__, got {type(dataset).__name__}")
    if len(dataset) == 0:
        raise ValueError("dataset must have at least one row, got 0")
    return len(dataset)


def _check_integer(name: str, value: object, least: int) -> None:
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
