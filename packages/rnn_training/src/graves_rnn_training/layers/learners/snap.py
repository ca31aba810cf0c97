"""Sparse n-step approximation: the influence where parameters reach within n steps, and nowhere else."""

from typing import NamedTuple, Protocol, get_args

from jaxtyping import Bool, Float
from torch import Tensor

from graves_rnn_training.influence.patterns import (
    Form,
    dynamics_pattern,
    full_pattern,
    pattern_size,
    reached,
    slot_classes,
    widened,
)
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.unit import UnitCell
from graves_rnn_training.layers.learners.base import Advance, ForwardLearner, OnlineState
from graves_rnn_training.layers.learners.influences import check_fit, restarted
from graves_rnn_training.layers.learners.remade import Remade
from graves_rnn_training.layers.learners.snap_blocks import BlockInfluence
from graves_rnn_training.layers.learners.snap_diagonal import DiagonalInfluence
from graves_rnn_training.layers.learners.snap_masked import MaskedInfluence

NEARLY_ALL = 0.9
"""Density from which the influence is kept as a matrix."""


class Influence(Protocol):
    """One of the forms of the influence, for the masks that the cell has."""

    batch_last: bool

    def shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Of the traces."""

    def step(
        self, inputs: Tensor, hidden: Tensor, traces: tuple[Tensor, ...]
    ) -> tuple[Tensor, tuple[Tensor, ...]]:
        """The new state and traces."""

    def gradients(self, delta: Tensor, traces: tuple[Tensor, ...]) -> dict[str, Tensor]:
        """The gradient of each parameter by name."""


class _Made(NamedTuple):
    influence: Influence
    size: int


class SnAp(ForwardLearner):
    """Follows the influence of parameters where they reach the state within `order` steps.

    Order 1 costs about as much as backpropagation through time and is exact for what stays within a unit.
    With growing order it becomes `RTRL`; on dense recurrent weights order 2 already is.

    Patterns are a matter of masks and equations: a weight that happens to be zero, or an input that is,
    changes nothing.

    Args:
        cell: one time step of the network.
        order: n, how many steps a parameter may need to reach a number of the state.
        lstm_pattern: "strict" drops what the pattern drops, of order 1 the influence of the output gate on c;
            "unit" always keeps both h and c of a unit. Other cells have one number per unit.
        compile: compile the step and the gradient; needs what `torch.compile` needs, on a CPU a C++ compiler.
        in_place: overwrite the influence at every step; see `ForwardLearner`.
        max_trace_bytes: the most memory that the influence of a batch may take; no limit by default.

    Raises:
        ValueError: when `order` is below 1, or `lstm_pattern` unknown.

    Example:
        >>> import torch
        >>> from graves_rnn_training.layers.cells.gru import GRUCell
        >>> cell = GRUCell(input_size=3, hidden_size=8, sparsity=0.75)
        >>> [round(SnAp(cell, order).density, 2) for order in (1, 2, 3)]
        [0.12, 0.34, 0.56]
        >>> learner = SnAp(cell, order=2)
        >>> output, state = learner(torch.randn(2, 3), learner.initial_state(batch_size=2))
        >>> output.sum().backward()

    Source: Menick et al. 2020, section 3.
    """

    def __init__(
        self,
        cell: OnlineCell,
        order: int = 1,
        lstm_pattern: Form = "strict",
        compile: bool = False,
        in_place: bool = True,
        max_trace_bytes: int | None = None,
    ) -> None:
        super().__init__(cell, in_place, max_trace_bytes)
        if order < 1:
            raise ValueError(f"order must be at least 1, got {order}")
        if lstm_pattern not in get_args(Form):
            raise ValueError(f"lstm_pattern must be one of {get_args(Form)}, got {lstm_pattern!r}")
        self.order = order
        self.lstm_pattern = lstm_pattern
        self.compiles = compile
        self._made: Remade[_Made] = Remade()

    @property
    def pattern_size(self) -> int:
        """Entries of the pattern: as many numbers are followed for each sequence."""
        return self._now().size

    @property
    def density(self) -> float:
        """Share of the full influence that the pattern keeps."""
        parameters = sum(value.numel() for _, value in self.cell.learned())
        return self.pattern_size / (self.cell.state_size * max(parameters, 1))

    def trace_shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """The influence as one or more tensors; how it is laid out depends on the order and the masks."""
        return self._now().influence.shapes(batch_size)

    def advance(self, inputs: Float[Tensor, "batch input"], state: OnlineState) -> Advance:
        """One step of the state and of the influence."""
        influence = self._now().influence
        check_fit(self, state, len(inputs), influence.shapes(len(inputs)))
        hidden, traces = influence.step(inputs, state.hidden, state.traces)
        return Advance(OnlineState(hidden, traces), traces)

    def gradients(self, delta: Float[Tensor, "batch hidden"], saved: tuple[Tensor, ...]) -> list[Tensor]:
        """delta^T J, summed over the batch."""
        found = self._now().influence.gradients(delta, saved)
        return [found[name] for name, _ in self.cell.learned()]

    def reset(self, state: OnlineState, done: Bool[Tensor, "batch"]) -> OnlineState:
        """Starts the sequences anew for which `done` is true."""
        return restarted(state, done, self.in_place, self._now().influence.batch_last)

    def _now(self) -> _Made:
        """What was made for the masks, parameters and device of the cell, made again when these change."""
        return self._made.of(self.cell, self._make)

    def _make(self) -> _Made:
        if isinstance(self.cell, UnitCell):
            return self._for_units(self.cell)
        dynamics, kept = self.cell.patterns()
        kept = widened(dynamics, kept, self.order)
        return _Made(MaskedInfluence(self.cell, kept, self.in_place), int(kept.sum()))

    def _for_units(self, cell: UnitCell) -> _Made:
        classes, columns = slot_classes(cell.structure, self.lstm_pattern), cell.columns()
        dynamics = dynamics_pattern(cell.structure, cell.weight_hh_mask)
        rows = reached(dynamics, cell.structure, self.order, self.lstm_pattern)
        size = pattern_size(rows, classes, columns.slot, columns.unit)
        if self.order == 1:
            return _Made(DiagonalInfluence(cell, self.lstm_pattern, self.in_place, self.compiles), size)
        if size >= NEARLY_ALL * cell.state_size * len(columns.slot):
            kept = full_pattern(rows, classes, columns.slot, columns.unit)
            return _Made(MaskedInfluence(cell, kept, self.in_place), size)
        return _Made(BlockInfluence(cell, dynamics, classes, rows, self.in_place, self.compiles), size)
