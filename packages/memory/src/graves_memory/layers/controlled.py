"""What all networks with a memory and a controller share: an LSTM, and the numbers by which it steers."""

from contextlib import AbstractContextManager, nullcontext
from typing import NamedTuple

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graves_memory.layers.network import MemoryNetwork, State, check_sizes


class Control(NamedTuple):
    """What the controller says at a step.

    Args:
        hidden: its output.
        cell: its cell.
        interface: numbers for the memory.

    Example:
        >>> control = Control(torch.zeros(2, 100), torch.zeros(2, 100), torch.zeros(2, 233))
        >>> control.interface.shape
        torch.Size([2, 233])
    """

    hidden: Float[Tensor, "batch hidden"]
    cell: Float[Tensor, "batch hidden"]
    interface: Float[Tensor, "batch interface"]


class ControlledNetwork(MemoryNetwork[State]):
    """A network whose LSTM reads from and writes to a memory.

    The LSTM is given the inputs and what the heads read in the step before; a linear layer makes the numbers
    that steer the memory of its output; the output layer is given both its output and what the heads read.

    Args:
        input_size: numbers that the network reads at a step.
        output_size: numbers that it says at a step.
        hidden_size: units of the LSTM.
        width: numbers of a row.
        heads: that read.
        interface_size: numbers that steer the memory.
        clip: largest absolute value of the LSTM's cell and of the interface; None for no limit.
        batch_first: whether inputs and outputs are `(batch, time, size)` instead of `(time, batch, size)`.

    Raises:
        ValueError: when a size is less than 1, or `clip` is not positive.

    Example:
        >>> from graves_memory.layers.ntm import NTM
        >>> NTM(3, 2, hidden_size=10, width=4, heads=2).controller
        LSTMCell(11, 10)
    """

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_size: int,
        width: int,
        heads: int,
        interface_size: int,
        clip: float | None,
        batch_first: bool,
    ) -> None:
        check_sizes({"width": width, "heads": heads})
        if clip is not None and not clip > 0:
            raise ValueError(f"clip must be positive or None, not {clip}")
        read_size = heads * width
        super().__init__(input_size, output_size, hidden_size, hidden_size + read_size, batch_first)
        self.width = width
        self.heads = heads
        self.clip = clip
        self.controller = nn.LSTMCell(input_size + read_size, hidden_size)
        self.interface = nn.Linear(hidden_size, interface_size)

    def features(
        self, hidden: Float[Tensor, "batch hidden"], words: Float[Tensor, "batch heads width"]
    ) -> Float[Tensor, "batch feature"]:
        """What the output layer reads.

        Args:
            hidden: the LSTM's output.
            words: what the heads read.
        """
        return torch.cat([hidden, words.flatten(1)], dim=1)


def full_precision(like: Tensor) -> AbstractContextManager[object]:
    """Within it, autocast does not touch the memory's arithmetic.

    Args:
        like: a tensor of the device in question.
    """
    kind = like.device.type
    if torch.is_autocast_enabled(kind):
        return torch.autocast(kind, enabled=False)
    return nullcontext()
