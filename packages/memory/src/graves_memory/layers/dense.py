"""What the networks with a dense memory share: rows that are tensors of the state."""

import torch
from jaxtyping import Float
from torch import Tensor

from graves_memory.layers.controlled import Control, ControlledNetwork
from graves_memory.layers.network import State, check_sizes


class DenseMemoryNetwork(ControlledNetwork[State]):
    """A network whose LSTM reads from and writes to all rows of a memory.

    A subclass defines `initial_state` and `step`.

    Args:
        input_size: numbers that the network reads at a step.
        output_size: numbers that it says at a step.
        hidden_size: units of the LSTM.
        rows: of the memory.
        width: numbers of a row.
        heads: that read.
        interface_size: numbers that steer the memory.
        clip: largest absolute value of the LSTM's cell and of the interface; None for no limit.
        batch_first: whether inputs and outputs are `(batch, time, size)` instead of `(time, batch, size)`.

    Raises:
        ValueError: when a size is less than 1, or `clip` is not positive.

    Example:
        >>> from graves_memory.layers.dam import DAM
        >>> isinstance(DAM(3, 2), DenseMemoryNetwork)
        True
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_size: int,
        rows: int,
        width: int,
        heads: int,
        interface_size: int,
        clip: float | None,
        batch_first: bool,
    ) -> None:
        check_sizes({"rows": rows})
        super().__init__(
            input_size, output_size, hidden_size, width, heads, interface_size, clip, batch_first
        )
        self.rows = rows

    def zeros(self, *shape: int) -> Tensor:
        """A part of a start state, on the device and of the type of the parameters.

        Args:
            *shape: its shape.
        """
        return self.output.weight.new_zeros(shape)

    def control(
        self,
        inputs: Float[Tensor, "batch input"],
        words: Float[Tensor, "batch heads width"],
        hidden: Float[Tensor, "batch hidden"],
        cell: Float[Tensor, "batch hidden"],
    ) -> Control:
        """A step of the LSTM, in the type of the memory whatever autocast computes in.

        Args:
            inputs: of this step.
            words: what the heads read in the step before.
            hidden: the LSTM's output before.
            cell: the LSTM's cell before.
        """
        given = torch.cat([inputs, words.flatten(1)], dim=1)
        new_hidden, new_cell = self.controller(given, (hidden, cell))
        interface = self.interface(new_hidden)
        if self.clip is not None:
            new_cell = new_cell.clamp(-self.clip, self.clip)
            interface = interface.clamp(-self.clip, self.clip)
        kind = words.dtype
        return Control(new_hidden.to(kind), new_cell.to(kind), interface.to(kind))
