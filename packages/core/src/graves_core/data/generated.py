"""Batches that are made when they are asked for."""

from collections.abc import Callable, Sequence

import torch
from torch import Tensor

from graves_core.data.datasets import BatchedDataset

Batch = dict[str, Tensor]


class GeneratedBatches(BatchedDataset):
    """Rows of global batches that a function makes, so that `N` ranks see the batches of one rank.

    Row `i` of an epoch is the `i % size`-th one of batch `i // size`. Read it in order (`shuffle=False`) and
    in the training process (`num_workers=0`): then what the function depends on, such as the level of a
    curriculum, holds from the very next batch on.

    Args:
        make: makes a global batch, `size` rows of every tensor, from the epoch and the number of the batch;
            the same at each call.
        batches: batches that make an epoch.
        size: rows of a global batch, of all ranks together.

    Example:
        >>> numbers = GeneratedBatches(lambda epoch, batch: {"x": batch * 10 + torch.arange(4)}, 2, size=4)
        >>> numbers.__getitems__([5, 7])["x"]
        tensor([11, 13])
    """

    def __init__(self, make: Callable[[int, int], Batch], batches: int, size: int) -> None:
        self.make = make
        self.batches = batches
        self.size = size
        self.epoch = 0

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch.

        Args:
            epoch: its number, from 0.
        """
        self.epoch = epoch

    def __len__(self) -> int:
        """Number of rows of an epoch."""
        return self.size * self.batches

    def __getitem__(self, index: int) -> Batch:
        """One row."""
        return {name: rows[0] for name, rows in self.__getitems__([index]).items()}

    def __getitems__(self, indices: Sequence[int]) -> Batch:
        """Some rows of one batch, that of the first of them."""
        batch = self.make(self.epoch, indices[0] // self.size)
        places = torch.as_tensor(indices) % self.size
        return {name: rows[places] for name, rows in batch.items()}
