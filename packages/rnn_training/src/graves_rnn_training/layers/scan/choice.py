"""From an amount of memory, or of time, to the plan of each strategy that keeps to it."""

from bisect import bisect_left, bisect_right
from collections.abc import Callable
from typing import Literal, NamedTuple

from graves_rnn_training.layers.scan.footprint import at_hand, least_bytes, peak_bytes
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
        size: bytes of all that is stored or used at once.
        forwards: forward operations of all steps together.

    Example:
        >>> Amount(size=1000).slots is None
        True
    """

    slots: int | None = None
    size: int | None = None
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
        return make_plan(steps, min(slots, steps), 1, 1, "hidden") if slots > 0 else None
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
    assert amount.size is not None
    assert sizes is not None
    return (amount.size - at_hand(sizes)) // sizes.hidden


def _internal_slots(amount: Amount, steps: int, sizes: StepBytes | None) -> int:
    if amount.slots is not None:
        return amount.slots
    if amount.forwards is not None:
        return _fewest(internal_forwards, steps, amount.forwards)
    assert amount.size is not None
    assert sizes is not None
    if sizes.steps > 1:
        return max(0, 1 + (amount.size - least_bytes(sizes)) // sizes.stored)
    return _most(lambda slots: make_plan(steps, slots, 1, 1, "internal"), 1, steps, amount.size, sizes)


def _mixed(amount: Amount, steps: int, sizes: StepBytes) -> Plan | None:
    """With units of half a hidden state where that matters; internal states are rounded up."""
    hidden = 2 if sizes.internal <= FINE * sizes.hidden else 1
    internal = -(-sizes.internal * hidden // sizes.hidden)
    enough = hidden + steps * internal

    def plan(units: int) -> Plan:
        return make_plan(steps, min(units, enough), hidden, internal, "mixed")

    if amount.slots is not None:
        return plan(amount.slots * hidden)
    if amount.size is not None:
        at_most = min(enough, hidden * (1 + amount.size // sizes.hidden))
        units = _most(plan, hidden, at_most, amount.size, sizes)
        return plan(units) if units else None
    assert amount.forwards is not None
    slots = _fewest(internal_forwards, steps, amount.forwards)
    units = hidden + (slots - 1) * internal
    spare = _fewest(lambda _, more: plan(hidden + more - 1).forwards, steps, amount.forwards, units)
    return plan(hidden + spare - 1) if slots else None


def _fewest(forwards: Callable[[int, int], int], steps: int, most: float, limit: int | None = None) -> int:
    """The fewest slots with at most so many forward operations; 0 if there always are more."""
    limit = limit or steps
    slots = 1 + bisect_left(range(1, limit + 1), -most, key=lambda slots: -forwards(steps, slots))
    return slots if slots <= limit else 0


def _most(plan: Callable[[int], Plan], least: int, most: int, size: int, sizes: StepBytes) -> int:
    """The most memory, in the units of a plan, that does not take more bytes; 0 if the least does."""
    if size < least_bytes(sizes):
        return 0
    units = (
        least
        - 1
        + bisect_right(range(least, most + 1), size, key=lambda units: peak_bytes(plan(units), sizes))
    )
    while units >= least and peak_bytes(plan(units), sizes) > size:
        units -= 1
    return units if units >= least else 0
