"""Several recurrent layers, each with the learner of its own."""

from collections.abc import Sequence
from itertools import pairwise
from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn

from graves_rnn_training.layers.learners.base import Learner, OnlineState, check_trace_limit


class LearnerStack(Learner):
    """Layers one above the other: the output of each is the input of the next.

    A layer that carries an influence knows that of its parameters on its own state alone. Layers below get
    their gradient through those above of the same step, so what a lower layer causes through the past of a
    higher one is left out: of several layers, `RTRL` is an approximation. A stack of `BPTT` is exact.

    Hidden states are one beside the other in `OnlineState.hidden`, traces one after another in `traces`.

    Args:
        layers: learners, the lowest first, all forward-accumulating or none.
        max_trace_bytes: the most memory that the traces of a batch may take; no limit by default.

    Raises:
        TypeError: when a layer is no learner.
        ValueError: when there are no layers or they do not fit.

    Example:
        >>> from graves_rnn_training.layers.cells.gru import GRUCell
        >>> from graves_rnn_training.layers.learners.snap import SnAp
        >>> stack = LearnerStack([SnAp(GRUCell(3, 8)), SnAp(GRUCell(8, 6))])
        >>> output, state = stack(torch.randn(2, 3), stack.initial_state(batch_size=2))
        >>> output.shape, state.hidden.shape
        (torch.Size([2, 6]), torch.Size([2, 14]))
        >>> output.sum().backward()
    """

    def __init__(self, layers: Sequence[Learner], max_trace_bytes: int | None = None) -> None:
        nn.Module.__init__(self)  # a stack has no cell of its own
        check_trace_limit(max_trace_bytes)
        _check_layers(layers)
        self.layers = nn.ModuleList(layers)
        self.max_trace_bytes = max_trace_bytes
        self.forward_accumulation = layers[0].forward_accumulation

    @property
    def input_size(self) -> int:
        """Numbers that a step of the lowest layer reads."""
        return self._learners()[0].input_size

    @property
    def hidden_size(self) -> int:
        """Numbers of the output of the highest layer."""
        return self._learners()[-1].hidden_size

    @property
    def state_size(self) -> int:
        """Numbers of the states of all layers."""
        return sum(layer.state_size for layer in self._learners())

    def trace_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Those of all layers, one after another."""
        return [shape for layer in self._learners() for shape in layer.trace_shapes(batch_size)]

    def trace_bytes(self, batch_size: int) -> int:
        """Memory of the traces of all layers, in bytes."""
        return sum(layer.trace_bytes(batch_size) for layer in self._learners())

    def initial_state(self, batch_size: int) -> OnlineState:
        """That of all layers.

        Raises:
            ValueError: when `batch_size` is not positive, or the traces would take too much memory.
        """
        self._refuse_too_large(batch_size)
        return _joined([layer.initial_state(batch_size) for layer in self._learners()])

    def forward(
        self, inputs: Float[Tensor, "batch input"], state: OnlineState
    ) -> tuple[Float[Tensor, "batch hidden"], OnlineState]:
        """One time step of all layers, the lowest first.

        Raises:
            ValueError: when the state was made by other layers.
        """
        states, output = [], inputs
        for layer, own in zip(self._learners(), self.states(state), strict=True):
            output, after = layer(output, own)
            states.append(after)
        return output, _joined(states)

    def reset(self, state: OnlineState, done: Bool[Tensor, "batch"]) -> OnlineState:
        """Starts the sequences anew for which `done` is true, in all layers."""
        pairs = zip(self._learners(), self.states(state), strict=True)
        return _joined([layer.reset(own, done) for layer, own in pairs])

    def detach(self, state: OnlineState) -> OnlineState:
        """The same state without a graph."""
        pairs = zip(self._learners(), self.states(state), strict=True)
        return _joined([layer.detach(own) for layer, own in pairs])

    def states(self, state: OnlineState) -> list[OnlineState]:
        """The state of each layer.

        Args:
            state: of the stack.

        Raises:
            ValueError: when the state was made by other layers.
        """
        numbers = [len(layer.trace_shapes(1)) for layer in self._learners()]
        given = state.hidden.shape[1], len(state.traces)
        if given != (self.state_size, sum(numbers)):
            raise ValueError(
                f"state holds {given[0]} numbers and {given[1]} traces, but these layers need "
                f"{self.state_size} and {sum(numbers)}: begin with initial_state()"
            )
        hidden = torch.split(state.hidden, [layer.state_size for layer in self._learners()], 1)
        traces = iter(state.traces)
        return [
            OnlineState(own, tuple(next(traces) for _ in range(number)))
            for own, number in zip(hidden, numbers, strict=True)
        ]

    def _learners(self) -> list[Learner]:
        return [layer for layer in self.layers if isinstance(layer, Learner)]


def _joined(states: list[OnlineState]) -> OnlineState:
    hidden = torch.cat([state.hidden for state in states], 1)
    return OnlineState(hidden, tuple(trace for state in states for trace in state.traces))


def _check_layers(layers: Sequence[Any]) -> None:
    if not layers:
        raise ValueError("layers must hold at least one learner, got none")
    for index, layer in enumerate(layers):
        if not isinstance(layer, Learner):
            raise TypeError(f"layers[{index}] must be a Learner, got {type(layer).__name__}")
        if layer.forward_accumulation != layers[0].forward_accumulation:
            raise ValueError(
                "layers must all carry an influence or all backpropagate through time, got "
                f"{[type(layer).__name__ for layer in layers]}"
            )
    for index, (below, above) in enumerate(pairwise(layers)):
        if above.input_size != below.hidden_size:
            raise ValueError(
                f"layers[{index + 1}] must have input_size={below.hidden_size}, the hidden_size of the layer "
                f"below, got {above.input_size}"
            )
