"""The fewest forward operations as functions of the number of steps, held where their slopes change.

For each whole number, called a level, optimal costs C(t) less `level * t` first fall and then rise (or stay).
So they are known from where they are lowest and from how fast they rise behind that: a handful of numbers, of
which there are hardly more for many steps than for few. What dynamic programming does with costs, which is to
take the lowest of several and to share steps between two, are operations on these numbers.

Sharing steps keeps that property. That the lowest of the costs of storing a hidden and an internal state has
it too is not proved: it holds for every pair of sizes tried, where plain dynamic programming gives the same.
"""

from bisect import bisect_left
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import numpy.typing as npt

Integers = npt.NDArray[np.int64]


class Level(NamedTuple):
    """Where `gain(t) = level * t - C(t)` is largest.

    Attributes:
        gain: the largest gain.
        first: the fewest steps that have it.
        last: the most steps that have it.

    Example:
        >>> Level(gain=3, first=2, last=4).last
        4
    """

    gain: int
    first: int
    last: int

    def delayed(self, number: int) -> "Level":
        """That of 1 + C(t - 1): one more step, which is run once. `number` says which level it is."""
        return Level(self.gain + number - 1, self.first + 1, self.last + 1)


class CostCurve:
    """Optimal costs, level by level.

    Args:
        levels: those at the levels 0, 1, ...
        falls: for each level but the highest, the most steps with a gain that is 0, 1, ... less than the
            largest, up to the first steps of the next level.

    Example:
        >>> curve = CostCurve([Level(0, 0, 0), Level(0, 0, 2)], [np.array([0])])
        >>> curve.forwards(2)
        2
    """

    def __init__(self, levels: list[Level], falls: list[Integers]) -> None:
        self.levels = levels
        self.falls = falls
        self.lasts = [level.last for level in levels]

    def add(self, level: Level, falls: Integers) -> None:
        """Adds a level, and what lies in front of it."""
        self.levels.append(level)
        self.lasts.append(level.last)
        self.falls.append(falls)

    def place(self, steps: int) -> tuple[int, int]:
        """A level at which so many steps lie, and how much their gain is below the largest."""
        number = bisect_left(self.lasts, steps)
        if self.levels[number].first <= steps:
            return number, 0
        return number - 1, int(np.searchsorted(self.falls[number - 1], steps))

    def forwards(self, steps: int) -> int:
        """The costs of at most `lasts[-1]` steps."""
        number, less = self.place(steps)
        return number * steps - self.levels[number].gain + less


def lowest(options: Sequence[Level]) -> Level:
    """The level of the lowest of several costs, from theirs."""
    gain = max(option.gain for option in options)
    best = [option for option in options if option.gain == gain]
    return Level(gain, min(option.first for option in best), max(option.last for option in best))


def lowest_falls(falls: Sequence[Integers], levels: Sequence[Level], above: Sequence[Level]) -> Integers:
    """The falls of the lowest of several costs.

    Args:
        falls: those of each.
        levels: each at that level.
        above: each at the level above.
    """
    here, there = lowest(levels), lowest(above)
    count = there.first + here.gain - there.gain + 1
    if count == 1:
        return np.array([here.last])
    options = zip(falls, levels, above, strict=True)
    extended = [_extended(own, next_.last, here.gain - at.gain, count) for own, at, next_ in options]
    most: Integers = np.maximum.reduce(extended)
    return most


def shared(first: Level, second: Level) -> Level:
    """The level of min over a + b = t of A(a) + B(b)."""
    return Level(first.gain + second.gain, first.first + second.first, first.last + second.last)


def shared_falls(first: Integers, second: Integers) -> Integers:
    """The falls of min over a + b = t of A(a) + B(b)."""
    short, long = sorted((first, second), key=len)
    if len(short) == 1:
        return long + short
    steps = np.diff(short), np.diff(long)
    if all((step[1:] <= step[:-1]).all() for step in steps):
        rest = short[0] + long[0] + np.cumsum(np.sort(np.concatenate(steps))[::-1])
        return np.concatenate([short[:1] + long[:1], rest])
    falls = np.zeros(len(short) + len(long) - 1, np.int64)
    for less, most in enumerate(short):
        part = falls[less : less + len(long)]
        np.maximum(part, long + most, out=part)
    return falls


def share(first: Integers, second: Integers, less: int) -> tuple[int, int]:
    """The pair whose sum is entry number `less` of the shared falls, as numbers in the two."""
    low, high = max(0, less - len(second) + 1), min(less, len(first) - 1)
    sums = first[low : high + 1] + second[less - high : less - low + 1][::-1]
    best = low + int(sums.argmax())
    return best, less - best


def _extended(falls: Integers, last: int, missing: int, count: int) -> Integers:
    """The first entries of falls, counted from a gain that is larger by `missing`.

    Behind the falls there are steps of the level above, on which each step more is a gain less. What comes
    behind these is never needed.
    """
    rest = np.minimum(falls[-1] + np.arange(1, count + 1), last)
    return np.concatenate([np.full(min(missing, count), -1), falls, rest])[:count]
