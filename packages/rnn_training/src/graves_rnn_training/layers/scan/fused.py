"""Segments of `nn.LSTM`, `nn.GRU` and `nn.RNN`: many time steps in one call of torch's fast kernels."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import torch
from torch import Tensor, nn

from graves_rnn_training.layers.scan.steps import Steps

KERNELS: dict[str, Callable[..., Any]] = {
    "LSTM": torch.lstm,
    "GRU": torch.gru,
    "RNN_TANH": torch.rnn_tanh,
    "RNN_RELU": torch.rnn_relu,
}
"""The function behind each mode of `nn.RNNBase`."""


@dataclass(frozen=True)
class Kernel:
    """Some layers in one direction, ready to run.

    Args:
        mode: that of `nn.RNNBase`.
        layers: the weights of each layer.
        bias: whether there are biases among them.
        dropout: probability with which outputs between layers are dropped.

    Example:
        >>> rnn = nn.GRU(3, 5)
        >>> kernel = Kernel("GRU", rnn.all_weights, True, 0.0)
        >>> kernel(torch.zeros(7, 2, 3), torch.zeros(1, 2, 5))[0].shape
        torch.Size([7, 2, 5])
    """

    mode: str
    layers: list[list[Tensor]]
    bias: bool
    dropout: float

    def __call__(self, x: Tensor, state: Any, batch_sizes: Tensor | None = None) -> tuple[Tensor, Any]:
        """Runs all layers over some time steps.

        Args:
            x: inputs, time first, or packed.
            state: hidden states of all layers, for an LSTM with cell states; None for zeros.
            batch_sizes: how many sequences go on at each step, if packed.

        Returns:
            outputs of the last layer, and the state after the last step.
        """
        state = self._zeros(x) if state is None else state
        if not self.dropout:
            return self._call(x, batch_sizes, state, self.layers)
        states = []
        for number, weights in enumerate(self.layers):
            x = nn.functional.dropout(x, self.dropout) if number else x
            x, after = self._call(x, batch_sizes, _layer(state, number), [weights])
            states.append(after)
        return x, _stacked(states)

    def _zeros(self, x: Tensor) -> Any:
        recurrent = self.layers[0][1]
        hidden = x.new_zeros(len(self.layers), x.shape[1], recurrent.shape[1])
        if self.mode != "LSTM":
            return hidden
        return hidden, x.new_zeros(len(self.layers), x.shape[1], len(recurrent) // 4)

    def _call(
        self, x: Tensor, batch_sizes: Tensor | None, state: Any, layers: list[list[Tensor]]
    ) -> tuple[Tensor, Any]:
        weights = [weight for layer in layers for weight in layer]
        options = (self.bias, len(layers), 0.0, False, False)
        kernel = KERNELS[self.mode]
        if batch_sizes is None:
            output, *after = kernel(x, state, weights, *options, False)
        else:
            output, *after = kernel(x, batch_sizes, state, weights, *options)
        return output, tuple(after) if self.mode == "LSTM" else after[0]


class DenseSteps(Steps):
    """Segments of a batch of sequences of one length.

    Args:
        kernel: what is run.
        x: inputs, time first.
        segment: time steps of each but the last.
    """

    def __init__(self, kernel: Kernel, x: Tensor, segment: int) -> None:
        super().__init__([x], len(x), segmented=True)
        self.kernel = kernel
        self.segment = segment

    @property
    def number(self) -> int:
        """How many segments there are; the last may be shorter."""
        return -(-self.rows // self.segment)

    def span(self, index: int) -> tuple[int, int]:
        """The time steps of a segment."""
        start = index * self.segment
        return start, min(start + self.segment, self.rows)

    def run(self, index: int, inputs: list[Any], state: Any, wants_outputs: bool = True) -> tuple[Any, Any]:
        """Runs the kernel on a segment."""
        return self.kernel(inputs[0], state)


class PackedSteps(Steps):
    """Segments of a batch of sequences of several lengths, the longest first, as `PackedSequence` has them.

    Args:
        kernel: what is run.
        x: inputs of all sequences at the first time step, then of those that go on at the second, and so on.
        batch_sizes: how many go on at each time step.
        segment: time steps of each but the last.
    """

    def __init__(self, kernel: Kernel, x: Tensor, batch_sizes: Tensor, segment: int) -> None:
        super().__init__([x], len(x), segmented=True)
        self.kernel = kernel
        self.segments = torch.split(batch_sizes, segment)
        self.sizes = [int(sizes[0]) for sizes in self.segments]
        lengths = torch.stack([sizes.sum() for sizes in self.segments])
        self.ends = [0, *lengths.cumsum(0).tolist()]

    @property
    def number(self) -> int:
        """How many segments there are; the last may be shorter."""
        return len(self.segments)

    def span(self, index: int) -> tuple[int, int]:
        """The rows of the packed inputs that are a segment's."""
        return self.ends[index], self.ends[index + 1]

    def run(self, index: int, inputs: list[Any], state: Any, wants_outputs: bool = True) -> tuple[Any, Any]:
        """Runs the kernel on the sequences that go on; the states of the others stay as they are."""
        size = self.sizes[index]
        if isinstance(state, tuple):
            going, ended = tuple(part[:, :size] for part in state), tuple(part[:, size:] for part in state)
            output, after = self.kernel(inputs[0], going, self.segments[index])
            return output, tuple(torch.cat(pair, 1) for pair in zip(after, ended, strict=True))
        output, after = self.kernel(inputs[0], state[:, :size], self.segments[index])
        return output, torch.cat([after, state[:, size:]], 1)


def _layer(state: Any, number: int) -> Any:
    one = slice(number, number + 1)
    return tuple(part[one] for part in state) if isinstance(state, tuple) else state[one]


def _stacked(states: list[Any]) -> Any:
    if isinstance(states[0], tuple):
        return tuple(torch.cat(parts) for parts in zip(*states, strict=True))
    return torch.cat(states)
