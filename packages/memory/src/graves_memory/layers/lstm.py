"""The network without a memory, to compare with."""

from typing import Any, NamedTuple

from jaxtyping import Float
from torch import Tensor, nn
from torch.nn.utils.rnn import PackedSequence

from graves_memory.layers.network import MemoryNetwork, Outputs, check_inputs, check_sizes


class LSTMState(NamedTuple):
    """The state of an `LSTMNetwork`, one batch row for each sequence.

    Args:
        hidden: the outputs of the layers.
        cell: the cells of the layers.

    Example:
        >>> LSTMNetwork(3, 2, hidden_size=16).initial_state(5).cell.shape
        torch.Size([5, 1, 16])
    """

    hidden: Float[Tensor, "batch layers hidden"]
    cell: Float[Tensor, "batch layers hidden"]


class LSTMNetwork(MemoryNetwork[LSTMState]):
    """An `nn.LSTM` and an output layer, with the interface of the networks with a memory.

    Args:
        input_size: numbers that the network reads at a step.
        output_size: numbers that it says at a step.
        hidden_size: units of each layer.
        num_layers: layers on top of each other.
        batch_first: whether inputs and outputs are `(batch, time, size)` instead of `(time, batch, size)`.

    Raises:
        ValueError: when a size is less than 1.

    Example:
        >>> import torch
        >>> outputs, state = LSTMNetwork(10, 8, hidden_size=16)(torch.randn(25, 4, 10))
        >>> outputs.shape, state.hidden.shape
        (torch.Size([25, 4, 8]), torch.Size([4, 1, 16]))
    """

    state_type = LSTMState

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_size: int = 100,
        num_layers: int = 1,
        batch_first: bool = False,
    ) -> None:
        check_sizes({"num_layers": num_layers})
        super().__init__(input_size, output_size, hidden_size, hidden_size, batch_first)
        self.lstm = nn.LSTM(input_size, hidden_size, num_layers, batch_first=batch_first)

    def initial_state(self, batch_size: int) -> LSTMState:
        """The state at the start of an episode.

        Args:
            batch_size: number of sequences.
        """
        zeros = self.output.weight.new_zeros(batch_size, self.lstm.num_layers, self.hidden_size)
        return LSTMState(zeros, zeros)

    def step(
        self, inputs: Float[Tensor, "batch input"], state: LSTMState
    ) -> tuple[Float[Tensor, "batch feature"], LSTMState]:
        """One time step.

        Args:
            inputs: of this step.
            state: the state before.
        """
        layout = 1 if self.batch_first else 0
        outputs, state = self._layers(inputs.unsqueeze(layout), state)
        return outputs.squeeze(layout), state

    def forward(
        self, inputs: Float[Tensor, "one two input"] | PackedSequence, state: LSTMState | None = None
    ) -> tuple[Outputs, LSTMState]:
        """Outputs of the same layout as the inputs, and the final state.

        Args:
            inputs: `(time, batch, input)`, or `(batch, time, input)` if `batch_first`, or a packed batch.
            state: the state to go on from, in the order of the sequences that the user gave.

        Raises:
            ValueError: when the inputs do not fit the network or the state.
        """
        if isinstance(inputs, PackedSequence):
            packed, state = self._layers(inputs, self._start(state, int(inputs.batch_sizes[0])))
            return packed._replace(data=self.readout(packed.data)), state
        check_inputs(inputs, self.input_size, self.batch_first)
        outputs, state = self._layers(inputs, self._start(state, inputs.shape[1 - int(self.batch_first)]))
        return self.readout(outputs), state

    def _layers(self, inputs: Tensor | PackedSequence, state: LSTMState) -> tuple[Any, LSTMState]:
        """All layers and time steps at once."""
        layers_first = tuple(value.transpose(0, 1).contiguous() for value in state)
        outputs, after = self.lstm(inputs, layers_first)
        return outputs, LSTMState(*(value.transpose(0, 1) for value in after))
