"""Storing hidden and internal states together: the optimum without a table over the numbers of steps."""

import functools
from math import gcd
from threading import RLock

import numpy as np

from graves_rnn_training.schedules.binomials import hidden_forwards, hidden_move
from graves_rnn_training.schedules.curves import (
    CostCurve,
    Integers,
    Level,
    lowest,
    lowest_falls,
    share,
    shared,
    shared_falls,
)
from graves_rnn_training.schedules.strategies import Move

MOST_UNITS = 200_000
"""As many curves are worked out in seconds."""


class MixedCosts:
    """The optimal costs and moves of one pair of sizes, for any memory and number of steps.

    Where a hidden state takes h units, an internal one a, and no stretch has less than h, C(t, m) is the
    least of t + C(t - 1, m), y + C(t - y, m - h) + C(y, m) and y + C(t - y, m - a) + C(y - 1, m) for 0 < y
    < t. With D(s) = min of C(s, m - h) and 1 + C(s - 1, m - a), the costs of the steps behind the state
    that is stored, C(t, m) = min over y of D(t - y) + y + C(y, m): at each level, t steps are shared
    between D and, one level below, C itself. Curves are worked out when they are asked for, and kept.

    Args:
        hidden_units: the memory of a hidden state.
        internal_units: the memory of an internal state.

    Example:
        >>> costs = MixedCosts(hidden_units=1, internal_units=4)
        >>> costs.forwards(1000, 100)
        1985

    Source: Gruslys et al. 2016, section 3.3.
    """

    def __init__(self, hidden_units: int, internal_units: int) -> None:
        self.unit = gcd(hidden_units, internal_units)
        self.hidden, self.internal = hidden_units // self.unit, internal_units // self.unit
        self.curves: dict[int, CostCurve] = {}
        self.lock = RLock()

    def check(self, steps: int, units: int) -> None:
        """Refuses memory that is counted in too many units.

        Raises:
            ValueError: when planning would take long.
        """
        if MOST_UNITS < units // self.unit < self.enough(steps):
            raise ValueError(
                f"units must be coarser: at most {MOST_UNITS} times {self.unit}, the greatest common divisor "
                f"of hidden_units and internal_units, got {units}"
            )

    def forwards(self, steps: int, units: int) -> int:
        """The fewest forward operations."""
        units //= self.unit
        if units < self.hidden + self.internal:
            return hidden_forwards(steps, units // self.hidden)
        if units >= self.enough(steps):
            return steps
        return self._curve(steps, units).forwards(steps)

    def move(self, steps: int, units: int) -> Move:
        """A first move that reaches them; of several, one that stores little."""
        units //= self.unit
        while True:
            if units < self.hidden + self.internal:
                return hidden_move(steps, units // self.hidden)
            if units >= self.enough(steps):
                return Move("internal", 1) if steps > 1 else Move("workspace", 1)
            before = self._before(steps, units)
            behind = steps - before
            if behind == 1:
                return Move("workspace", steps)
            if not self._prefers_hidden(behind, units):
                return Move("internal", before + 1)
            if before:
                return Move("hidden", before)
            units -= self.hidden

    def enough(self, steps: int) -> int:
        """The memory with which nothing is run twice, in the units used here."""
        return self.hidden + (steps - 1) * self.internal

    def _curve(self, steps: int, units: int) -> CostCurve:
        """The curve of a memory, up to a number of steps at least."""
        with self.lock:
            for row in range(self.hidden + len(self.curves), units + 1):
                self._begin(row)
            curve = self.curves[units]
            while curve.lasts[-1] < steps:
                number = len(curve.levels)
                for row in range(self.hidden, units + 1):
                    if len(self.curves[row].levels) == number:
                        self._extend(row, number)
        return curve

    def _begin(self, units: int) -> None:
        """The curve of a memory at the first two levels; those of less memory exist."""
        start = Level(0, 0, 0)
        levels = [start, shared(lowest(self._levels(units, 1)), start)]
        self.curves[units] = CostCurve(levels, [np.zeros(1, np.int64)])

    def _extend(self, units: int, number: int) -> None:
        """Adds level `number` to the curve of a memory; those of less memory have it."""
        curve = self.curves[units]
        level = shared(lowest(self._levels(units, number)), curve.levels[-1])
        curve.add(level, shared_falls(self._falls(units, number - 1), curve.falls[-1]))

    def _levels(self, units: int, number: int) -> list[Level]:
        """A level of what may be the costs of the steps behind the state that is stored."""
        hidden, internal = self._children(units)
        levels = [hidden.levels[number] if hidden else _one_step(number)]
        return levels + ([internal.levels[number].delayed(number)] if internal else [])

    def _falls(self, units: int, number: int) -> Integers:
        """The falls of the costs of the steps behind the state that is stored."""
        hidden, internal = self._children(units)
        falls = [hidden.falls[number] if hidden else np.array([_one_step(number).last])]
        falls += [internal.falls[number] + 1] if internal else []
        return lowest_falls(falls, self._levels(units, number), self._levels(units, number + 1))

    def _before(self, steps: int, units: int) -> int:
        """How many steps lie before the state that is stored, not counting that of an internal state."""
        curve = self._curve(steps, units)
        number, less = curve.place(steps)
        behind, before = lowest(self._levels(units, number)), curve.levels[number - 1]
        most = before.last
        if less:
            falls = curve.falls[number - 1]
            most = int(falls[share(self._falls(units, number), falls, less)[1]])
        return min(steps - behind.first, most)

    def _children(self, units: int) -> tuple[CostCurve | None, CostCurve | None]:
        """The curves of the memory that is left when a hidden or an internal state is stored."""
        return self.curves.get(units - self.hidden), self.curves.get(units - self.internal)

    def _prefers_hidden(self, behind: int, units: int) -> bool:
        """Whether a hidden state is at least as good as an internal one, with so many steps behind it."""
        hidden, internal = self._children(units)
        if internal is None or internal.lasts[-1] < behind - 1:
            return True
        if hidden is None or hidden.lasts[-1] < behind:
            return False
        return hidden.forwards(behind) <= 1 + internal.forwards(behind - 1)


def _one_step(number: int) -> Level:
    """A level of the costs of one step or none, which are all that are possible."""
    return Level(max(0, number - 1), int(number > 1), min(number, 1))


@functools.lru_cache(maxsize=16)
def mixed_costs(hidden_units: int, internal_units: int) -> MixedCosts:
    """The costs of a pair of sizes, kept."""
    return MixedCosts(hidden_units, internal_units)
