"""Which rows have not been accessed for longest, on the CPU."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from jaxtyping import Float, Int64
from torch import Tensor

PENDING = 1000
"""So many accesses are noted at once."""


Rows = Int64[Tensor, "count heads some"]
Weights = Float[Tensor, "count heads some"]


class AccessQueue:
    """Queues of accesses: the cost of a step does not depend on the number of rows.

    An access appends its row at the back. What a row's last access was is known, so that older entries are
    recognised and skipped when the front is looked for. Rows 0, 1, ... stand in front from the beginning,
    without being stored. All sequences append the same number of entries, some of which name no row.
    Accesses are collected until the order matters, which it does not as long as no row that was not used has
    been found by a search.

    Args:
        batch: sequences.
        rows: of each sequence.

    Example:
        >>> usage = AccessQueue(1, 5)
        >>> usage.admit(0, torch.tensor([[[0, 1]]]), 0)
        2
        >>> usage.touch(0, torch.tensor([[[0, 1, 0]]]), torch.tensor([[[0.1, 0.2, 0.7]]]), delta=0.0)
        >>> usage.take(0, 1, 5, 2)
        (tensor([[2, 3, 4, 1, 0]]), 5)
    """

    def __init__(self, batch: int, rows: int) -> None:
        self.rows = rows
        self._last = np.zeros((batch, rows + 1), np.int32)
        self._last[:, rows] = -1
        self._queue = np.zeros((batch, 4096), np.int32)
        self._head = np.zeros(batch, np.int64)
        self._known = np.zeros(batch, np.int64)
        self._numbers = self._known[:, None, None]
        self._tail = rows
        self._sequences = np.arange(batch)[:, None]
        self._pending: list[tuple[Tensor, Tensor | None, bool]] = []
        self._place: tuple[int, int, float] = (0, 0, 0.0)

    def begin(self, used: int) -> None:
        """Forgets all accesses; arguments as in `RowUsage`."""
        self._pending = []
        self._last[:, :used] = 0
        self._head[:] = self._known[:] = 0
        self._tail = self.rows

    def take(self, first: int, count: int, rows: int, used: int) -> tuple[Int64[Tensor, "count rows"], int]:
        """The rows that were accessed longest ago; arguments as in `RowUsage`."""
        place = slice(first, first + count)
        heads, known = self._head[place], self._known[place]
        if used + rows <= self.rows and (heads == known).all():
            chosen = torch.from_numpy(heads[:, None] + np.arange(rows))
            heads += rows
            known += rows
        else:
            self._note()
            named, last = self._front(heads, self._sequences[place], rows)
            np.maximum(known, named.max(1) + 1, out=known)
            heads += last + 1
            chosen = torch.from_numpy(named)
        self._append(first, chosen, None, self._place[2], True)
        return chosen, max(used, int(known.max()))

    def admit(self, first: int, rows: Rows, used: int) -> int:
        """Notes that rows have been found; arguments as in `RowUsage`."""
        found = rows.numpy()
        numbers = self._numbers[first : first + len(found)]
        fresh = found >= numbers
        if not fresh.any():
            return used
        np.copyto(found, numbers - 1 + fresh.cumsum(2), where=fresh)
        np.maximum(numbers, found.max((1, 2), keepdims=True) + 1, out=numbers)
        return max(used, int(numbers.max()))

    def touch(self, first: int, rows: Rows, weights: Weights, delta: float, last: bool = True) -> None:
        """Notes accesses; arguments as in `RowUsage`."""
        self._append(first, rows, weights, delta, last)

    def ranks(self, used: int) -> Int64[Tensor, "batch used"]:
        """The order of accesses; arguments as in `RowUsage`."""
        self._note()
        last = self._last[:, :used]
        order = np.argsort(last, axis=1, kind="stable")
        ranks = np.empty_like(order)
        np.put_along_axis(ranks, order, np.arange(1, used + 1)[None], 1)
        ranks -= (last == 0).sum(1, keepdims=True)
        return torch.from_numpy(np.where(last > 0, ranks, 0).astype(np.int64))

    def restore(self, ranks: Int64[Tensor, "batch used"]) -> None:
        """Replaces all accesses; arguments as in `RowUsage`."""
        used = ranks.shape[1]
        self._pending = []
        self._last[:, :used] = ranks.numpy()
        self._head[:] = 0
        self._known[:] = used
        self._renumber(used)

    def forget(self, sequences: Int64[Tensor, " some"], used: int) -> None:
        """Forgets the accesses of some sequences; arguments as in `RowUsage`."""
        self._note()
        chosen = sequences.numpy()
        self._last[chosen, :used] = 0
        self._head[chosen] = self._known[chosen] = 0

    def reorder(self, first: int, order: Int64[Tensor, " count"], used: int) -> None:
        """Puts sequences into another order; arguments as in `RowUsage`."""
        self._note()
        chosen = first + order.numpy()
        place = slice(first, first + len(chosen))
        queued = self._tail - self.rows
        self._last[place, :used] = self._last[chosen, :used]
        self._queue[place, :queued] = self._queue[chosen, :queued]
        self._head[place] = self._head[chosen]
        self._known[place] = self._known[chosen]

    def _append(self, first: int, rows: Tensor, weights: Tensor | None, delta: float, last: bool) -> None:
        """Leaves accesses for later, as long as they can be noted together."""
        place = first, len(rows), delta
        if place != self._place or len(self._pending) == PENDING:
            self._note()
            self._place = place
        self._pending.append((rows, weights, last))

    def _note(self) -> None:
        """Appends all accesses that were left for later."""
        if not self._pending:
            return
        first, count, delta = self._place
        pairs = [_flat(*access) for access in self._pending]
        self._pending = []
        rows, weights = zip(*pairs, strict=True)
        named, keys = torch.cat(rows, 1).numpy(), torch.cat(weights, 1).numpy()
        groups = np.repeat(np.arange(len(rows)), [part.shape[1] for part in rows])
        order = np.lexsort((keys, np.broadcast_to(groups, keys.shape)), axis=1)
        local = self._sequences[:count]
        named = np.where(keys > delta, named, self.rows)[local, order]
        length = named.shape[1]
        self._make_room(length)
        begin = self._tail - self.rows
        new = self._queue[:, begin : begin + length]
        if count < len(new):
            new[:] = self.rows
        new[first : first + count] = named
        self._last[self._sequences[first : first + count], named] = np.arange(self._tail, self._tail + length)
        self._last[:, self.rows] = -1
        self._tail += length

    def _front(
        self, heads: np.ndarray[Any, Any], sequences: np.ndarray[Any, Any], rows: int
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The rows of the first entries that are the last ones of their row, and where the last one is."""
        window = 4 * rows
        while True:
            named, valid = self._window(heads, sequences, window)
            found = valid.sum(1)
            if found.min() >= rows:
                break
            heads += np.where(found, valid.argmax(1), np.minimum(window, self._tail - heads))
            window *= 2
        chosen = (~valid).argsort(1, kind="stable")[:, :rows]
        return np.take_along_axis(named, chosen, 1), chosen[:, -1]

    def _window(
        self, heads: np.ndarray[Any, Any], sequences: np.ndarray[Any, Any], length: int
    ) -> tuple[np.ndarray[Any, Any], np.ndarray[Any, Any]]:
        """The rows of the next entries from the front on, and which entries are the last of their row."""
        places = heads[:, None] + np.arange(length)
        stored = np.clip(places - self.rows, 0, self._queue.shape[1] - 1)
        queued = places >= self.rows
        named = np.where(queued, self._queue[sequences, stored], places)
        valid = self._last[sequences, named] == np.where(queued, places, 0)
        return named, valid & (places < self._tail)

    def _make_room(self, length: int) -> None:
        """Lets the queues grow, or renumbers the accesses once there are more of them than rows."""
        needed = self._tail - self.rows + length
        size = self._queue.shape[1]
        if needed <= size:
            return
        if size >= 2 * self.rows + length:
            self._renumber(self.rows)
            return
        grown = np.zeros((len(self._queue), max(2 * size, needed)), np.int32)
        grown[:, :size] = self._queue
        self._queue = grown

    def _renumber(self, used: int) -> None:
        """Queues anew in which each row has one entry; rows from `used` on were never accessed."""
        if self._queue.shape[1] < used:
            self._queue = np.zeros((len(self._queue), 2 * used), np.int32)
        last = self._last[:, :used]
        order = np.argsort(last, axis=1, kind="stable")
        accessed = np.take_along_axis(last, order, 1) > 0
        self._queue[:, :used] = np.where(accessed, order, self.rows)
        places = np.where(accessed, self.rows + np.arange(used), 0).astype(np.int32)
        np.put_along_axis(last, order, places, 1)
        self._tail = self.rows + used
        np.minimum(self._head, self.rows, out=self._head)


def _flat(rows: Tensor, weights: Tensor | None, last: bool) -> tuple[Tensor, Tensor]:
    """The rows of all heads, in one line for each sequence, and their weights."""
    if weights is None:
        return rows, torch.ones(rows.shape)
    noted = rows.shape[2] - int(not last)
    return rows[..., :noted].flatten(1), weights[..., :noted].flatten(1)
