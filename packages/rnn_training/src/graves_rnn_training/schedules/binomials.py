"""Storing states of one kind: the optimum and its splits in closed form, for any number of steps.

All functions take a number of steps and of slots and say nothing about what is impossible: `Plan` checks.
A repetition is how often the forward operation of the worst step runs; with it, binomials bound the steps.
"""

from bisect import bisect_left
from math import comb

from graves_rnn_training.schedules.strategies import Move


def hidden_forwards(steps: int, slots: int) -> int:
    """The fewest forward operations that reverse `steps` steps with `slots` hidden states.

    One slot holds the state before the first step. With r the smallest number for which
    binom(slots + r, r) >= steps, they are (r + 1) steps - binom(slots + r, r - 1). This is the optimum
    C(t, m) = min over 0 < y < t of y + C(t - y, m - 1) + C(y, m).

    Source: Gruslys et al. 2016, section 3.1; the closed form is that of Griewank and Walther 2000.
    """
    r = _repetition(slots, steps)
    return (r + 1) * steps - _binomial(slots + r, r - 1)


def internal_forwards(steps: int, slots: int) -> int:
    """The fewest forward operations that reverse `steps` steps with `slots` internal states.

    The state before the first step is not counted; the graph of the step that is being reversed is. With r
    the smallest number for which binom(slots + r, r) > steps, they are
    r (steps + 1) - binom(slots + r, r - 1). This is the optimum
    C(t, m) = min over 0 < y <= t of y + C(t - y, m - 1) + C(y - 1, m).

    Source: Gruslys et al. 2016, section 3.2.
    """
    r = _repetition(slots, steps + 1)
    return r * (steps + 1) - _binomial(slots + r, r - 1)


def hidden_move(steps: int, slots: int) -> Move:
    """A first move that reaches `hidden_forwards`."""
    if steps == 1 or slots == 1:
        return Move("workspace", steps)
    r = _repetition(slots, steps)
    most, right = _binomial(slots + r - 1, r - 1), _binomial(slots + r - 2, r - 1)
    return Move("hidden", max(1, min(most, steps - right)))


def internal_move(steps: int, slots: int) -> Move:
    """A first move that reaches `internal_forwards`."""
    if slots == 1:
        return Move("workspace", steps)
    r = _repetition(slots, steps + 1)
    most, right = _binomial(slots + r - 1, r - 1), _binomial(slots + r - 2, r - 1)
    advance = min(most, steps + 1 - right)
    return Move("workspace" if advance == steps else "internal", advance)


def hidden_bound(steps: int, slots: int) -> float:
    """The simple bound m t^(1 + 1/m) of `hidden_forwards`; it is loose.

    Source: Gruslys et al. 2016, section 3.1.
    """
    return float(slots * steps ** (1 + 1 / slots))


def _repetition(slots: int, steps: int) -> int:
    """The smallest r for which binom(slots + r, r) >= steps, between powers of two at first."""
    high = 1
    while comb(slots + high, high) < steps:
        high *= 2
    return bisect_left(range(high), steps, lo=high // 2, key=lambda r: comb(slots + r, r))


def _binomial(n: int, k: int) -> int:
    return comb(n, k) if k >= 0 else 0
