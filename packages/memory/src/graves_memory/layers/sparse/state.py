"""What stands for a sparse memory at a point in time."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from graves_memory.layers.sparse.access import Lease, ReadRows, WriteRows, outer, put
from graves_memory.layers.sparse.episodes import ReorderRows, ResetRows, reorder_rows, reset_rows
from graves_memory.layers.sparse.tape import EXPIRED, Tape

Rows = Int64[Tensor, "batch heads some"]


class MemoryState:
    """A sparse memory at a point in time. Only the newest state of a memory can be used.

    `SparseMemory.begin` makes the first state; writing and reading return the next one, and the one before
    expires. A state that has been detached begins a new part of the graph: what is done with it needs the
    backward pass of the part before no longer, and makes it impossible.

    Args:
        lease: of the memory.
        token: of the last access; None if no gradient goes back from here.
        first: the first sequence.
        batch: how many sequences.

    Example:
        >>> from graves_memory.layers.sparse.memory import SparseMemory
        >>> state = SparseMemory(rows=1000, width=2).begin(1, like=torch.zeros(()))
        >>> word = torch.tensor([[[3.0, 4.0]]], requires_grad=True)
        >>> fresh = state.oldest(1)
        >>> state = state.write(fresh[..., None], torch.ones(1, 1, 1), word, erase=fresh)
        >>> rows = state.search(torch.tensor([[[1.0, 1.0]]]), count=1)
        >>> words, state = state.read(rows)
        >>> words.sum().backward()
        >>> words[0, 0, 0].tolist(), word.grad.tolist()
        ([3.0, 4.0], [[[1.0, 1.0]]])
    """

    __slots__ = ("_cut", "_order", "batch", "clock", "first", "lease", "token")

    def __init__(self, lease: Lease, token: Tensor | None, first: int, batch: int) -> None:
        self.lease = lease
        self.first = first
        self.batch = batch
        self.clock = lease.tape.clock
        self._cut = token is None
        self.token = lease.tape.start.new_zeros(()) if token is None else token
        self._order: Tensor | None = None

    def search(self, queries: Float[Tensor, "batch heads width"], count: int) -> Rows:
        """The rows of highest cosine with each query, the highest first. No gradient passes.

        Args:
            queries: of every head.
            count: how many rows each.
        """
        tape = self.tape()
        with torch.no_grad():
            return find(tape, self.first, queries.to(tape.dtype), count)

    def oldest(self, count: int) -> Int64[Tensor, "batch count"]:
        """The rows that were accessed longest ago, the oldest first; those never accessed before all others.

        This is an access to them.

        Args:
            count: how many, at most the number of rows.
        """
        return eldest(self.tape(), self.first, self.batch, count)

    def touch(self, rows: Rows, weights: Float[Tensor, "batch heads some"], delta: float) -> None:
        """Notes accesses in the order of ascending weight.

        Args:
            rows: which rows.
            weights: of the accesses.
            delta: up to which weight an access does not count.
        """
        self.tape().usage.touch(self.first, rows, weights.detach(), delta)

    def read(self, rows: Rows) -> tuple[Float[Tensor, "batch heads some width"], MemoryState]:
        """Some rows, and the next state.

        Args:
            rows: which each head reads, out of what `search` or `oldest` have named in this episode.
        """
        tape = self.tape()
        if torch.is_grad_enabled():
            words, token = ReadRows.apply(self.token, self.lease, self.first, rows)  # type: ignore[no-untyped-call]
            return words, self.next(token)
        return tape.memory.index_select(0, tape.flat(rows, self.first)).view(*rows.shape, tape.width), self

    def write(
        self,
        rows: Rows,
        weights: Float[Tensor, "batch heads some"],
        words: Float[Tensor, "batch heads width"],
        erase: Int64[Tensor, "batch erased"],
    ) -> MemoryState:
        """Sets some rows to 0, then adds the words of each head to some, times weights.

        Args:
            rows: which each head adds to, out of what `search` or `oldest` have named in this episode.
            weights: of each of them.
            words: of each head.
            erase: which rows are set to 0.
        """
        tape = self.tape()
        weights, words, gone = weights.to(tape.dtype), words.to(tape.dtype), erase.unsqueeze(2)
        if torch.is_grad_enabled():
            given = self.token, weights, words, self.lease, self.first, rows, gone
            return self.next(WriteRows.apply(*given))  # type: ignore[no-untyped-call]
        places, erased = tape.flat(rows, self.first), tape.flat(gone, self.first)
        put(tape, places, erased, outer(weights, words), logged=False)
        return self.next(self.token)

    def reset(self, done: Bool[Tensor, " batch"], start: Float[Tensor, " width"]) -> MemoryState:
        """The state in which some sequences begin a new episode.

        Args:
            done: which.
            start: what all of their rows hold.
        """
        tape = self.tape()
        sequences = done.nonzero().squeeze(1) + self.first
        if not len(sequences):
            return self
        if torch.is_grad_enabled():
            token = ResetRows.apply(self.token, start, self.lease, sequences)  # type: ignore[no-untyped-call]
            return self.next(token)
        reset_rows(tape, start, sequences, logged=False)
        return self.next(self.token)

    def reorder(self, order: Int64[Tensor, " batch"]) -> MemoryState:
        """The state with its sequences in another order. Rows move when the state is used, if it is.

        Args:
            order: for each place, the sequence that comes there.
        """
        state = self._same()
        state._order = order if self._order is None else self._order[order]
        return state

    def narrow(self, count: int, start: int = 0) -> MemoryState:
        """The state of some sequences next to each other.

        Args:
            count: number of sequences.
            start: the first of them.
        """
        self.tape()
        state = self._same()
        state.first, state.batch = self.first + start, count
        return state

    @staticmethod
    def join(states: Sequence[MemoryState]) -> MemoryState:
        """The state of all sequences of several states of one memory, one of which is the newest.

        Args:
            states: those that `narrow` made, in order.

        Raises:
            ValueError: when they are not neighbours in one memory.
        """
        newest = max(states, key=lambda state: state.clock)
        first = states[0].first
        starts = [first + sum(state.batch for state in states[:i]) for i in range(len(states))]
        if any(s.lease is not newest.lease or s.first != at for s, at in zip(states, starts, strict=True)):
            raise ValueError("states must be parts of one state, in order")
        newest.tape()
        state = newest._same()
        state.first, state.batch = first, sum(state.batch for state in states)
        return state

    def detach(self) -> MemoryState:
        """The state without its history, for truncated backpropagation. The memory is carried on."""
        state = self._same()
        state.token, state._cut = self.token.detach(), True
        return state

    def export(self) -> dict[str, Tensor]:
        """Plain tensors that `SparseMemory.load` makes a state of; only rows that have been used."""
        tape, place = self.tape(), slice(self.first, self.first + self.batch)
        memory = tape.table[place, : tape.used]
        ranks = tape.usage.ranks(tape.used)[place]
        return {"memory": memory.clone(), "ranks": ranks, "start": tape.start[place].clone()}

    def tape(self) -> Tape:
        """The memory, as it is at this point in time.

        Raises:
            RuntimeError: when it has been used since.
        """
        tape = self.lease.tape
        if self.clock != tape.clock:
            raise RuntimeError(EXPIRED)
        if self._cut:
            tape.settle()
            self._cut = False
        elif tape.position < len(tape.log):
            tape.forward()
        if self._order is not None:
            self._move(tape)
        return tape

    def next(self, token: Tensor) -> MemoryState:
        """The state after an access.

        Args:
            token: that the access returned.
        """
        return MemoryState(self.lease, token, self.first, self.batch)

    def _move(self, tape: Tape) -> None:
        """Brings the sequences into their order."""
        order, self._order = self._order, None
        assert order is not None
        if not tape.used or torch.equal(order, torch.arange(len(order), device=order.device)):
            return
        if torch.is_grad_enabled():
            given = self.token, self.lease, self.first, order
            self.token = ReorderRows.apply(*given)  # type: ignore[no-untyped-call]
        else:
            reorder_rows(tape, self.first, order, logged=False)
        self.clock = tape.clock

    def _same(self) -> MemoryState:
        """Another state of the same point in time."""
        state = MemoryState(self.lease, self.token, self.first, self.batch)
        state.clock, state._cut, state._order = self.clock, self._cut, self._order
        return state

    def __reduce__(self) -> Any:
        """Refuses copies, because there is only one memory.

        Raises:
            TypeError: always.
        """
        raise TypeError("a state of a sparse memory cannot be copied or pickled; use what export_state gives")


def find(tape: Tape, first: int, queries: Float[Tensor, "batch heads width"], count: int) -> Rows:
    """The rows of highest cosine with each query, which count as used from now on.

    Args:
        tape: the memory.
        first: the first sequence.
        queries: of every head, without a graph.
        count: how many rows.
    """
    rows = tape.search.find(tape, first, queries, count)
    tape.use(tape.usage.admit(first, rows, tape.used))
    return rows


def eldest(tape: Tape, first: int, batch: int, count: int) -> Int64[Tensor, "batch count"]:
    """The rows that were accessed longest ago, which count as used and accessed from now on.

    Args:
        tape: the memory.
        first: the first sequence.
        batch: how many sequences.
        count: how many rows.
    """
    rows, used = tape.usage.take(first, batch, count, tape.used)
    tape.use(used)
    return rows
