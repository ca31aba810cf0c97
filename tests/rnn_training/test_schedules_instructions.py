"""Instructions of plans, run by a machine that only follows them."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from schedule_reference import executed, in_use

from graves_rnn_training.schedules.plan import Plan, make_plan
from graves_rnn_training.schedules.strategies import Strategy
from graves_rnn_training.schedules.trace import traced, units_in_use

strategies = st.sampled_from(["hidden", "internal", "mixed"])


@st.composite
def plans(draw: st.DrawFn) -> Plan:
    """Plans of all strategies, with little memory or much."""
    steps, hidden, internal = (draw(st.integers(1, most)) for most in (300, 9, 40))
    units = max(hidden, internal) + draw(st.integers(0, 300))
    return Plan(steps, units, hidden, internal, draw(strategies))


@given(plans())
def test_every_step_is_reversed_once_and_in_falling_order(plan: Plan) -> None:
    left = [machine.left for operation, machine in executed(plan) if operation[0] in ("workspace", "reverse")]
    assert left == list(range(plan.steps - 1, -1, -1))


@given(plans())
def test_forwards_of_the_instructions_are_those_of_the_plan(plan: Plan) -> None:
    assert sum(advance for _, advance in plan.instructions()) == plan.forwards


@given(plans())
def test_memory_never_exceeds_the_units(plan: Plan) -> None:
    assert max(in_use(plan, machine, operation) for (operation, _), machine in executed(plan)) <= plan.units


@given(plans())
def test_only_the_initial_state_is_left_at_the_end(plan: Plan) -> None:
    *_, (_, machine) = executed(plan)
    assert machine.stack == (("hidden", 0),)


@given(plans())
def test_all_before_the_first_reversal_is_one_sweep_over_all_steps(plan: Plan) -> None:
    reached = 0
    for operation, advance in plan.instructions():
        assert operation != "drop"
        reached += advance
        if operation in ("workspace", "reverse"):
            break
    assert reached == plan.steps


@given(plans())
def test_a_strategy_stores_no_other_kind(plan: Plan) -> None:
    stored = {operation for operation, _ in plan.instructions()} & {"hidden", "internal"}
    assert plan.strategy == "mixed" or stored <= {plan.strategy}


@pytest.mark.parametrize(("strategy", "units"), [("hidden", 100), ("internal", 400), ("mixed", 400)])
def test_a_hundred_thousand_steps_can_be_unrolled(strategy: Strategy, units: int) -> None:
    plan = make_plan(100_000, units, strategy=strategy)
    forwards = reversals = 0
    for operation, advance in plan.instructions():
        forwards += advance
        reversals += operation in ("workspace", "reverse")
    assert (forwards, reversals) == (plan.forwards, plan.steps)


def test_instructions_can_be_taken_again() -> None:
    plan = make_plan(30, 5)
    assert list(plan.instructions()) == list(plan.instructions())


@given(plans())
def test_a_trace_has_the_forwards_of_the_plan(plan: Plan) -> None:
    trace = traced(plan)
    assert trace.forwards == plan.forwards
    assert trace.reversals[-1][0] + 1 == plan.forwards + plan.steps


@given(plans())
def test_memory_in_use_by_the_trace_is_that_of_the_machine(plan: Plan) -> None:
    used = sum(units_in_use(plan, traced(plan)).values())
    assert max(used) == max(
        in_use(plan, machine, operation)
        for (operation, _), machine in executed(plan)
        if operation not in ("drop", "reverse")
    )
