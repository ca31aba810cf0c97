"""Plans that store hidden and internal states, against plain dynamic programming."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from schedule_reference import mixed_table

from graves_rnn_training.schedules.binomials import hidden_forwards, internal_forwards
from graves_rnn_training.schedules.curves import shared_falls
from graves_rnn_training.schedules.mixed import MixedCosts
from graves_rnn_training.schedules.plan import Plan, make_plan

VALUES = {
    4: {10: 4576, 20: 3487, 50: 2660, 100: 1985, 250: 1937},
    5: {10: 4613, 20: 3557, 50: 2723, 100: 1995, 250: 1950},
}
SIZES = [
    (1, 2),
    (1, 3),
    (1, 4),
    (1, 9),
    (2, 3),
    (2, 5),
    (2, 7),
    (2, 9),
    (3, 4),
    (3, 7),
    (4, 7),
    (5, 7),
    (3, 1),
]

sizes = st.tuples(st.integers(1, 12), st.integers(1, 60))


@pytest.mark.parametrize("internal", VALUES)
def test_forwards_at_a_thousand_steps(internal: int) -> None:
    assert {m: make_plan(1000, m, 1, internal).forwards for m in VALUES[internal]} == VALUES[internal]


@pytest.mark.parametrize(("hidden", "internal"), SIZES)
def test_forwards_equal_plain_dynamic_programming(hidden: int, internal: int) -> None:
    steps, units = 80, 5 * internal + 3 * hidden
    table, costs = mixed_table(steps, units, hidden, internal), MixedCosts(hidden, internal)
    found = [[costs.forwards(t, m) for t in range(1, steps + 1)] for m in range(hidden, units + 1)]
    assert (np.array(found) == table[hidden:, 1:]).all()


@pytest.mark.parametrize(("hidden", "internal"), SIZES)
def test_every_move_leads_to_the_optimum(hidden: int, internal: int) -> None:
    steps, units = 60, 5 * internal + 3 * hidden
    table, costs = mixed_table(steps, units, hidden, internal), MixedCosts(hidden, internal)
    for m in range(hidden, units + 1):
        for t in range(1, steps + 1):
            action, y = costs.move(t, m)
            assert y == t if action == "workspace" else 0 < y < t
            size = {"workspace": 0, "hidden": hidden, "internal": internal}[action]
            rest = table[m - size, t - y] + table[m, y - (action != "hidden")]
            assert y + rest == table[m, t]


@settings(max_examples=20, deadline=None)
@given(sizes, st.integers(1, 60), st.integers(0, 200))
def test_forwards_are_optimal_for_any_sizes(sizes: tuple[int, int], steps: int, more: int) -> None:
    units = sizes[0] + more
    assert MixedCosts(*sizes).forwards(steps, units) == mixed_table(steps, units, *sizes)[units, steps]


@given(sizes, st.integers(1, 10**5), st.integers(0, 300))
def test_a_move_keeps_the_forwards_for_many_steps(sizes: tuple[int, int], steps: int, more: int) -> None:
    units = sizes[0] + more
    plan = Plan(steps, units, *sizes)
    action, y = plan.move(steps, units)
    left = {"workspace": 0, "hidden": sizes[0], "internal": sizes[1]}[action]
    behind = Plan(steps - y, units - left, *sizes).forwards if y < steps else 0
    before = y - (action != "hidden")
    assert y + behind + (Plan(before, units, *sizes).forwards if before else 0) == plan.forwards


@given(st.integers(1, 10**5), st.integers(1, 100))
def test_internal_states_too_large_to_store_leave_hidden_ones(steps: int, slots: int) -> None:
    assert make_plan(steps, slots, 1, slots + 1).forwards == hidden_forwards(steps, slots)


@given(st.integers(1, 10**5), st.integers(1, 100))
def test_internal_states_as_small_as_hidden_ones_take_their_place(steps: int, slots: int) -> None:
    assert make_plan(steps, slots, 1, 1).forwards == internal_forwards(steps, slots)


@given(st.integers(1, 10**5), st.integers(1, 300), st.integers(1, 12))
def test_mixed_plans_take_no_more_forwards_than_plans_of_one_kind(steps: int, more: int, size: int) -> None:
    units = 1 + more
    ours = make_plan(steps, units, 1, size).forwards
    assert ours <= hidden_forwards(steps, units)
    assert ours <= internal_forwards(steps, 1 + more // size)


@given(sizes, st.integers(1, 10**4), st.integers(0, 200))
def test_more_memory_never_takes_more_forwards(sizes: tuple[int, int], steps: int, more: int) -> None:
    costs = MixedCosts(*sizes)
    fewer = [costs.forwards(steps, sizes[0] + units) for units in (more, more + 1, more + sizes[1])]
    assert fewer == sorted(fewer, reverse=True)


@given(sizes, st.integers(1, 500), st.integers(0, 200), st.integers(1, 9))
def test_a_common_factor_of_the_sizes_changes_nothing(
    sizes: tuple[int, int], steps: int, more: int, factor: int
) -> None:
    units = sizes[0] + more
    scaled = Plan(steps, factor * units + factor - 1, *(factor * size for size in sizes))
    assert scaled.forwards == Plan(steps, units, *sizes).forwards


@given(st.lists(st.integers(1, 50), max_size=12), st.lists(st.integers(1, 50), max_size=12))
def test_shared_falls_are_the_best_of_all_shares(first: list[int], second: list[int]) -> None:
    a, b = np.cumsum([3, *first]), np.cumsum([5, *second])
    best = [
        max(a[i] + b[less - i] for i in range(len(a)) if 0 <= less - i < len(b))
        for less in range(len(a) + len(b) - 1)
    ]
    assert shared_falls(a, b).tolist() == best
