"""The rows of a sparse memory, changed in place, with a log that takes changes back and makes them again."""

from __future__ import annotations

import functools
from collections.abc import Sequence

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from graves_memory.equations.addressing import EPSILON
from graves_memory.layers.sparse.searches import RowSearch, new_search
from graves_memory.layers.sparse.usage import RowUsage, new_usage

MOVED_ON = (
    "the memory has moved on since this part of the graph was made; call backward before the next forward on "
    "a detached state or without gradients, or give that forward a state of its own (initial_state)"
)
TWICE = (
    "backward through a sparse memory is possible only once, because it takes the memory's changes back; run "
    "forward again, and detach a state that is carried over a backward pass"
)
EXPIRED = (
    "this state has expired: the memory has been used since; go on from the newest state, or keep what "
    "export_state gives and import it where you want to go on from here"
)
TORN = "backward passed through the memory in another order than forward; chain the states without gaps"


class Tape:
    """The memory of a batch of sequences, and what autograd needs of its past.

    Rows of all sequences lie in one matrix that is changed in place. A log keeps the rows that each change
    replaced, so that the backward pass takes the changes back one by one; it then keeps the newer rows
    instead, so that the memory can go on from where it was. Rows below `used` may have been handed out, all
    others are as at the start of the episode, and only those below `filled` have been written at all: neither
    a new tape nor a new episode costs time for each row. Search, usage and lengths of rows belong to the end
    of the forward pass.

    Args:
        batch: sequences.
        rows: of each sequence.
        width: numbers of a row.
        like: a tensor of the device and, at least single precision, the type of the memory.
        search: the kind of search.

    Example:
        >>> tape = Tape(2, 8, 3, torch.zeros(()), "written")
        >>> tape.begin(torch.zeros(3))
        >>> tape.fill(4)
        >>> tape.change(torch.tensor([1]), logged=True)
        >>> tape.memory[1] = 5.0
        >>> tape.rewind(tape.generation, 0)
        >>> tape.memory[1]
        tensor([0., 0., 0.])
    """

    def __init__(self, batch: int, rows: int, width: int, like: Float[Tensor, "*any"], search: str) -> None:
        self.batch, self.rows, self.width = batch, rows, width
        self.device, self.dtype = like.device, memory_type(like)
        with torch.inference_mode(False), torch.no_grad():
            empty = functools.partial(torch.empty, dtype=self.dtype, device=self.device)
            self.memory = empty(batch * rows, width)
            self.lengths = empty(batch * rows)
            self.start = empty(batch, width)
            self.table = self.memory.view(batch, rows, width)
            self.columns = self.table.transpose(1, 2)
            self.scales = self.lengths.view(batch, 1, rows)
            self.offsets = (torch.arange(batch, device=self.device) * rows).view(batch, 1, 1)
        self.usage: RowUsage = new_usage(batch, rows, self.device)
        self.search: RowSearch = new_search(search)
        self.used = self.filled = self.position = self.generation = self.clock = 0
        self.log: list[tuple[Tensor, Tensor]] = []
        self._gradient: Tensor | None = None
        self._dirty: list[Tensor] = []

    def serves(self, batch: int, like: Float[Tensor, "*any"]) -> bool:
        """Whether the tape is large enough and of the right type and device.

        Args:
            batch: sequences that are needed.
            like: as in the constructor.
        """
        return batch <= self.batch and (self.device, self.dtype) == (like.device, memory_type(like))

    def begin(self, start: Float[Tensor, " width"]) -> None:
        """Starts an episode of all sequences, at a cost that grows with the rows that the last one used.

        Args:
            start: what every row holds.
        """
        self.settle()
        self.usage.begin(self.used)
        self.search.begin()
        self.start.copy_(start.detach().expand_as(self.start))
        self.used = self.filled = 0
        self.clock += 1

    def fill(self, count: int) -> None:
        """Makes sure that the first rows of every sequence hold what they held at the start or later.

        Args:
            count: how many rows.
        """
        if count <= self.filled:
            return
        first, self.filled = self.filled, min(self.rows, max(count, 2 * self.filled, 64))
        new = slice(first, self.filled)
        self.table[:, new] = self.start[:, None]
        inverse = self.start.square().sum(1, keepdim=True).add_(EPSILON).rsqrt_()
        self.scales[:, 0, new] = inverse

    def use(self, count: int) -> None:
        """Makes sure that the first rows of every sequence are filled, and counts them as used.

        Args:
            count: how many rows.
        """
        self.used = max(self.used, count)
        self.fill(count)

    def flat(self, rows: Int64[Tensor, "batch heads some"], first: int = 0) -> Int64[Tensor, " numbers"]:
        """Where rows of sequences lie in the matrix of all rows.

        Args:
            rows: of each sequence.
            first: the first sequence.
        """
        count = rows.shape[0]
        if self.batch == 1:
            return rows.reshape(-1)
        whole = not first and count == self.batch
        return (rows + (self.offsets if whole else self.offsets[first : first + count])).view(-1)

    def change(self, places: Int64[Tensor, " numbers"], logged: bool) -> None:
        """Announces that rows change, and keeps what they hold.

        Args:
            places: in the matrix of all rows.
            logged: whether a backward pass is to come; without it, those of the past become impossible.
        """
        self.clock += 1
        if logged:
            self.log.append((places, self.memory.index_select(0, places)))
            self.position += 1
        elif self.log:
            self.settle()

    def changed(self, places: Int64[Tensor, " numbers"]) -> None:
        """Announces that rows have changed.

        Args:
            places: in the matrix of all rows.
        """
        words = self.memory.index_select(0, places)
        squares = words.square_().sum(1)
        self.lengths.index_put_((places,), squares.add_(EPSILON).rsqrt_())
        self.search.changed(self, places)

    @property
    def gradient(self) -> Float[Tensor, "numbers width"]:
        """The derivative of the loss by the rows; zero but where the backward pass has been."""
        if self._gradient is None:
            self._gradient = torch.zeros_like(self.memory)
        return self._gradient

    def add_gradient(self, places: Int64[Tensor, " numbers"], words: Float[Tensor, "numbers width"]) -> None:
        """Adds to the derivative by rows, some of which may be named several times.

        Args:
            places: in the matrix of all rows.
            words: what is added.
        """
        self._dirty.append(places)
        self.gradient.index_put_((places,), words, accumulate=True)

    def move_gradient(self, to: Int64[Tensor, " numbers"], source: Int64[Tensor, " numbers"]) -> None:
        """Puts the derivatives by rows elsewhere.

        Args:
            to: other places for the same rows, in the matrix of all rows.
            source: where they are.
        """
        self._dirty.append(to)
        self.gradient.index_copy_(0, to, self.gradient.index_select(0, source))

    def rewind(self, generation: int, position: int) -> None:
        """Takes changes back until only the given number of them is left.

        Args:
            generation: in which they were made.
            position: number of changes that stay.

        Raises:
            RuntimeError: when the memory is not where the backward pass needs it.
        """
        if generation != self.generation:
            raise RuntimeError(MOVED_ON)
        if position > self.position:
            raise RuntimeError(TORN)
        while self.position > position:
            self.position -= 1
            self._swap(self.position)

    def forward(self) -> None:
        """Makes the changes again that backward took back."""
        if self.position < len(self.log):
            while self.position < len(self.log):
                self._swap(self.position)
                self.position += 1
            self._clear_gradient()

    def settle(self) -> None:
        """Forgets the past: what the memory is at its newest stays."""
        self.forward()
        self._clear_gradient()
        self.log = []
        self.position = 0
        self.generation += 1

    def newest(self, first: int, count: int) -> Float[Tensor, "count used width"]:
        """What the rows of some sequences that may have been used hold.

        Args:
            first: the first sequence.
            count: how many.
        """
        self.forward()
        rows: Tensor = self.table[first : first + count, : self.used]
        return rows

    def places(self, sequences: Sequence[int] | Tensor, count: int) -> Int64[Tensor, "sequences count"]:
        """Where the first rows of some sequences lie in the matrix of all rows.

        Args:
            sequences: their numbers.
            count: how many rows of each.
        """
        return self.offsets.view(-1, 1)[sequences] + torch.arange(count, device=self.device)

    def _swap(self, index: int) -> None:
        """Exchanges the rows of a change with those that the log keeps."""
        places, words = self.log[index]
        self.log[index] = places, self.memory.index_select(0, places)
        self.memory.index_put_((places,), words)

    def _clear_gradient(self) -> None:
        if self._dirty:
            self.gradient.index_fill_(0, torch.cat(self._dirty), 0)
            self._dirty = []


def memory_type(like: Float[Tensor, "*any"]) -> torch.dtype:
    """The type of a memory: at least single precision.

    Args:
        like: a tensor of the type that the network computes in.
    """
    return torch.promote_types(like.dtype, torch.float32)
