"""Independent statements about schedules: plain recurrences, a search over all programs, a machine."""

import heapq
from collections.abc import Iterator
from functools import cache
from typing import NamedTuple

import numpy as np

from graves_rnn_training.schedules.instructions import Instruction
from graves_rnn_training.schedules.plan import Plan


@cache
def hidden_recurrence(t: int, m: int) -> int:
    """The fewest forward operations with m hidden states, the initial one counted."""
    if t <= 1 or m == 1:
        return t * (t + 1) // 2
    return min(y + hidden_recurrence(t - y, m - 1) + hidden_recurrence(y, m) for y in range(1, t))


@cache
def internal_recurrence(t: int, m: int) -> float:
    """The fewest forward operations with m internal states, that of the step being reversed counted."""
    if t == 0 or m == 0:
        return 0 if t == 0 else float("inf")
    return min(y + internal_recurrence(t - y, m - 1) + internal_recurrence(y - 1, m) for y in range(1, t + 1))


def mixed_table(steps: int, units: int, hidden: int, internal: int) -> np.ndarray:
    """The fewest forward operations, entry [m, t], by the recurrence with both kinds of states."""
    table = np.zeros((units + 1, steps + 1), np.int64)
    for m in range(hidden, units + 1):
        for t in range(1, steps + 1):
            y = np.arange(1, t)
            options = [np.array([t + table[m, t - 1]])]
            if m - hidden >= hidden:
                options.append(y + table[m - hidden, t - y] + table[m, y])
            if m - internal >= hidden:
                options.append(y + table[m - internal, t - y] + table[m, y - 1])
            table[m, t] = np.concatenate(options).min()
    return table


class Machine(NamedTuple):
    """A machine in the middle of a program: its stack, from the bottom, and the steps not reversed yet."""

    stack: tuple[tuple[str, int], ...]
    left: int

    def after(self, operation: str, advance: int) -> "Machine | None":
        """The machine after an instruction; None when that is not possible."""
        kind, top = self.stack[-1]
        end = top + advance
        if operation == "drop":
            return Machine(self.stack[:-1], self.left) if kind == "hidden" and len(self.stack) > 1 else None
        if operation == "reverse":
            fits = kind == "internal" and top == self.left
            return Machine(self.stack[:-1], self.left - 1) if fits else None
        if advance < 1 or end > self.left:
            return None
        if operation == "workspace":
            return Machine(self.stack, self.left - 1) if end == self.left else None
        return Machine((*self.stack, (operation, end)), self.left)


def in_use(plan: Plan, machine: Machine, operation: str) -> int:
    """The memory in units while an instruction ends, counted as the plan does."""
    graphs = sum(kind == "internal" for kind, _ in machine.stack)
    if plan.strategy == "internal":
        return plan.internal_units * (graphs + (operation == "workspace"))
    return plan.hidden_units * (len(machine.stack) - graphs) + plan.internal_units * graphs


def executed(plan: Plan) -> Iterator[tuple[Instruction, Machine]]:
    """Runs a plan's instructions, each of which must be possible; gives the machine after each."""
    machine = Machine((("hidden", 0),), plan.steps)
    for instruction in plan.instructions():
        following = machine.after(*instruction)
        assert following is not None, f"{instruction} is impossible: {machine}"
        machine = following
        yield instruction, machine


def fewest_forwards(plan: Plan) -> int:
    """The fewest forward operations of all programs that keep to the memory: a shortest path."""
    kinds = {"hidden": ["hidden"], "internal": ["internal"], "mixed": ["hidden", "internal"]}[plan.strategy]
    start = Machine((("hidden", 0),), plan.steps)
    queue, seen = [(0, start)], set()
    while queue:
        forwards, machine = heapq.heappop(queue)
        if machine.left == 0:
            return forwards
        if machine in seen:
            continue
        seen.add(machine)
        choices = [("drop", 0), ("reverse", 0)]
        choices += [(kind, y) for kind in (*kinds, "workspace") for y in range(1, machine.left + 1)]
        for operation, advance in choices:
            following = machine.after(operation, advance)
            if following and in_use(plan, following, operation) <= plan.units:
                heapq.heappush(queue, (forwards + advance, following))
    raise AssertionError("no program reverses all steps")
