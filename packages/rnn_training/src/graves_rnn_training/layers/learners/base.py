"""What every learner offers: a step that returns its output and carries the output's gradient along."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from contextlib import AbstractContextManager, nullcontext
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float
from torch import Tensor, nn
from torch.autograd.function import once_differentiable

from graves_core.spec import Spec
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.versions import versions_of


class OnlineState(NamedTuple):
    """What a learner carries from step to step: plain tensors.

    Args:
        hidden: the state of the cell, `(batch, state)`.
        traces: what is known of its derivatives; how they lay the batch out is the learner's matter.

    Example:
        >>> OnlineState(torch.zeros(2, 3), (torch.zeros(5, 2),)).hidden.shape
        torch.Size([2, 3])
    """

    hidden: Tensor
    traces: tuple[Tensor, ...]


class Advance(NamedTuple):
    """One step of a learner that accumulates forwards.

    Args:
        state: the state after it.
        saved: what the gradient will be computed from; `ForwardLearner.gradients` gets it back.

    Example:
        >>> state = OnlineState(torch.zeros(2, 3), (torch.zeros(5, 2),))
        >>> Advance(state, saved=state.traces).saved[0].shape
        torch.Size([5, 2])
    """

    state: OnlineState
    saved: tuple[Tensor, ...]


class Learner(Spec, nn.Module, ABC):
    """A cell, and the way in which the gradient of its parameters is computed.

    `output, state = learner(inputs, state)` makes a step. `output` may be used like any tensor with a graph.

    Args:
        cell: one time step of the network.
        max_trace_bytes: the most memory that the traces of a batch may take; no limit by default.

    Raises:
        ValueError: when `max_trace_bytes` is negative.

    Example:
        >>> from graves_rnn_training.layers.cells.gru import GRUCell
        >>> from graves_rnn_training.layers.learners.snap import SnAp
        >>> learner = SnAp(GRUCell(3, 8, sparsity=0.5))
        >>> output, state = learner(torch.randn(2, 3), learner.initial_state(batch_size=2))
        >>> output.sum().backward()
        >>> learner.cell.bias_hh.grad.shape
        torch.Size([24])
    """

    forward_accumulation: bool = True
    """Whether `backward` may follow every step, because no graph runs through time."""

    def __init__(self, cell: OnlineCell, max_trace_bytes: int | None = None) -> None:
        super().__init__()
        check_trace_limit(max_trace_bytes)
        self.cell = cell
        self.max_trace_bytes = max_trace_bytes

    @property
    def input_size(self) -> int:
        """Numbers that a step reads."""
        return self.cell.input_size

    @property
    def hidden_size(self) -> int:
        """Numbers of its output."""
        return self.cell.hidden_size

    @property
    def state_size(self) -> int:
        """Numbers of the state of a sequence, output included."""
        return self.cell.state_size

    @abstractmethod
    def trace_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """The shapes of the traces for a batch."""

    @abstractmethod
    def forward(
        self, inputs: Float[Tensor, "batch input"], state: OnlineState
    ) -> tuple[Float[Tensor, "batch hidden"], OnlineState]:
        """One time step."""

    @abstractmethod
    def reset(self, state: OnlineState, done: Bool[Tensor, "batch"]) -> OnlineState:
        """Starts the sequences anew for which `done` is true: state and traces become zero."""

    def trace_bytes(self, batch_size: int) -> int:
        """Memory of the traces for a batch, in bytes."""
        size = self._like().element_size()
        return sum(torch.Size(shape).numel() for shape in self.trace_shapes(batch_size)) * size

    def initial_state(self, batch_size: int) -> OnlineState:
        """Zeros, on the device of the parameters.

        Raises:
            ValueError: when `batch_size` is not positive, or the traces would take too much memory.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, got {batch_size}")
        self._refuse_too_large(batch_size)
        like = self._like()
        zeros = [like.new_zeros(shape) for shape in self.trace_shapes(batch_size)]
        return OnlineState(like.new_zeros(batch_size, self.state_size), tuple(zeros))

    def detach(self, state: OnlineState) -> OnlineState:
        """The same state without a graph."""
        return OnlineState(state.hidden.detach(), tuple(trace.detach() for trace in state.traces))

    def _refuse_too_large(self, batch_size: int) -> None:
        needed = self.trace_bytes(batch_size)
        if self.max_trace_bytes is not None and needed > self.max_trace_bytes:
            raise ValueError(
                f"the traces of {type(self).__name__} need {needed:,} bytes for batch_size={batch_size}; "
                f"max_trace_bytes={self.max_trace_bytes:,} allows less"
            )

    def _like(self) -> Tensor:
        return next(self.cell.parameters()).detach()


