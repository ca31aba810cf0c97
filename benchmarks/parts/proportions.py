"""Shares of successes: an interval, and whether two shares differ."""

import math


def wilson_interval(successes: int, trials: int, z: float = 1.96) -> tuple[float, float]:
    """Wilson's interval of a share, at 95 % by default.

    Args:
        successes: how many.
        trials: of how many, at least 1.
        z: quantile of the normal distribution.
    """
    share, weight = successes / trials, z * z / trials
    centre = (share + weight / 2) / (1 + weight)
    half = z * math.sqrt(share * (1 - share) / trials + weight / (4 * trials)) / (1 + weight)
    return max(0.0, centre - half), min(1.0, centre + half)


def fisher_greater(first: tuple[int, int], second: tuple[int, int]) -> float:
    """One-sided p of Fisher's exact test: that the first share is so much greater by chance alone.

    Args:
        first: successes and trials.
        second: successes and trials.
    """
    (a, n), (b, m) = first, second
    total = a + b
    ways = sum(math.comb(n, k) * math.comb(m, total - k) for k in range(a, min(n, total) + 1))
    return ways / math.comb(n + m, total)
