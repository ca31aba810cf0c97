"""The sparse access memory."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from graves_memory.layers.controlled import full_precision
from graves_memory.layers.sparse.fused import access
from graves_memory.layers.sparse.network import SparseMemoryNetwork
from graves_memory.layers.sparse.searches import Search
from graves_memory.layers.sparse.state import MemoryState


class SAMState(NamedTuple):
    """The state of a `SAM`, one batch row for each sequence.

    Args:
        hidden: the LSTM's output.
        cell: the LSTM's cell.
        words: what the heads read.
        read_weights: of the rows that they read.
        read_rows: which.
        memory: all rows.

    Example:
        >>> SAM(3, 2, heads=1, reads=8).initial_state(5).read_rows.shape
        torch.Size([5, 1, 8])
    """

    hidden: Float[Tensor, "batch hidden"]
    cell: Float[Tensor, "batch hidden"]
    words: Float[Tensor, "batch heads width"]
    read_weights: Float[Tensor, "batch heads reads"]
    read_rows: Int64[Tensor, "batch heads reads"]
    memory: MemoryState


class SAM(SparseMemoryNetwork[SAMState]):
    """The sparse access memory: a step costs the same whether the memory has a hundred rows or a million.

    Every head writes, to the few rows that it read in the step before and to the row that was accessed
    longest ago, another one for each head, which is erased before; then it reads the rows of the new memory
    that are most similar to its query. The backward pass takes the writes back one by one, so that it needs
    no more of a step than the rows that were touched: it is possible only once.

    A state expires when the network goes on from it, because there is only one memory: `export_state` keeps
    it, `detach` cuts the graph and carries the memory on.

    Args:
        input_size: numbers that the network reads at a step.
        output_size: numbers that it says at a step.
        hidden_size: units of the LSTM.
        rows: of the memory.
        width: numbers of a row.
        heads: each of which reads and writes.
        reads: rows that each head reads.
        search: how rows are found; see `SparseMemory`.
        delta: up to which weight an access does not count when the oldest row is looked for.
        strengths: whether a head says how sharply it reads; if not, cosines are not scaled, as in the paper.
        learn_start: whether what all rows hold at the start is trained; zeros if not.
        clip: largest absolute value of the LSTM's cell and of the interface; None for no limit.
        batch_first: whether inputs and outputs are `(batch, time, size)` instead of `(time, batch, size)`.

    Raises:
        ValueError: when a size is less than 1, there are too few rows, or another number is out of range.

    Example:
        >>> net = SAM(input_size=10, output_size=8, rows=100_000, heads=2)
        >>> outputs, state = net(torch.randn(25, 4, 10))
        >>> outputs.sum().backward()
        >>> outputs, state = net(torch.randn(25, 4, 10), net.detach(state))
        >>> outputs.shape, state.read_rows.shape
        (torch.Size([25, 4, 8]), torch.Size([4, 2, 4]))

    Source: Rae et al. 2016, section 3.
    """

    state_type = SAMState

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_size: int = 100,
        rows: int = 65_536,
        width: int = 32,
        heads: int = 4,
        reads: int = 4,
        search: Search = "auto",
        delta: float = 0.005,
        strengths: bool = True,
        learn_start: bool = False,
        clip: float | None = 20.0,
        batch_first: bool = False,
    ) -> None:
        self.head_size = 2 * width + (3 if strengths else 2)
        super().__init__(
            input_size,
            output_size,
            hidden_size,
            rows,
            width,
            heads,
            reads,
            heads * self.head_size,
            search,
            delta,
            learn_start,
            clip,
            batch_first,
        )

    def initial_state(self, batch_size: int) -> SAMState:
        """The state at the start of an episode, with room for a memory that nothing else uses.

        Args:
            batch_size: number of sequences.
        """
        kept = batch_size, self.heads, self.reads
        return SAMState(
            self.zeros(batch_size, self.hidden_size),
            self.zeros(batch_size, self.hidden_size),
            self.zeros(batch_size, self.heads, self.width),
            self.zeros(*kept),
            self.zeros(*kept, dtype=torch.int64),
            self.begin(batch_size),
        )

    def step(
        self, inputs: Float[Tensor, "batch prepared"], state: SAMState
    ) -> tuple[Float[Tensor, "batch feature"], SAMState]:
        """One time step.

        Args:
            inputs: what `prepare` made of the inputs of this step.
            state: the state before.
        """
        hidden, cell, interface = self.control(inputs, state.words, state.hidden, state.cell)
        steering = interface.view(-1, self.heads, self.head_size)
        with full_precision(hidden):
            done = access(state.memory, steering, state.read_weights, state.read_rows, self.delta)
        if self._record is not None:
            self.record(
                {
                    "write_rows": done.write_rows,
                    "write_weights": done.write_weights,
                    "read_rows": done.read_rows,
                    "read_weights": done.read_weights,
                }
            )
        after = SAMState(hidden, cell, done.words, done.read_weights, done.read_rows, done.memory)
        return self.features(hidden, done.words), after