class ForwardLearner(Learner):
    """A learner whose traces say the gradient of every step at once.

    Subclasses define `advance` and `gradients`; this class attaches them to the graph.

    Traces move on when gradients are wanted: in training mode, with gradients enabled. Otherwise a step moves
    the hidden state alone.

    Args:
        cell: one time step of the network.
        in_place: overwrite the traces at every step, which saves time and memory; then `backward` must come
            before the next step, and the state that went in is used up. False allocates new ones, so that
            losses of several steps may be added up before one `backward`.
        max_trace_bytes: the most memory that the traces of a batch may take; no limit by default.

    Example:
        >>> class Forgetful(ForwardLearner):  # what parameters do to the present step, and no more
        ...     def trace_shapes(self, batch_size):
        ...         return []
        ...     def advance(self, inputs, state):
        ...         maps = self.cell.linear_maps(inputs, state.hidden)
        ...         return Advance(OnlineState(maps.state, ()), (maps.immediate,))
        ...     def gradients(self, delta, saved):
        ...         flat = torch.einsum("bh,bhp->p", delta, saved[0][:, : self.hidden_size])
        ...         parameters = [value for _, value in self.cell.learned()]
        ...         parts = flat.split([value.numel() for value in parameters])
        ...         return [part.view_as(value) for part, value in zip(parts, parameters)]
        ...     def reset(self, state, done):
        ...         return OnlineState(state.hidden.masked_fill(done[:, None], 0), ())
        >>> from graves_rnn_training.layers.cells.gru import GRUCell
        >>> learner = Forgetful(GRUCell(input_size=3, hidden_size=8))
        >>> output, state = learner(torch.randn(2, 3), learner.initial_state(batch_size=2))
        >>> output.sum().backward()
    """

    def __init__(self, cell: OnlineCell, in_place: bool = True, max_trace_bytes: int | None = None) -> None:
        super().__init__(cell, max_trace_bytes)
        self.in_place = in_place

    @abstractmethod
    def advance(self, inputs: Float[Tensor, "batch input"], state: OnlineState) -> Advance:
        """One step of state and traces; called without a graph, outside of autocast."""

    @abstractmethod
    def gradients(self, delta: Float[Tensor, "batch hidden"], saved: tuple[Tensor, ...]) -> list[Tensor]:
        """The gradient of each learned parameter, from that of the output and what `advance` saved."""

    def input_gradient(
        self,
        delta: Float[Tensor, "batch hidden"],
        inputs: Float[Tensor, "batch input"],
        hidden: Float[Tensor, "batch state"],
        saved: tuple[Tensor, ...],
    ) -> Float[Tensor, "batch input"]:
        """The gradient of the inputs of the step, with the state before held fixed."""
        with torch.enable_grad():
            inputs = inputs.detach().requires_grad_()
            output = self.cell.output(self.cell(inputs, hidden))
            return torch.autograd.grad(output, inputs, delta)[0]

    def forward(
        self, inputs: Float[Tensor, "batch input"], state: OnlineState
    ) -> tuple[Float[Tensor, "batch hidden"], OnlineState]:
        """One time step; `output.backward` gives the gradient that the traces say.

        No gradient flows to the state that went in.

        Raises:
            RuntimeError: from `backward`, when the next step has overwritten the traces.
        """
        return self._carry(inputs, state, self.advance)

    def _carry(
        self, inputs: Tensor, state: OnlineState, advance: Callable[[Tensor, OnlineState], Advance]
    ) -> tuple[Tensor, OnlineState]:
        """Makes a step and attaches the gradient of the traces to its output."""
        with _outside_autocast(inputs.device.type):
            inputs = inputs.to(state.hidden.dtype)
            if not (torch.is_grad_enabled() and self.training):
                hidden = self.cell(inputs, state.hidden)
                return self.cell.output(hidden), OnlineState(hidden, state.traces)
            with torch.no_grad():
                after, saved = advance(inputs, state)
            output = self.cell.output(after.hidden)
            parameters = [value for _, value in self.cell.learned()]
            carried: Tensor = _Carried.apply(  # type: ignore[no-untyped-call]
                self, output, inputs, state.hidden, saved, *parameters
            )
            return carried, after


