"""Which steps of a batch belong to one update of the weights."""

from collections.abc import Iterator, Sequence
from typing import NamedTuple


class Window(NamedTuple):
    """Consecutive time steps that end with one update of the weights.

    Attributes:
        steps: the steps.
        targets: how many targets they have; without any there is no update.
        last: the last step that has a target, the one whose backward pass completes the gradient.
    """

    steps: range
    targets: int
    last: int


def windows(counts: Sequence[int], length: int) -> Iterator[Window]:
    """Cuts the steps of a batch into windows; the last one may be shorter.

    Args:
        counts: how many targets each step has.
        length: steps per window.

    Example:
        >>> [(list(window.steps), window.targets) for window in windows([0, 0, 2, 2, 1], 2)]
        [([0, 1], 0), ([2, 3], 4), ([4], 1)]
    """
    for start in range(0, len(counts), length):
        steps = range(start, min(start + length, len(counts)))
        with_targets = [step for step in steps if counts[step]]
        targets = sum(counts[step] for step in with_targets)
        yield Window(steps, targets, with_targets[-1] if with_targets else start)
