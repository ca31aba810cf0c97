"""Schedules as a flat list of instructions for a machine with one stack."""

from collections.abc import Callable, Iterator
from typing import Literal, NamedTuple

from graves_rnn_training.schedules.strategies import Move

Operation = Literal["hidden", "internal", "workspace", "reverse", "drop"]
"""What an `Instruction` does."""


class Instruction(NamedTuple):
    """One thing to do. The machine has a stack of states, at the bottom of which the initial state lies.

    A run always starts from the hidden state on top of the stack (of an internal state: the one that its step
    ends with); that entry stays where it is.

    Attributes:
        operation: "hidden": run `advance` steps without graph and push the hidden state after them.
            "internal": run them, the last with a graph, and push that graph.
            "workspace": run them, the last with a graph, and go backward through that one at once.
            "reverse": go backward through the graph on top of the stack, and remove it.
            "drop": remove the hidden state on top of the stack.
        advance: how many steps to run; 0 for "reverse" and "drop".

    Example:
        >>> Instruction("reverse", 0).operation
        'reverse'
    """

    operation: Operation
    advance: int


def unrolled(
    steps: int, units: int, costs: dict[str, int], move: Callable[[int, int], Move]
) -> Iterator[Instruction]:
    """The instructions that a policy amounts to.

    Every step is reversed once, by "workspace" or "reverse", in falling order. All up to the first of these
    is one sweep over all steps. "advance" adds up to the number of forward operations.

    Args:
        steps: how many steps are to be reversed.
        units: the memory at the start.
        costs: what storing a "hidden" and an "internal" state takes of it.
        move: the policy.
    """
    known: dict[tuple[int, int], Instruction] = {}
    drop, reverse = Instruction("drop", 0), Instruction("reverse", 0)
    waiting: list[tuple[int, int, Instruction]] = []
    while True:
        while steps:
            instruction = known.get((steps, units))
            if instruction is None:
                instruction = known[steps, units] = Instruction(*move(steps, units))
            yield instruction
            operation, advance = instruction
            if operation == "workspace":
                steps -= 1
            else:
                internal = operation == "internal"
                waiting.append((advance - internal, units, reverse if internal else drop))
                steps, units = steps - advance, units - costs[operation]
        if not waiting:
            return
        steps, units, instruction = waiting.pop()
        yield instruction
