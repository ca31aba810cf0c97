"""Which rows have not been accessed for longest: what is kept, and how it is kept on devices."""

from typing import Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from graves_memory.layers.sparse.queues import AccessQueue

Rows = Int64[Tensor, "count heads some"]
Weights = Float[Tensor, "count heads some"]


class RowUsage(Protocol):
    """The order in which the rows of every sequence were last accessed.

    Rows that never were come first, in the order of their numbers. Sequences are named by the first of them;
    how many there are, rows say.
    """

    def begin(self, used: int) -> None:
        """Forgets all accesses.

        Args:
            used: rows from this one on were not accessed.
        """

    def take(self, first: int, count: int, rows: int, used: int) -> tuple[Int64[Tensor, "count rows"], int]:
        """The rows that were accessed longest ago, the oldest first. This is an access to them.

        Args:
            first: the first sequence.
            count: sequences.
            rows: how many rows, different ones.
            used: rows from this one on were not used.

        Returns:
            The rows, and how many of the first ones may have been used by now.
        """
        ...

    def admit(self, first: int, rows: Int64[Tensor, "count heads some"], used: int) -> int:
        """Notes that rows have been found, after those among them that were not used are replaced.

        Rows that were not used all are the same. The first ones take the place of others, so that what is
        found depends neither on the search nor on other sequences.

        Args:
            first: the first sequence.
            rows: which rows, those of a head different; changed in place.
            used: rows from this one on were not used before.

        Returns:
            How many of the first rows may have been used by now.
        """
        ...

    def touch(self, first: int, rows: Rows, weights: Weights, delta: float, last: bool = True) -> None:
        """Notes accesses in the order of ascending weight.

        Args:
            first: the first sequence.
            rows: which rows; not to be changed afterwards.
            weights: of the accesses, without a graph; not to be changed afterwards.
            delta: up to which weight an access does not count.
            last: whether the last access of each head is noted as well.
        """

    def ranks(self, used: int) -> Int64[Tensor, "batch used"]:
        """The place of each row in the order of accesses, from 1 on; 0 for those never accessed.

        Args:
            used: rows from this one on were not accessed.
        """
        ...

    def restore(self, ranks: Int64[Tensor, "batch used"]) -> None:
        """Replaces all accesses.

        Args:
            ranks: what `ranks` returned, of all sequences; other rows must never have been accessed.
        """

    def forget(self, sequences: Int64[Tensor, " some"], used: int) -> None:
        """Forgets the accesses of some sequences.

        Args:
            sequences: their numbers.
            used: rows from this one on were not accessed.
        """

    def reorder(self, first: int, order: Int64[Tensor, " count"], used: int) -> None:
        """Puts sequences into another order.

        Args:
            first: the first sequence.
            order: for each place, the sequence that comes there, counted from the first.
            used: rows from this one on were not accessed.
        """


def new_usage(batch: int, rows: int, device: torch.device) -> RowUsage:
    """The kind of usage for a device: queues on the CPU, and what needs no look at a number elsewhere.

    Args:
        batch: sequences.
        rows: of each sequence.
        device: of the memory.
    """
    if device.type == "cpu":
        return AccessQueue(batch, rows)
    return AccessStamps(batch, rows, device)


class AccessStamps:
    """A number for each row that grows with every access, on any device: nothing waits for the device.

    Args:
        batch: sequences.
        rows: of each sequence.
        device: of the memory.

    Example:
        >>> usage = AccessStamps(1, 5, torch.device("cpu"))
        >>> usage.touch(0, torch.tensor([[[0, 1, 0]]]), torch.tensor([[[0.1, 0.2, 0.7]]]), delta=0.0)
        >>> usage.take(0, 1, 5, 5)
        (tensor([[2, 3, 4, 1, 0]]), 5)
    """

    def __init__(self, batch: int, rows: int, device: torch.device) -> None:
        self.rows = rows
        with torch.inference_mode(False):
            self._never = torch.arange(-rows, 1, device=device)
            self._stamps = self._never.repeat(batch, 1)
            self._known = torch.zeros(batch, dtype=torch.int64, device=device)
        self._count = 0

    def begin(self, used: int) -> None:
        """Forgets all accesses; arguments as in `RowUsage`."""
        self._stamps[:, :used] = self._never[:used]
        self._known.zero_()
        self._count = 0

    def take(self, first: int, count: int, rows: int, used: int) -> tuple[Int64[Tensor, "count rows"], int]:
        """The rows that were accessed longest ago; arguments as in `RowUsage`."""
        stamps = self._stamps[first : first + count]
        chosen = stamps[:, : min(self.rows, used + rows)].topk(rows, dim=1, largest=False).indices
        stamps.scatter_(1, chosen, self._next(rows).expand(count, -1))
        known = self._known[first : first + count]
        torch.maximum(known, chosen.amax(1) + 1, out=known)
        return chosen, min(self.rows, used + rows)

    def admit(self, first: int, rows: Rows, used: int) -> int:
        """Notes that rows have been found; arguments as in `RowUsage`."""
        known = self._known[first : first + len(rows)]
        numbers = known.view(-1, 1, 1)
        fresh = rows >= numbers
        rows.copy_(torch.where(fresh, numbers - 1 + fresh.cumsum(2), rows))
        torch.maximum(known, rows.amax((1, 2)) + 1, out=known)
        return min(self.rows, used + rows.shape[2])

    def touch(self, first: int, rows: Rows, weights: Weights, delta: float, last: bool = True) -> None:
        """Notes accesses; arguments as in `RowUsage`."""
        noted = rows.shape[2] - int(not last)
        rows, weights = (tensor.narrow(2, 0, noted).flatten(1) for tensor in (rows, weights))
        count, length = rows.shape
        named = torch.where(weights > delta, rows, self.rows).gather(1, weights.argsort(dim=1, stable=True))
        stamps = self._next(length).expand(count, -1)
        self._stamps[first : first + count].scatter_reduce_(1, named, stamps, "amax")

    def ranks(self, used: int) -> Int64[Tensor, "batch used"]:
        """The order of accesses; arguments as in `RowUsage`."""
        stamps = self._stamps[:, :used]
        ranks = stamps.argsort(dim=1).argsort(dim=1) + 1 - (stamps <= 0).sum(1, keepdim=True)
        return ranks.clamp_(min=0)

    def restore(self, ranks: Int64[Tensor, "batch used"]) -> None:
        """Replaces all accesses; arguments as in `RowUsage`."""
        used = ranks.shape[1]
        ranks = ranks.to(self._stamps.device)
        self._stamps[:, :used] = torch.where(ranks > 0, ranks, self._never[:used])
        self._known.fill_(used)
        self._count = used

    def forget(self, sequences: Int64[Tensor, " some"], used: int) -> None:
        """Forgets the accesses of some sequences; arguments as in `RowUsage`."""
        self._stamps[sequences, :used] = self._never[:used]
        self._known[sequences] = 0

    def reorder(self, first: int, order: Int64[Tensor, " count"], used: int) -> None:
        """Puts sequences into another order; arguments as in `RowUsage`."""
        self._stamps[first : first + len(order), :used] = self._stamps[first + order, :used]
        self._known[first : first + len(order)] = self._known[first + order]

    def _next(self, count: int) -> Int64[Tensor, " count"]:
        """The numbers of the next accesses."""
        self._count += count
        return torch.arange(self._count - count + 1, self._count + 1, device=self._stamps.device)
