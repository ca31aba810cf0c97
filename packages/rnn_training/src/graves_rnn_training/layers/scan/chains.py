"""Steps that were run with a graph, one after the other: internal states."""

from typing import Any

from torch import Tensor

from graves_rnn_training.layers.scan.effects import Snapshot
from graves_rnn_training.layers.scan.trees import Structure


class Stored:
    """A hidden state that was pushed, with all that the step behind it depends on.

    Args:
        index: the number of that step.
        leaves: the tensors (and others) of the state.
        structure: how they are nested.
        effects: generators and buffers.
    """

    def __init__(self, index: int, leaves: list[Any], structure: Structure, effects: Snapshot | None) -> None:
        self.index = index
        self.leaves = leaves
        self.structure = structure
        self.effects = effects
        self.version = version_of(leaves)


class Chain:
    """Neighbouring steps with one graph, which are reversed together.

    A schedule that keeps two neighbours reverses them one right after the other, so that they can share a
    graph: then autograd adds up the gradients of parameters, as in full backpropagation through time.

    Args:
        start: the number of the first step.
        before: the leaves of the state before it, where gradients leave.
    """

    def __init__(self, start: int, before: list[Any]) -> None:
        self.start = start
        self.before = before
        self.outputs: list[list[Any]] = []
        self.pieces: list[list[Tensor]] = []
        self.after: list[Any] = before
        self.structure: Structure = ""
        self.pushes = 0
        self.end: Stored | None = None

    def add(self, outputs: list[Any], pieces: list[Tensor], after: list[Any], structure: Structure) -> None:
        """Takes one more step: its outputs, its pieces of the inputs, and the state after it."""
        self.outputs.append(outputs)
        self.pieces.append(pieces)
        self.after = after
        self.structure = structure
        self.end = None

    @property
    def stop(self) -> int:
        """The number of the step behind the last."""
        return self.start + len(self.outputs)


def version_of(leaves: list[Any]) -> int:
    """How often tensors were changed in place, together."""
    return sum(leaf._version for leaf in leaves if isinstance(leaf, Tensor))
