"""What datasets and loaders agree upon: a batch is gathered by one index operation."""

from abc import ABC, abstractmethod
from collections.abc import Sequence
from typing import Any, TypeVar

from torch.utils.data import Dataset

T = TypeVar("T")


class BatchedDataset(Dataset[Any], ABC):
    """A dataset of known length that hands out whole batches, ready for the model."""

    @abstractmethod
    def __len__(self) -> int:
        """Number of examples."""

    @abstractmethod
    def __getitem__(self, index: int) -> Any:
        """One example."""

    @abstractmethod
    def __getitems__(self, indices: Sequence[int]) -> Any:
        """The batch of these examples, already collated."""


def as_it_is(batch: T) -> T:
    """The collate function of datasets whose batches need none."""
    return batch
