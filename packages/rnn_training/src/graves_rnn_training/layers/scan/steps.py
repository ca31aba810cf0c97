"""A sequence as the steps of a plan: single time steps of a cell, or segments of several."""

from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Any

from torch import Tensor

from graves_rnn_training.layers.scan.reductions import along_time, within_segment
from graves_rnn_training.layers.scan.trees import Structure, unflatten

Cell = Callable[[Any, Any], tuple[Any, Any]]
"""One time step: `cell(inputs, state) -> (output, state)`."""

Readout = Callable[[Any, Any], Any]
"""What is of interest in a time step: `readout(output, targets)`."""


class Steps(ABC):
    """Something to run step by step over inputs whose first axis is cut into as many pieces.

    Args:
        inputs: the leaves of the inputs; those that are no tensors are the same at every step.
        rows: length of the first axis of inputs and of stacked outputs.
        segmented: whether a step keeps the first axis, because it is more than one row.
    """

    def __init__(self, inputs: list[Any], rows: int, segmented: bool) -> None:
        self.inputs = inputs
        self.rows = rows
        self.segmented = segmented

    @property
    @abstractmethod
    def number(self) -> int:
        """How many steps there are."""

    @abstractmethod
    def span(self, index: int) -> tuple[int, int]:
        """The rows of a step: the first, and the one after its last."""

    @abstractmethod
    def run(self, index: int, inputs: list[Any], state: Any, wants_outputs: bool = True) -> tuple[Any, Any]:
        """Runs a step.

        Args:
            index: which.
            inputs: its piece of every input.
            state: the state before it.
            wants_outputs: whether outputs are of use; if not, they may be anything.

        Returns:
            outputs, reduced over its rows if there are several, and the state after it.
        """

    def pieces(self, index: int) -> list[Any]:
        """The rows of a step of every input."""
        start, stop = self.span(index)
        rows: Any = slice(start, stop) if self.segmented else start
        return [leaf[rows] if isinstance(leaf, Tensor) else leaf for leaf in self.inputs]


class CellSteps(Steps):
    """A cell unrolled, so many time steps at once.

    Args:
        cell: one time step.
        readout: what makes an output of that of the cell and of the targets, if anything.
        inputs: leaves and nesting of the inputs.
        targets: leaves and nesting of the targets.
        length: number of time steps.
        segment: how many of them a step of the plan has.
        reductions: what becomes of the outputs.
    """

    def __init__(
        self,
        cell: Cell,
        readout: Readout | None,
        inputs: tuple[list[Any], Structure],
        targets: tuple[list[Any], Structure],
        length: int,
        segment: int,
        reductions: Any,
    ) -> None:
        segmented = segment > 1 or isinstance(self, SegmentSteps)
        super().__init__([*inputs[0], *targets[0]], length, segmented)
        self.cell = cell
        self.readout = readout
        self.count = len(inputs[0])
        self.structure = inputs[1]
        self.targets = targets[1]
        self.segment = segment
        self.reductions = reductions

    @property
    def number(self) -> int:
        """How many segments there are; the last may be shorter."""
        return -(-self.rows // self.segment)

    def span(self, index: int) -> tuple[int, int]:
        """The time steps of a segment."""
        start = index * self.segment
        return start, min(start + self.segment, self.rows)

    def run(self, index: int, inputs: list[Any], state: Any, wants_outputs: bool = True) -> tuple[Any, Any]:
        """Runs the cell on the time steps of a segment, and the readout if outputs are of use."""
        if not self.segmented:
            return self._one(inputs, state, wants_outputs)
        outputs = []
        start, stop = self.span(index)
        for row in range(stop - start):
            at_once = [leaf[row] if isinstance(leaf, Tensor) else leaf for leaf in inputs]
            output, state = self._one(at_once, state, wants_outputs)
            outputs.append(output)
        return within_segment(self.reductions, outputs) if wants_outputs else None, state

    def _one(self, inputs: list[Any], state: Any, wants_outputs: bool) -> tuple[Any, Any]:
        output, state = self.cell(unflatten(inputs[: self.count], self.structure), state)
        if self.readout is not None and wants_outputs:
            output = self.readout(output, unflatten(inputs[self.count :], self.targets))
        return output, state


class SegmentSteps(CellSteps):
    """A cell that takes many time steps at once, in pieces of any length."""

    def run(self, index: int, inputs: list[Any], state: Any, wants_outputs: bool = True) -> tuple[Any, Any]:
        """Runs the cell on a segment, and the readout if outputs are of use."""
        output, state = self._one(inputs, state, wants_outputs)
        return along_time(self.reductions, output) if wants_outputs else None, state
