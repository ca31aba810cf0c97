"""How many forward operations a plan takes: reference values, recurrences, and what all programs can do."""

from math import log2

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_reference import fewest_forwards, hidden_recurrence, internal_recurrence

from graves_rnn_training.schedules.binomials import (
    hidden_bound,
    hidden_forwards,
    hidden_move,
    internal_forwards,
    internal_move,
)
from graves_rnn_training.schedules.plan import Plan, make_plan

SLOTS = (1, 2, 3, 4, 5, 10, 20, 50, 100, 250, 1000)
HIDDEN = (500500, 29820, 13155, 8998, 7284, 4636, 3747, 2948, 2898, 2748, 1999)
INTERNAL = (500500, 28864, 12172, 8008, 6292, 3640, 2750, 1950, 1900, 1750, 1000)

steps = st.integers(1, 10**6)
slots = st.integers(2, 2000)


@pytest.mark.parametrize(("slots", "forwards"), [*zip(SLOTS, HIDDEN, strict=True)])
def test_forwards_with_hidden_states_at_a_thousand_steps(slots: int, forwards: int) -> None:
    assert make_plan(1000, slots, strategy="hidden").forwards == forwards


@pytest.mark.parametrize(("slots", "forwards"), [*zip(SLOTS, INTERNAL, strict=True)])
def test_forwards_with_internal_states_at_a_thousand_steps(slots: int, forwards: int) -> None:
    assert make_plan(1000, 4 * slots, 1, 4, "internal").forwards == forwards


def test_closed_form_with_hidden_states_equals_the_recurrence() -> None:
    wrong = [
        (t, m) for t in range(1, 61) for m in range(1, 20) if hidden_forwards(t, m) != hidden_recurrence(t, m)
    ]
    assert not wrong


def test_closed_form_with_internal_states_equals_the_recurrence() -> None:
    wrong = [
        (t, m)
        for t in range(1, 61)
        for m in range(1, 20)
        if internal_forwards(t, m) != internal_recurrence(t, m)
    ]
    assert not wrong


@pytest.mark.parametrize("strategy", ["hidden", "internal", "mixed"])
@pytest.mark.parametrize(("hidden", "internal"), [(1, 1), (1, 2), (1, 3), (2, 3), (2, 5), (3, 2)])
@pytest.mark.parametrize("steps", [1, 2, 4, 6, 7])
def test_no_program_takes_fewer_forwards(strategy: str, hidden: int, internal: int, steps: int) -> None:
    for units in range(max(hidden, internal), 2 * internal + 3 * hidden):
        plan = Plan(steps, units, hidden, internal, strategy)  # type: ignore[arg-type]
        assert plan.forwards == fewest_forwards(plan)


@given(steps, slots)
def test_a_move_with_hidden_states_leads_to_the_optimum(steps: int, slots: int) -> None:
    action, y = hidden_move(steps, slots)
    if action == "workspace":
        assert (steps, y) == (1, 1)
    else:
        rest = hidden_forwards(steps - y, slots - 1) + hidden_forwards(y, slots)
        assert y + rest == hidden_forwards(steps, slots)


@given(steps, slots)
def test_a_move_with_internal_states_leads_to_the_optimum(steps: int, slots: int) -> None:
    action, y = internal_move(steps, slots)
    assert (action == "workspace") == (y == steps)
    rest = internal_forwards(steps - y, slots - 1) if y < steps else 0
    assert y + rest + internal_forwards(y - 1, slots) == internal_forwards(steps, slots)


@given(steps, slots)
def test_hidden_states_cost_one_sweep_more_than_internal_ones(steps: int, slots: int) -> None:
    assert hidden_forwards(steps + 1, slots) == internal_forwards(steps, slots) + steps + 1


@given(steps, slots)
def test_forwards_with_hidden_states_keep_to_the_bound(steps: int, slots: int) -> None:
    assert hidden_forwards(steps, slots) <= hidden_bound(steps, slots) * (1 + 1e-12)


@given(steps)
def test_forwards_of_one_slot_are_quadratic(steps: int) -> None:
    triangle = steps * (steps + 1) // 2
    assert hidden_forwards(steps, 1) == internal_forwards(steps, 1) == triangle


@given(steps, slots)
def test_with_as_many_slots_as_steps_nothing_runs_twice_needlessly(steps: int, slots: int) -> None:
    enough = steps + slots
    assert (hidden_forwards(steps, enough), internal_forwards(steps, enough)) == (2 * steps - 1, steps)


@given(st.integers(2, 10**6))
def test_memory_of_a_root_keeps_the_forwards_linear(steps: int) -> None:
    root, cube_root = int((2 * steps) ** 0.5) + 1, int((6 * steps) ** (1 / 3)) + 1
    assert hidden_forwards(steps, root) < 3 * steps
    assert hidden_forwards(steps, cube_root) < 4 * steps
    assert hidden_forwards(steps, int(log2(steps)) + 1) <= steps * (log2(steps) + 1)


def test_memory_is_counted_in_whole_states() -> None:
    assert make_plan(100, 29, 3, 7, "hidden").forwards == hidden_forwards(100, 9)
    assert make_plan(100, 29, 3, 7, "internal").forwards == internal_forwards(100, 4)


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"steps": 0}, "steps must be at least 1, got 0"),
        ({"units": 0}, "units must be at least 1, got 0"),
        ({"hidden_units": 0}, "hidden_units must be at least 1, got 0"),
        ({"internal_units": -1}, "internal_units must be at least 1, got -1"),
        ({"units": 1, "hidden_units": 2}, "units must be at least 2 under 'mixed', got 1"),
        ({"units": 3, "strategy": "internal"}, "units must be at least 4 under 'internal', got 3"),
        ({"units": 10**6, "steps": 10**6}, "units must be coarser: at most 200000 times 1"),
    ],
)
def test_what_cannot_be_planned_is_refused(arguments: dict[str, int], message: str) -> None:
    with pytest.raises(ValueError, match=message):
        make_plan(**{"steps": 10, "units": 5, **arguments})  # type: ignore[arg-type]
