"""The neural Turing machine."""

from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor
from torch.nn.functional import softplus

from graves_memory.equations.addressing import (
    Weights,
    content_weights,
    cosine_similarity,
    erase_and_add,
    oneplus,
    read_words,
)
from graves_memory.equations.ntm import head_weights
from graves_memory.layers.controlled import full_precision
from graves_memory.layers.dense import DenseMemoryNetwork


class NTMState(NamedTuple):
    """The state of an `NTM`, one batch row for each sequence.

    Args:
        hidden: the LSTM's output.
        cell: the LSTM's cell.
        words: what the read heads read.
        memory: the rows.
        weights: where the heads stand, those that read and then those that write.

    Example:
        >>> NTM(3, 2, rows=16, heads=1).initial_state(5).memory.shape
        torch.Size([5, 16, 32])
    """

    hidden: Float[Tensor, "batch hidden"]
    cell: Float[Tensor, "batch hidden"]
    words: Float[Tensor, "batch heads width"]
    memory: Float[Tensor, "batch rows width"]
    weights: Float[Tensor, "batch both rows"]


class NTM(DenseMemoryNetwork[NTMState]):
    """The neural Turing machine, with an LSTM and as many heads that write as heads that read.

    All heads find their place in the memory of the step before; the readers read there, then the writers
    erase and add, one after the other. An episode starts with zeros in the memory and all heads on the first
    row.

    Source: Graves, Wayne and Danihelka 2014.

    Args:
        input_size: numbers that the network reads at a step.
        output_size: numbers that it says at a step.
        hidden_size: units of the LSTM.
        rows: of the memory.
        width: numbers of a row.
        heads: that read, and as many that write.
        clip: largest absolute value of the LSTM's cell and of the interface; None for no limit.
        batch_first: whether inputs and outputs are `(batch, time, size)` instead of `(time, batch, size)`.

    Raises:
        ValueError: when a size is less than 1, or `clip` is not positive.

    Example:
        >>> net = NTM(input_size=10, output_size=8, rows=128, width=20, heads=1)
        >>> outputs, state = net(torch.randn(25, 4, 10))
        >>> outputs.shape, state.memory.shape
        (torch.Size([25, 4, 8]), torch.Size([4, 128, 20]))
    """

    state_type = NTMState

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_size: int = 100,
        rows: int = 128,
        width: int = 32,
        heads: int = 4,
        clip: float | None = 20.0,
        batch_first: bool = False,
    ) -> None:
        interface = 2 * heads * (width + 6) + 2 * heads * width
        super().__init__(
            input_size, output_size, hidden_size, rows, width, heads, interface, clip, batch_first
        )

    def initial_state(self, batch_size: int) -> NTMState:
        """The state at the start of an episode.

        Args:
            batch_size: number of sequences.
        """
        weights = self.zeros(batch_size, 2 * self.heads, self.rows)
        weights[..., 0] = 1
        return NTMState(
            self.zeros(batch_size, self.hidden_size),
            self.zeros(batch_size, self.hidden_size),
            self.zeros(batch_size, self.heads, self.width),
            self.zeros(batch_size, self.rows, self.width),
            weights,
        )

    def step(
        self, inputs: Float[Tensor, "batch input"], state: NTMState
    ) -> tuple[Float[Tensor, "batch feature"], NTMState]:
        """One time step.

        Args:
            inputs: of this step.
            state: the state before.
        """
        hidden, cell, interface = self.control(inputs, state.words, state.hidden, state.cell)
        with full_precision(hidden):
            sizes = [2 * self.heads * (self.width + 6), 2 * self.heads * self.width]
            address, changes = torch.split(interface, sizes, dim=1)
            weights = self._address(state, address.reshape(-1, 2 * self.heads, self.width + 6))
            readers, writers = weights.chunk(2, dim=1)
            words = read_words(state.memory, readers)
            erase, add = changes.reshape(-1, 2, self.heads, self.width).unbind(1)
            memory = erase_and_add(state.memory, writers, erase.sigmoid(), add)
        self.record({"write_weights": writers, "read_weights": readers})
        return self.features(hidden, words), NTMState(hidden, cell, words, memory, weights)

    def _address(self, state: NTMState, interface: Float[Tensor, "batch both numbers"]) -> Weights:
        """Where the heads go."""
        keys, strengths, gates, shifts, powers = torch.split(interface, [self.width, 1, 1, 3, 1], -1)
        similarity = cosine_similarity(state.memory, keys)
        content = content_weights(similarity, softplus(strengths).squeeze(-1))
        return head_weights(
            content,
            state.weights,
            gates.sigmoid().squeeze(-1),
            torch.softmax(shifts, dim=-1),
            oneplus(powers).squeeze(-1),
        )
