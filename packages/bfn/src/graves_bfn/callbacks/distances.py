"""How differently two columns of values are distributed, and how differently by chance alone."""

import math

import torch
from jaxtyping import Float, Shaped
from torch import Tensor

DISTINCT = 20
"""Whole numbers are counted one by one if there are at most so many of them."""

Column = Shaped[Tensor, " count"]
Other = Shaped[Tensor, " others"]


def is_counted(*columns: Tensor) -> bool:
    """Whether values are counted one by one, as classes are: whole numbers of which there are few."""
    whole = not any(values.is_floating_point() for values in columns)
    return whole and len(torch.unique(torch.cat(columns))) <= DISTINCT


def marginal_distance(samples: Column, real: Other) -> Float[Tensor, ""]:
    """How differently two columns are distributed: 0 for alike, near 1 for very differently.

    The total variation distance where there are few whole numbers, else the Wasserstein distance in standard
    deviations of the real column.

    Args:
        samples: at least one value.
        real: at least one value.
    """
    if is_counted(samples, real):
        return variation_distance(samples, real)
    return wasserstein_distance(samples, real) / _spread(real)


def chance_distance(samples: Column, real: Other) -> Float[Tensor, ""]:
    """The `marginal_distance` to expect of columns of these lengths if both had the distribution of all.

    Where p is the share of one value, or of values up to some place, the difference of two shares has about
    the variance p (1 - p) (1/n + 1/m), and sqrt(2/pi) of its root is to be expected as absolute value.

    Args:
        samples: at least one value.
        real: at least one value.
    """
    both = torch.cat([samples, real]).double()
    error = math.sqrt(2 / math.pi * (1 / len(samples) + 1 / len(real)))
    if is_counted(samples, real):
        p = torch.unique(both, return_counts=True)[1].double() / len(both)
        distance: Tensor = error * (p * (1 - p)).sqrt().sum() / 2
        return distance
    places = both.sort().values
    p = torch.arange(1, len(both), dtype=both.dtype) / len(both)
    return error * ((p * (1 - p)).sqrt() * places.diff()).sum() / _spread(real)


def wasserstein_distance(samples: Column, real: Other) -> Float[Tensor, ""]:
    """The area between two empirical distribution functions: how far values must be moved on average.

    Args:
        samples: at least one value.
        real: at least one value; the order of the two sets does not matter.
    """
    samples, real = samples.double().sort().values, real.double().sort().values
    places = torch.cat([samples, real]).sort().values
    p, q = (torch.searchsorted(x, places[:-1], right=True).double() / len(x) for x in (samples, real))
    return ((p - q).abs() * places.diff()).sum()


def variation_distance(samples: Column, real: Other) -> Float[Tensor, ""]:
    """The total variation distance between the frequencies of values, in [0, 1].

    Args:
        samples: at least one value.
        real: at least one value; the order of the two sets does not matter.
    """
    values, index = torch.unique(torch.cat([samples, real]), return_inverse=True)
    parts: list[Tensor] = index.split([len(samples), len(real)])
    p, q = (part.bincount(minlength=len(values)).double() / len(part) for part in parts)
    distance: Tensor = (p - q).abs().sum() / 2
    return distance


def _spread(real: Tensor) -> Tensor:
    """The standard deviation, or 1 of values that are all the same."""
    spread = real.double().std(correction=0)
    return torch.where(spread > 0, spread, 1)
