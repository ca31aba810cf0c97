"""From an amount of memory, or of time, to the plan of each strategy that keeps to it."""

from bisect import bisect_left
from collections.abc import Callable
from typing import Literal, NamedTuple

from graves_rnn_training.layers.scan.sizes import StepBytes
from graves_rnn_training.schedules.binomials import hidden_forwards, internal_forwards
from graves_rnn_training.schedules.plan import Plan, make_plan
from graves_rnn_training.schedules.strategies import Strategy

FINE = 8
"""Internal states up to so many times as large as hidden ones are counted in halves of a hidden state."""

COARSE = 32
"""From so many times on, mixing them with hidden ones gains little and takes long to plan."""


class Amount(NamedTuple):
    """What a budget allows for one sequence; one of the three is given.

    Attributes:
        slots: states that are stored.
        room: bytes beyond the initial state and the step at hand.
        forwards: forward operations of all steps together.

    Example:
        >>> Amount(room=1000).slots is None
        True
    """

    slots: int | None = None
    room: int | None = None
    forwards: float | None = None


def plans_within(
    strategy: Strategy | Literal["auto"],
    amount: Amount,
    steps: int,
    sizes: StepBytes | None,
    coarse: bool = False,
) -> list[Plan]:
    """The plans that keep to the amount: one, or none, or of each strategy that comes into question.

    Args:
        strategy: what is stored.
        amount: of memory or time.
        steps: how many steps there are.
        sizes: bytes of their states; they may be None for slots of one kind.
        coarse: leave mixing out, which gains little with few large steps and takes long to plan.
    """
    strategies: tuple[Strategy, ...] = (strategy,) if strategy != "auto" else ("mixed",)
    if strategy == "auto" and (coarse or (sizes is not None and sizes.internal > COARSE * sizes.hidden)):
        strategies = ("hidden", "internal") if amount.slots is None else ("hidden",)
    plans = (plan_within(each, amount, steps, sizes) for each in strategies)
    return [plan for plan in plans if plan is not None]


def plan_within(strategy: Strategy, amount: Amount, steps: int, sizes: StepBytes | None) -> Plan | None:
    """The plan of a strategy, None if it cannot keep to the amount.

    Args:
        strategy: what is stored.
        amount: of memory or time.
        steps: how many steps there are.
        sizes: bytes of their states; they may be None for slots of one kind.
    """
    if strategy == "hidden":
        slots = _hidden_slots(amount, steps, sizes)
        return make_plan(steps, min(slots, steps), 1, 1, "hidden") if slots else None
    if strategy == "internal":
        slots = _internal_slots(amount, steps, sizes)
        return make_plan(steps, min(slots, steps), 1, 1, "internal") if slots else None
    assert sizes is not None
    return _mixed(amount, steps, sizes)


def _hidden_slots(amount: Amount, steps: int, sizes: StepBytes | None) -> int:
    if amount.slots is not None:
        return amount.slots
    if amount.forwards is not None:
        return _fewest(hidden_forwards, steps, amount.forwards)
    assert amount.room is not None
    assert sizes is not None
    return 1 + amount.room // sizes.hidden


def _internal_slots(amount: Amount, steps: int, sizes: StepBytes | None) -> int:
    if amount.slots is not None:
        return amount.slots
    if amount.forwards is not None:
        return _fewest(internal_forwards, steps, amount.forwards)
    assert amount.room is not None
    assert sizes is not None
    return 1 + amount.room // sizes.stored


def _fewest(forwards: Callable[[int, int], int], steps: int, most: float, limit: int | None = None) -> int:
    """The fewest slots with at most so many forward operations; 0 if there always are more."""
    limit = limit or steps
    slots = 1 + bisect_left(range(1, limit + 1), -most, key=lambda slots: -forwards(steps, slots))
    return slots if slots <= limit else 0


def _mixed(amount: Amount, steps: int, sizes: StepBytes) -> Plan | None:
    """With units of half a hidden state where that matters; internal states are rounded up."""
    kept = sizes.internal if amount.slots is not None else sizes.stored
    hidden = 2 if kept <= FINE * sizes.hidden else 1
    internal = -(-kept * hidden // sizes.hidden)

    def plan(units: int) -> Plan:
        return make_plan(steps, min(units, hidden + steps * internal), hidden, internal, "mixed")

    if amount.slots is not None:
        return plan(amount.slots * hidden)
    if amount.room is not None:
        return plan(hidden + amount.room * hidden // sizes.hidden)
    assert amount.forwards is not None
    slots = _fewest(internal_forwards, steps, amount.forwards)
    enough = hidden + (slots - 1) * internal
    spare = _fewest(
        lambda _, units: plan(hidden + units - 1).forwards, steps, amount.forwards, enough - hidden + 1
    )
    return plan(hidden + spare - 1) if slots else None
