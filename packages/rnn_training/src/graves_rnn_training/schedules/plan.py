"""What to store when: the optimal policy of a number of steps and a memory."""

import functools
from collections.abc import Iterator
from dataclasses import dataclass
from typing import get_args

from graves_rnn_training.schedules.binomials import (
    hidden_forwards,
    hidden_move,
    internal_forwards,
    internal_move,
)
from graves_rnn_training.schedules.instructions import Instruction, unrolled
from graves_rnn_training.schedules.mixed import MixedCosts, mixed_costs
from graves_rnn_training.schedules.strategies import Move, Strategy


@dataclass(frozen=True)
class Plan:
    """An optimal policy: the fewest forward operations that reverse a number of steps in a memory.

    Memory is counted in whole units. Under "hidden" and "mixed" it includes the state before the first step
    and not the graph of the step that is being reversed; under "internal" it is the other way round. When an
    internal state is 3.5 times as large as a hidden one, they take 7 and 2 units.

    Args:
        steps: how many steps are to be reversed.
        units: the memory.
        hidden_units: the memory that a stored hidden state takes.
        internal_units: the memory that a stored internal state takes: all that is needed to reverse a step.
        strategy: what may be stored.

    Raises:
        ValueError: when an argument is not positive, `units` is too little for one state or too fine for
            planning, or `strategy` is none.

    Example:
        >>> plan = Plan(steps=4, units=2, hidden_units=1, internal_units=4, strategy="hidden")
        >>> plan.forwards, plan.move(4, 2)
        (8, Move(action='hidden', advance=2))
        >>> print(*(f"{operation} {advance}" for operation, advance in plan.instructions()), sep=", ")
        hidden 2, workspace 2, workspace 1, drop 0, hidden 1, workspace 1, drop 0, workspace 1

    Source: Gruslys et al. 2016, section 3.
    """

    steps: int
    units: int
    hidden_units: int = 1
    internal_units: int = 4
    strategy: Strategy = "mixed"

    def __post_init__(self) -> None:
        for name in ("steps", "units", "hidden_units", "internal_units"):
            if (value := getattr(self, name)) < 1:
                raise ValueError(f"{name} must be at least 1, got {value}")
        if self.strategy not in get_args(Strategy):
            raise ValueError(f"strategy must be one of {get_args(Strategy)}, got {self.strategy!r}")
        least = self.internal_units if self.strategy == "internal" else self.hidden_units
        if self.units < least:
            raise ValueError(f"units must be at least {least} under {self.strategy!r}, got {self.units}")
        if self.strategy == "mixed":
            self._mixed.check(self.steps, self.units)

    @functools.cached_property
    def forwards(self) -> int:
        """How many forward operations the whole takes, the first sweep over all steps included."""
        if self.strategy == "hidden":
            return hidden_forwards(self.steps, self.units // self.hidden_units)
        if self.strategy == "internal":
            return internal_forwards(self.steps, self.units // self.internal_units)
        return self._mixed.forwards(self.steps, self.units)

    def move(self, steps: int, units: int) -> Move:
        """What to do next when `steps` steps are left behind a state and `units` units of memory."""
        if self.strategy == "hidden":
            return hidden_move(steps, units // self.hidden_units)
        if self.strategy == "internal":
            return internal_move(steps, units // self.internal_units)
        return self._mixed.move(steps, units)

    def instructions(self) -> Iterator[Instruction]:
        """The whole schedule, for a machine with one stack. It is worked out once."""
        return iter(self._instructions)

    @property
    def _mixed(self) -> MixedCosts:
        return mixed_costs(self.hidden_units, self.internal_units)

    @functools.cached_property
    def _instructions(self) -> tuple[Instruction, ...]:
        costs = {"hidden": self.hidden_units, "internal": self.internal_units}
        return tuple(unrolled(self.steps, self.units, costs, self.move))


@functools.lru_cache(maxsize=64)
def make_plan(
    steps: int,
    units: int,
    hidden_units: int = 1,
    internal_units: int = 4,
    strategy: Strategy = "mixed",
) -> Plan:
    """The plan of a setting, kept for the next call; arguments as those of `Plan`."""
    return Plan(steps, units, hidden_units, internal_units, strategy)
