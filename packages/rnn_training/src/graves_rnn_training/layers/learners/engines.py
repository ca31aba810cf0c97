"""What works on the traces of a cell whose parameters each touch one unit, for one choice of masks."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from graves_rnn_training.layers.learners.compiled import compiled


class UnitEngine(Protocol):
    """Knows the traces of a learner for one structure of a cell."""

    @property
    def step(self) -> Callable[..., Any]:
        """Makes one time step."""

    @property
    def gradients(self) -> Callable[..., dict[str, Tensor]]:
        """Computes the gradient of each parameter by name."""

    def shapes(self, batch_size: int) -> list[tuple[int, ...]]:
        """Of the traces."""


class Kernels(NamedTuple):
    """The functions of an engine, compiled if wanted.

    Args:
        shapes: of the traces for a batch size.
        step: one time step.
        gradients: of each parameter by name.
    """

    shapes: Callable[[int], list[tuple[int, ...]]]
    step: Callable[..., Any]
    gradients: Callable[..., dict[str, Tensor]]


def kernels(engine: UnitEngine, compile: bool) -> Kernels:
    """The functions of an engine.

    Args:
        engine: for one structure of a cell.
        compile: compile step and gradients.
    """
    step, gradients = (compiled(f) if compile else f for f in (engine.step, engine.gradients))
    return Kernels(engine.shapes, step, gradients)
