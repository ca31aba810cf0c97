"""What happens when in a schedule: a dry run of its instructions."""

from typing import Literal, NamedTuple

import numpy as np

from graves_rnn_training.schedules.curves import Integers
from graves_rnn_training.schedules.plan import Plan

Kind = Literal["hidden", "internal"]


class Run(NamedTuple):
    """Steps that are run forward without a break.

    Attributes:
        time: the operations before it.
        first: the step before which it starts, from 0.
        steps: how many steps it has.

    Example:
        >>> Run(time=40, first=10, steps=3).steps
        3
    """

    time: int
    first: int
    steps: int


class Storage(NamedTuple):
    """A state that is kept for a while.

    Attributes:
        kind: what it is.
        step: the step after which the network is in this state, from 1; 0 for the initial state.
        stored: the operations before it is stored.
        removed: the operations before it is removed.

    Example:
        >>> Storage("hidden", step=10, stored=10, removed=52).removed
        52
    """

    kind: Kind
    step: int
    stored: int
    removed: int


class Trace(NamedTuple):
    """The course of a schedule. Time is counted in operations: steps forward and steps backward alike.

    Attributes:
        runs: what is run forward.
        reversals: the time before each step is run backward, and which step it is, from 1.
        states: all that is stored, the initial state included.
        workspaces: the graphs of the steps that are reversed at once.

    Example:
        >>> from graves_rnn_training.schedules.plan import make_plan
        >>> trace = traced(make_plan(4, 2, strategy="hidden"))
        >>> trace.reversals
        [(4, 4), (6, 3), (9, 2), (11, 1)]
        >>> trace.states[0]
        Storage(kind='hidden', step=2, stored=2, removed=7)
    """

    runs: list[Run]
    reversals: list[tuple[int, int]]
    states: list[Storage]
    workspaces: list[Storage]

    @property
    def forwards(self) -> int:
        """How many steps are run forward."""
        return sum(run.steps for run in self.runs)


def traced(plan: Plan) -> Trace:
    """Follows the instructions of a plan without running anything."""
    trace, time = Trace([], [], [], []), 0
    stack: list[tuple[Kind, int, int]] = [("hidden", 0, 0)]
    for operation, advance in plan.instructions():
        first = stack[-1][1]
        if advance:
            trace.runs.append(Run(time, first, advance))
            time += advance
        if operation == "hidden" or operation == "internal":
            stack.append((operation, first + advance, time - (operation == "internal")))
            continue
        reverses = operation != "drop"
        if operation == "workspace":
            trace.workspaces.append(Storage("internal", first + advance, time - 1, time + 1))
        else:
            trace.states.append(Storage(*stack.pop(), time + reverses))
        if reverses:
            trace.reversals.append((time, plan.steps - len(trace.reversals)))
            time += 1
    trace.states.append(Storage(*stack.pop(), time))
    return trace


def units_in_use(plan: Plan, trace: Trace) -> dict[Kind, Integers]:
    """The memory that either kind of state takes during each operation, counted as the plan does."""
    inner = plan.strategy == "internal"
    counted = [*trace.states[:-1], *trace.workspaces] if inner else trace.states
    sizes: dict[Kind, int] = {"hidden": plan.hidden_units, "internal": plan.internal_units}
    changes = {kind: np.zeros(trace.reversals[-1][0] + 2, np.int64) for kind in sizes}
    for kind, _, stored, removed in counted:
        changes[kind][stored] += sizes[kind]
        changes[kind][removed] -= sizes[kind]
    return {kind: own.cumsum()[:-1] for kind, own in changes.items()}
