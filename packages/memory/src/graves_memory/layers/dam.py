"""The dense access memory, the dense twin of the sparse access memory."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor

from graves_memory.equations.addressing import content_weights, cosine_similarity, oneplus, read_words
from graves_memory.equations.dam import discounted_usage, least_used, write_weights, written
from graves_memory.layers.controlled import full_precision
from graves_memory.layers.dense import DenseMemoryNetwork


class DAMState(NamedTuple):
    """The state of a `DAM`, one batch row for each sequence.

    Args:
        hidden: the LSTM's output.
        cell: the LSTM's cell.
        words: what the heads read.
        memory: the rows.
        read_weights: where the heads read.
        usage: the discounted sum of all weights so far, for each row.

    Example:
        >>> DAM(3, 2, rows=16, heads=1).initial_state(5).usage.shape
        torch.Size([5, 16])
    """

    hidden: Float[Tensor, "batch hidden"]
    cell: Float[Tensor, "batch hidden"]
    words: Float[Tensor, "batch heads width"]
    memory: Float[Tensor, "batch rows width"]
    read_weights: Float[Tensor, "batch heads rows"]
    usage: Float[Tensor, "batch rows"]


class DAM(DenseMemoryNetwork[DAMState]):
    """The dense access memory: SAM with weights over all rows, to see what sparsity costs.

    Every head writes, to the rows that it read in the step before and to the row least used, another one for
    each head, which is erased before; then it reads from the new memory. No gradient passes the usage.

    Source: Rae et al. 2016, section 3.

    Args:
        input_size: numbers that the network reads at a step.
        output_size: numbers that it says at a step.
        hidden_size: units of the LSTM.
        rows: of the memory.
        width: numbers of a row.
        heads: each of which reads and writes.
        discount: lambda, how much of the usage is left a step later.
        strengths: whether a head says how sharply it reads; if not, similarities are not scaled, as in the
            paper.
        clip: largest absolute value of the LSTM's cell and of the interface; None for no limit.
        batch_first: whether inputs and outputs are `(batch, time, size)` instead of `(time, batch, size)`.

    Raises:
        ValueError: when a size is less than 1, there are fewer rows than heads, or another number is out of
            range.

    Example:
        >>> net = DAM(input_size=10, output_size=8, rows=64, heads=2)
        >>> outputs, state = net(torch.randn(25, 4, 10))
        >>> outputs.shape, state.memory.shape
        (torch.Size([25, 4, 8]), torch.Size([4, 64, 32]))
    """

    state_type = DAMState

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_size: int = 100,
        rows: int = 128,
        width: int = 32,
        heads: int = 4,
        discount: float = 0.99,
        strengths: bool = True,
        clip: float | None = 20.0,
        batch_first: bool = False,
    ) -> None:
        self.head_size = 2 * width + (3 if strengths else 2)
        interface = heads * self.head_size
        super().__init__(
            input_size, output_size, hidden_size, rows, width, heads, interface, clip, batch_first
        )
        if rows < heads:
            raise ValueError(f"rows must be at least heads={heads}, not {rows}")
        if not 0 <= discount <= 1:
            raise ValueError(f"discount must be between 0 and 1, not {discount}")
        self.discount = discount
        self.strengths = strengths

    def initial_state(self, batch_size: int) -> DAMState:
        """The state at the start of an episode.

        Args:
            batch_size: number of sequences.
        """
        return DAMState(
            self.zeros(batch_size, self.hidden_size),
            self.zeros(batch_size, self.hidden_size),
            self.zeros(batch_size, self.heads, self.width),
            self.zeros(batch_size, self.rows, self.width),
            self.zeros(batch_size, self.heads, self.rows),
            self.zeros(batch_size, self.rows),
        )

    def step(
        self, inputs: Float[Tensor, "batch input"], state: DAMState
    ) -> tuple[Float[Tensor, "batch feature"], DAMState]:
        """One time step.

        Args:
            inputs: of this step.
            state: the state before.
        """
        hidden, cell, interface = self.control(inputs, state.words, state.hidden, state.cell)
        with full_precision(hidden):
            steering = interface.view(-1, self.heads, self.head_size)
            sizes = [self.width, self.width, 2, self.head_size - 2 * self.width - 2]
            queries, additions, gates, sharpness = torch.split(steering, sizes, dim=-1)
            write_gates, read_gates = gates.sigmoid().unbind(-1)
            rows = least_used(state.usage, self.heads)
            writes = write_weights(state.read_weights, rows, write_gates, read_gates)
            memory = written(state.memory, writes, rows, additions)
            strengths = oneplus(sharpness).squeeze(-1) if self.strengths else torch.ones_like(write_gates)
            reads = content_weights(cosine_similarity(memory, queries), strengths)
            words = read_words(memory, reads)
            usage = discounted_usage(state.usage, writes, reads, self.discount)
        self.record({"write_weights": writes, "read_weights": reads})
        return self.features(hidden, words), DAMState(hidden, cell, words, memory, reads, usage)
