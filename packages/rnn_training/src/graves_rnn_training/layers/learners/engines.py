"""What works on the traces of a cell whose parameters each touch one unit, made once for its masks."""

from collections.abc import Callable
from typing import Any, NamedTuple, Protocol

from torch import Tensor

from graves_rnn_training.layers.cells.unit import UnitCell
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


class Engines:
    """Remembers the functions of an engine until masks, dtype or device change. Copies and pickles are empty.

    Args:
        compile: compile step and gradients.
    """

    def __init__(self, compile: bool) -> None:
        self.compile = compile
        self._for: tuple[Any, ...] = ()
        self._made: Kernels | None = None

    def __deepcopy__(self, memo: Any) -> "Engines":
        return Engines(self.compile)

    def __reduce__(self) -> tuple[type, tuple[bool]]:
        return Engines, (self.compile,)

    def of(self, cell: UnitCell, make: Callable[[], UnitEngine]) -> Kernels:
        """The functions for the masks that the cell has now.

        Args:
            cell: whose parameters each touch one unit.
            make: an engine for it.
        """
        now = cell.kept("weight_ih"), cell.kept("weight_hh"), cell.bias_ih.dtype, cell.bias_ih.device
        if self._made is None or not _same(self._for, now):
            engine = make()
            functions = engine.step, engine.gradients
            step, gradients = (compiled(f) if self.compile else f for f in functions)
            self._for, self._made = now, Kernels(engine.shapes, step, gradients)
        return self._made


def _same(one: tuple[Any, ...], two: tuple[Any, ...]) -> bool:
    """Whether what is kept is the same objects, and the rest equal."""
    return all(a is b for a, b in zip(one[:2], two[:2], strict=True)) and one[2:] == two[2:]
