"""What is made for a cell once, and again when its structure changes."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar

from graves_rnn_training.layers.cache import Cache
from graves_rnn_training.layers.cells.base import OnlineCell
from graves_rnn_training.layers.cells.unit import UnitCell

Made = TypeVar("Made")


class Remade(Generic[Made]):
    """Remembers what was made until masks, dtype, device or the choice of learned parameters change.

    Copies and pickles are empty.

    Example:
        >>> from graves_rnn_training.layers.cells.gru import GRUCell
        >>> cell, sizes = GRUCell(input_size=3, hidden_size=8, sparsity=0.5), Remade()
        >>> sizes.of(cell, lambda: len(cell.weight_hh))
        96
        >>> cell.prune(0.5)
        >>> sizes.of(cell, lambda: len(cell.weight_hh))
        48
    """

    def __init__(self) -> None:
        self._made = Cache()

    def of(self, cell: OnlineCell, make: Callable[[], Made]) -> Made:
        """What belongs to the cell as it is now.

        Args:
            cell: whose structure counts.
            make: makes it.
        """
        now = _structure(cell)
        made: tuple[tuple[Any, ...], Made] | None = self._made.get("made")
        if made is None or not _same(made[0], now):
            made = self._made["made"] = now, make()
        return made[1]


def _structure(cell: OnlineCell) -> tuple[Any, ...]:
    """What is kept of the weights, compared by identity, and what is compared by value."""
    values = [(name, value.dtype, value.device) for name, value in cell.learned()]
    if isinstance(cell, UnitCell):
        return cell.kept("weight_ih"), cell.kept("weight_hh"), values
    return None, None, values


def _same(one: tuple[Any, ...], two: tuple[Any, ...]) -> bool:
    return one[0] is two[0] and one[1] is two[1] and one[2] == two[2]
