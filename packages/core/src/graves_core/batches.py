"""Which rows make the batches of an epoch, on each rank."""

from collections.abc import Iterator
from hashlib import blake2b

import torch
from torch.utils.data import Sampler


def mix_seed(*parts: int | str) -> int:
    """Makes one seed of several numbers or words, so that no two combinations share a random stream.

    Args:
        parts: what the stream belongs to, such as the run's seed, the epoch and the rank.

    Returns:
        A seed from 0 to 2**63 - 1.

    Example:
        >>> mix_seed(0, 1) != mix_seed(1, 0)
        True
    """
    return int.from_bytes(blake2b(repr(parts).encode(), digest_size=8).digest(), "big") >> 1


def rank_and_world() -> tuple[int, int]:
    """Tells this process's rank and the number of ranks: those of `torch.distributed`, else 0 and 1."""
    distributed = torch.distributed
    if distributed.is_available() and distributed.is_initialized():
        return distributed.get_rank(), distributed.get_world_size()
    return 0, 1


class BatchIndices(list[int]):
    """The row numbers of one batch, and the seed of whatever the dataset draws while it reads them.

    Args:
        indices: row numbers.
        seed: seed of this batch on this rank.
        epoch: number of the epoch.
    """

    def __init__(self, indices: list[int], seed: int = 0, epoch: int = 0) -> None:
        super().__init__(indices)
        self.seed = seed
        self.epoch = epoch


class RankBatches(Sampler[BatchIndices]):
    """Yields this rank's share of every global batch of an epoch.

    The rows of an epoch stand in one order, a permutation that depends on `(seed, epoch)` alone. The
    global batch is a run of `batch_size * world_size` rows of it, and rank `r` takes every `world_size`-th
    of them, from the `r`-th on. So `N` ranks with `batch_size / N` see the batches that one rank with
    `batch_size` sees.

    Every rank yields equally many batches and no row is seen twice. Without `drop_last`, a last global
    batch with fewer rows than there are ranks joins the batch before it; the sizes of a last batch may
    differ by one between ranks. Rank and world size are those of `torch.distributed` at the moment when
    they are needed, else 0 and 1.

    Args:
        rows: number of rows of the dataset.
        batch_size: rows per batch on each rank.
        shuffle: whether each epoch has its own order.
        seed: seed of the orders.
        drop_last: whether an incomplete last global batch is left out.

    Example:
        >>> batches = RankBatches(7, batch_size=3, shuffle=False, seed=0, drop_last=False)
        >>> list(batches)
        [[0, 1, 2], [3, 4, 5], [6]]
    """

    def __init__(self, rows: int, batch_size: int, shuffle: bool, seed: int, drop_last: bool) -> None:
        self.rows = rows
        self.batch_size = batch_size
        self.shuffle = shuffle
        self.seed = seed
        self.drop_last = drop_last
        self.epoch = 0
        self.first = 0
        self.done = 0

    @property
    def sampler(self) -> "RankBatches":
        """Where Lightning looks for `set_epoch`."""
        return self

    def set_epoch(self, epoch: int) -> None:
        """Chooses the epoch of the next iteration, which then begins at its first batch unless it is resumed.

        Args:
            epoch: number of the epoch, from 0.
        """
        if epoch != self.epoch:
            self.epoch, self.first, self.done = epoch, 0, 0

    def __len__(self) -> int:
        """Counts the batches of an epoch; the number is the same on every rank.

        Raises:
            ValueError: when the rows are too few to give every rank a batch.
        """
        world = rank_and_world()[1]
        batches, rest = divmod(self.rows, self.batch_size * world)
        if not self.drop_last and (rest >= world or (rest > 0 and batches == 0)):
            batches += 1
        if batches == 0 or self.rows < world:
            raise ValueError(
                f"dataset has {self.rows} rows, too few for one batch on each of {world} ranks with "
                f"batch_size={self.batch_size} and drop_last={self.drop_last}"
            )
        return batches

    def __iter__(self) -> Iterator[BatchIndices]:
        """Begins at the batch `first` of the epoch that is set at this moment."""
        return self._from(self.epoch, self.first)

    def _from(self, epoch: int, first: int) -> Iterator[BatchIndices]:
        rank, world = rank_and_world()
        order = self._order(epoch)
        last = len(self) - 1
        size = self.batch_size * world
        for batch in range(first, last + 1):
            stop = self.rows if batch == last and not self.drop_last else (batch + 1) * size
            share = order[batch * size + rank : stop : world]
            yield BatchIndices(
                share.tolist() if isinstance(share, torch.Tensor) else list(share),
                mix_seed(self.seed, epoch, batch, rank),
                epoch,
            )

    def _order(self, epoch: int) -> "torch.Tensor | range":
        if not self.shuffle:
            return range(self.rows)
        generator = torch.Generator().manual_seed(mix_seed(self.seed, epoch))
        return torch.randperm(self.rows, generator=generator)