class _Carried(torch.autograd.Function):
    """An output whose gradient comes from the traces instead of a graph through time."""

    @staticmethod
    def forward(
        ctx: Any,
        learner: ForwardLearner,
        output: Tensor,
        inputs: Tensor,
        hidden: Tensor,
        saved: tuple[Tensor, ...],
        *parameters: Tensor,
    ) -> Tensor:
        ctx.learner, ctx.inputs, ctx.hidden, ctx.saved = learner, inputs.detach(), hidden.detach(), saved
        ctx.versions = versions_of(saved)
        ctx.weights = versions_of(learner.cell.parameters()) if ctx.needs_input_grad[2] else []
        return output.clone()

    @staticmethod
    @once_differentiable
    def backward(ctx: Any, delta: Tensor) -> tuple[Any, ...]:
        if ctx.versions != versions_of(ctx.saved):
            raise RuntimeError(
                "backward() came after the learner's next step, which has overwritten the traces: call it "
                "after each step, or make the learner with in_place=False"
            )
        with _outside_autocast(delta.device.type):
            by_inputs = _by_inputs(ctx, delta) if ctx.needs_input_grad[2] else None
            wanted = any(ctx.needs_input_grad[5:])
            by_parameters = _apart(ctx.learner.gradients(delta, ctx.saved)) if wanted else []
        return (None, None, by_inputs, None, None, *by_parameters)


def _outside_autocast(device_type: str) -> AbstractContextManager[None]:
    """Nothing at all where autocast is off, because a step is short."""
    if torch.is_autocast_enabled(device_type):
        return torch.autocast(device_type, enabled=False)
    return nullcontext()


def _by_inputs(ctx: Any, delta: Tensor) -> Tensor:
    learner: ForwardLearner = ctx.learner
    if ctx.weights != versions_of(learner.cell.parameters()):
        raise RuntimeError(
            "the weights have changed since the step, so the gradient of its inputs is lost: call backward() "
            "before the optimizer's step"
        )
    return learner.input_gradient(delta, ctx.inputs, ctx.hidden, ctx.saved)


def _apart(gradients: list[Tensor]) -> list[Tensor]:
    """The same, none at the address of another: compilers merge equal ones, and autograd would add twice."""
    found: list[Tensor] = []
    for gradient in gradients:
        taken = any(gradient.data_ptr() == other.data_ptr() for other in found)
        found.append(gradient.clone() if taken else gradient)
    return found


def check_trace_limit(max_trace_bytes: int | None) -> None:
    """Refuses a negative limit.

    Raises:
        ValueError: when `max_trace_bytes` is negative.
    """
    if max_trace_bytes is not None and max_trace_bytes < 0:
        raise ValueError(f"max_trace_bytes must be at least 0, got {max_trace_bytes}")
