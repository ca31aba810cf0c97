"""Planning what to store for backpropagation through time: seconds for optimal plans, against plain tables.

The other side is dynamic programming over all numbers of steps and amounts of memory, vectorised with numpy.
It is run where it takes seconds; there, both must find the same number of forward operations. Everywhere, the
list of instructions must add up to it.
"""

import argparse
import os
import sys
import time
from collections.abc import Callable
from typing import Any, NamedTuple

os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
from parts.tables import print_table, significant

from graves_rnn_training.schedules.mixed import mixed_costs
from graves_rnn_training.schedules.plan import Plan
from graves_rnn_training.schedules.strategies import Strategy

HIDDEN, INTERNAL = 2, 7
"""Sizes of a hidden and of an internal state of an LSTM: 1 to 3.5."""

SHARES = (0.01, 0.05)
"""Memory, as a share of what storing everything takes."""

PLAIN = 2 * 10**5
"""The largest table, in entries, that is worked out plainly."""


class Setting(NamedTuple):
    """One row: a number of steps, the memory, and what may be stored."""

    steps: int
    units: int
    strategy: Strategy

    def plan(self) -> Plan:
        return Plan(self.steps, self.units, HIDDEN, INTERNAL, self.strategy)

    def entries(self) -> int:
        """The size of the plain table."""
        return self.steps * (
            self.units // {"hidden": HIDDEN, "internal": INTERNAL, "mixed": 1}[self.strategy]
        )


def plain(setting: Setting) -> int:
    """The fewest forward operations, by filling a table row by row."""
    steps, units, strategy = setting
    if strategy == "mixed":
        return filled(steps, units, HIDDEN, [(HIDDEN, 0), (INTERNAL, 1)])
    return filled(steps, setting.entries() // steps, 1, [(1, int(strategy == "internal"))])


def filled(steps: int, units: int, least: int, kinds: list[tuple[int, int]]) -> int:
    """The last entry of a table.

    Args:
        steps: how many entries a row has.
        units: how many rows there are.
        least: the memory that any steps need.
        kinds: of each kind of state, what it takes, and how many steps it reverses itself.
    """
    rows = np.zeros((units + 1, steps + 1), np.int64)
    y = np.arange(steps + 1)
    for m in range(least, units + 1):
        behind = [(rows[m - size], own) for size, own in kinds if m - size >= least]
        for t in range(1, steps + 1):
            best = t + rows[m, t - 1]
            for row, own in behind if t > 1 else ():
                best = min(best, (y[1:t] + row[t - 1 : 0 : -1] + rows[m, 1 - own : t - own]).min())
            rows[m, t] = best
    return int(rows[units, steps])


def seconds(call: Callable[[], Any]) -> tuple[Any, float]:
    """What a call gives and takes, in processor time."""
    start = time.process_time()
    result = call()
    return result, time.process_time() - start


def first_plan(setting: Setting) -> Plan:
    """A plan with nothing known from before."""
    mixed_costs.cache_clear()
    plan = setting.plan()
    assert plan.forwards >= setting.steps
    return plan


def row(setting: Setting) -> list[str]:
    plan, planning = seconds(lambda: first_plan(setting))
    instructions, listing = seconds(lambda: list(plan.instructions()))
    listed = sum(advance for _, advance in instructions)
    other, plainly = seconds(lambda: plain(setting)) if setting.entries() <= PLAIN else (None, 0.0)
    agree = listed == plan.forwards and other in (None, plan.forwards)
    print(f"{setting}: forwards {'agree' if agree else 'DIFFER'}", file=sys.stderr)
    return [
        f"{setting.strategy}, {setting.steps} steps, {setting.units} units",
        f"{plan.forwards / setting.steps:.3f}",
        significant(1e3 * planning),
        "" if other is None else significant(1e3 * plainly),
        "" if other is None else f"{plainly / max(planning, 1e-6):.0f}x",
        str(len(instructions)),
        significant(1e3 * listing),
    ]


def settings(quick: bool) -> list[Setting]:
    """Little memory, with which plain tables are possible, and the usual shares of what storing all takes."""
    found = []
    strategies: tuple[Strategy, ...] = ("hidden", "internal", "mixed")
    for steps in (300,) if quick else (1000, 10_000, 100_000):
        sizes = [20, *(int(share * steps * INTERNAL) for share in SHARES)]
        found += [Setting(steps, units, strategy) for strategy in strategies for units in sizes]
    return found


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--quick", action="store_true", help="short sequences: seconds")
    options = parser.parse_args()
    head = [
        "plan",
        "forwards / step",
        "planning, ms",
        "plain table, ms",
        "plain / ours",
        "instructions",
        "list, ms",
    ]
    print_table(head, [row(setting) for setting in settings(options.quick)])


if __name__ == "__main__":
    main()
