"""Backpropagation through time, whole or truncated, as learners."""

from typing import Any

import torch
from jaxtyping import Bool, Float
from torch import Tensor

from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.learners.base import Learner, OnlineState


class BPTT(Learner):
    """Backpropagation through time: steps make one graph, which reaches back to the last `detach`.

    Add up the losses of several steps, call `backward` once, and detach the state before going on. A second
    `backward` through the same steps raises an error.

    Args:
        cell: one time step of the network.

    Example:
        >>> from graves_rnn_training.layers.cells.gru import GRUCell
        >>> learner = BPTT(GRUCell(input_size=3, hidden_size=8))
        >>> state = learner.initial_state(batch_size=2)
        >>> for sequence in torch.randn(4, 5, 2, 3):  # four times five steps
        ...     outputs = []
        ...     for inputs in sequence:
        ...         output, state = learner(inputs, state)
        ...         outputs.append(output)
        ...     torch.stack(outputs).sum().backward()
        ...     state = learner.detach(state)
    """

    forward_accumulation = False

    def __init__(self, cell: OnlineCell) -> None:
        super().__init__(cell)

    def trace_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """There are no traces."""
        return []

    def forward(
        self, inputs: Float[Tensor, "batch input"], state: OnlineState
    ) -> tuple[Float[Tensor, "batch hidden"], OnlineState]:
        """One time step, with a graph that reaches back.

        Raises:
            RuntimeError: from `backward`, when one has gone through these steps before.
            ValueError: when the state was made for another batch or cell.
        """
        hidden = self._step(inputs, state)
        return self.cell.output(hidden), OnlineState(hidden, state.traces)

    def reset(self, state: OnlineState, done: Bool[Tensor, "batch"]) -> OnlineState:
        """Starts the sequences anew for which `done` is true; their graph ends here."""
        return OnlineState(state.hidden.masked_fill(done[:, None], 0), state.traces)

    def _step(self, inputs: Tensor, state: OnlineState) -> Tensor:
        wanted = (len(inputs), self.state_size)
        if tuple(state.hidden.shape) != wanted:
            raise ValueError(
                f"state.hidden has the shape {tuple(state.hidden.shape)}, but {type(self).__name__} needs "
                f"{wanted} for these inputs: begin with initial_state()"
            )
        dtype = self._like().dtype
        hidden = self.cell(inputs.to(dtype), state.hidden).to(dtype)
        return once(hidden) if hidden.requires_grad else hidden


class TruncatedBPTT(BPTT):
    """Backpropagation through time that cuts its graph by itself after every `window` steps.

    The gradient of a loss reaches back to the first step of its window. Call `backward` once for all losses
    of a window, at its end; or for those of several windows together, which stay in memory until then. Going
    backward within a window needs a `detach` afterwards, which begins a new one.

    The one trace is an empty tensor, whose first axis counts the steps of the window so far.

    Args:
        cell: one time step of the network.
        window: steps that a graph spans at most.

    Raises:
        ValueError: when `window` is below 1.

    Example:
        >>> from graves_rnn_training.layers.cells.gru import GRUCell
        >>> learner = TruncatedBPTT(GRUCell(input_size=3, hidden_size=8), window=5)
        >>> state, losses = learner.initial_state(batch_size=2), []
        >>> for step, inputs in enumerate(torch.randn(20, 2, 3)):
        ...     output, state = learner(inputs, state)
        ...     losses.append(output.sum())
        ...     if (step + 1) % 5 == 0:
        ...         torch.stack(losses).sum().backward()
        ...         losses.clear()
    """

    def __init__(self, cell: OnlineCell, window: int) -> None:
        super().__init__(cell)
        if window < 1:
            raise ValueError(f"window must be at least 1, got {window}")
        self.window = window

    def trace_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """The count of the window, an empty tensor."""
        return [(0, 0)]

    def forward(
        self, inputs: Float[Tensor, "batch input"], state: OnlineState
    ) -> tuple[Float[Tensor, "batch hidden"], OnlineState]:
        """One time step, with a graph that reaches back to the beginning of the window.

        Raises:
            RuntimeError: from `backward`, when one has gone through these steps before.
            ValueError: when the state was made for another batch or cell.
        """
        if not (torch.is_grad_enabled() and self.training):
            return super().forward(inputs, state)
        if len(state.traces[0]) >= self.window:
            state = self.detach(state)
        hidden = self._step(inputs, state)
        (count,) = state.traces
        return self.cell.output(hidden), OnlineState(hidden, (count.new_empty(len(count) + 1, 0),))

    def detach(self, state: OnlineState) -> OnlineState:
        """The same state without a graph, at the beginning of a window."""
        return OnlineState(state.hidden.detach(), (state.traces[0].new_empty(0, 0),))


def once(hidden: Float[Tensor, "batch state"]) -> Float[Tensor, "batch state"]:
    """The same, through which a graph can be followed back once; then an error explains what to do.

    Args:
        hidden: with a graph.
    """
    same: Tensor = _Once.apply(hidden)  # type: ignore[no-untyped-call]
    return same


class _Once(torch.autograd.Function):
    """Explains why there is no second way back."""

    @staticmethod
    def forward(ctx: Any, hidden: Tensor) -> Tensor:
        ctx.save_for_backward(hidden.new_empty(0))
        return hidden.view_as(hidden)

    @staticmethod
    def backward(ctx: Any, delta: Tensor) -> Tensor:
        try:
            _ = ctx.saved_tensors
        except RuntimeError as error:
            raise RuntimeError(
                "backward() has gone through these steps before: add up the losses of all steps since the "
                "last detach and call backward() once, then go on with learner.detach(state)"
            ) from error
        return delta
