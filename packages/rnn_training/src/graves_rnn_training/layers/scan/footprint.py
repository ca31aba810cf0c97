"""The memory that a plan takes, by a dry run of what a sweep does."""

import functools

from graves_rnn_training.layers.scan.sizes import StepBytes
from graves_rnn_training.schedules.plan import Plan

MANY = 20_000
"""Steps from which on a dry run takes too long, and a bound must do."""


class _Stack:
    """What a sweep has stored, in bytes.

    Args:
        sizes: of the states.
    """

    def __init__(self, sizes: StepBytes) -> None:
        self.sizes = sizes
        self.held = sizes.hidden
        self.entries: list[tuple[int, int]] = [(sizes.hidden, 0)]

    def push_hidden(self) -> None:
        self.held += self.sizes.hidden
        self.entries.append((self.sizes.hidden, 0))

    def push_graph(self, advance: int) -> None:
        """A step joins the neighbour before it; alone, it comes with the state after it."""
        size, links = self.entries[-1]
        if advance == 1 and links:
            self.entries[-1] = size + self.sizes.internal, links + 1
            self.held += self.sizes.internal
            return
        size = self.sizes.stored - (self.sizes.hidden if advance == 1 else 0)
        self.entries.append((size, 1))
        self.held += size

    def pop(self) -> int:
        """Removes the top; returns how many steps were linked in it, 0 for a hidden state."""
        size, links = self.entries.pop()
        self.held -= size
        return links


def at_hand(sizes: StepBytes) -> int:
    """Bytes that a step needs besides what is stored: its graph, gradients on their way, states.

    What fused kernels use within is not seen when sizes are measured: a quarter for that. Nothing of compiled
    code is seen: then, as much as its graph holds.
    """
    working = sizes.working if sizes.steps == 1 else sizes.working * 5 // 4
    return (working if working >= sizes.internal else 2 * sizes.internal) + 3 * sizes.hidden


def least_bytes(sizes: StepBytes) -> int:
    """What one step and the state before it need."""
    return at_hand(sizes) + sizes.hidden


@functools.lru_cache(maxsize=1024)
def peak_bytes(plan: Plan, sizes: StepBytes) -> int:
    """The most that states need at once: exactly, but for very many steps, where it is an upper bound.

    Args:
        plan: what is stored when.
        sizes: bytes of the states.
    """
    return _bound(plan, sizes) if plan.steps > MANY else _dry_run(plan, sizes)


def _bound(plan: Plan, sizes: StepBytes) -> int:
    if plan.strategy == "internal":
        stored = (plan.units // plan.internal_units - 1) * sizes.stored
    else:
        kinds = [(sizes.hidden, plan.hidden_units), (sizes.stored, plan.internal_units)]
        stored = max(plan.units * size // units for size, units in kinds[: 1 + (plan.strategy == "mixed")])
    return stored + at_hand(sizes)


def _dry_run(plan: Plan, sizes: StepBytes) -> int:
    stack, peak = _Stack(sizes), 0
    alone = at_hand(sizes)
    linked = alone - sizes.internal
    passed = 0
    for operation, advance in plan.instructions():
        if operation == "reverse" and passed:
            passed -= 1
            continue
        if operation == "hidden":
            peak = max(peak, stack.held + alone)
            stack.push_hidden()
        elif operation == "internal":
            peak = max(peak, stack.held + alone)
            stack.push_graph(advance)
        elif operation == "workspace":
            peak = max(peak, stack.held + alone)
            passed = stack.pop() if advance == 1 and stack.entries[-1][1] else 0
        elif operation == "reverse":
            peak = max(peak, stack.held + linked)
            passed = stack.pop() - 1
        else:
            stack.pop()
    return peak
