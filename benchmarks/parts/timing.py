"""How long things take on a machine that does other things as well."""

import math
import time
from collections.abc import Callable, Mapping

TURN = 0.1
"""Seconds that a side is timed for in its turn, if that is more than one call."""


def alternate(sides: Mapping[str, Callable[[], object]], rounds: int) -> dict[str, list[float]]:
    """Seconds for one call of each side, one number for each round in which they take turns.

    Two calls that are not timed come first in each turn, because the others' large tensors leave caches and
    the allocator in a state that would be charged to who comes next.
    """
    taken: dict[str, list[float]] = {name: [] for name in sides}
    for _ in range(rounds):
        for name, side in sides.items():
            side()
            calls = math.ceil(TURN / seconds(side, 1))
            taken[name].append(seconds(side, calls) / calls)
    return taken


def seconds(side: Callable[[], object], calls: int) -> float:
    """Of the processor, so that what else runs on the machine does not count."""
    start = time.process_time()
    for _ in range(calls):
        side()
    return time.process_time() - start
