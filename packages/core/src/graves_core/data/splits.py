"""Deterministic splits: the same on every rank, on every machine, whatever the batch size."""

import torch
from jaxtyping import Int64
from torch import Tensor


def holdout_size(count: int, fraction: float) -> int:
    """How many of `count` examples a `fraction` holds back: rounded, but at least one unless it is 0.

    Raises:
        ValueError: when nothing would be left to train on.
    """
    held = _share(count, fraction)
    if held >= count:
        raise ValueError(f"val_fraction={fraction} of {count} examples leaves none to train on")
    return held


def _share(count: int, fraction: float) -> int:
    return max(1, round(count * fraction)) if fraction > 0 else 0


def holdout(count: int, fraction: float, seed: int) -> tuple[Int64[Tensor, "train"], Int64[Tensor, "val"]]:
    """Splits `range(count)` at random into training and validation indices, each ascending.

    The permutation depends on `seed` and `count` alone, so a larger fraction holds back what a smaller one
    did, and more.

    Args:
        count: number of examples.
        fraction: share of validation examples, in [0, 1).
        seed: of the permutation.

    Returns:
        Indices for training and for validation: disjoint, together all of them.

    Raises:
        ValueError: when nothing would be left to train on.

    Example:
        >>> holdout(5, 0.2, seed=0)
        (tensor([0, 1, 2, 3]), tensor([4]))
    """
    held = holdout_size(count, fraction)
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[held:].sort().values, order[:held].sort().values


def text_bounds(count: int, val_fraction: float, test_fraction: float) -> tuple[int, int]:
    """Where the validation and the test part of a text begin; the parts stand in this order in the text.

    Args:
        count: number of characters.
        val_fraction: share of the validation part.
        test_fraction: share of the test part, the last characters.

    Returns:
        Start of the validation part and start of the test part.

    Raises:
        ValueError: when the two shares leave nothing to train on.

    Example:
        >>> text_bounds(100_000_000, 0.05, 0.05)
        (90000000, 95000000)
    """
    test = count - round(count * test_fraction)
    val = test - round(count * val_fraction)
    if val < 1:
        raise ValueError(
            f"val_fraction={val_fraction} and test_fraction={test_fraction} of {count} characters leave none "
            "to train on"
        )
    return val, test


def check_test_fraction(test_fraction: float, val_fraction: float) -> float:
    """Returns the share of the test part as it is.

    Raises:
        ValueError: when it is not positive, or leaves nothing to train on beside the validation part.

    Example:
        >>> check_test_fraction(0.2, val_fraction=0.1)
        0.2
    """
    if not 0 < test_fraction < 1 - val_fraction:
        raise ValueError(
            f"test_fraction must lie between 0 and {1 - val_fraction} (val_fraction is {val_fraction}), "
            f"got {test_fraction}"
        )
    return test_fraction


def random_parts(
    count: int, val_fraction: float, test_fraction: float, seed: int
) -> tuple[Int64[Tensor, "train"], Int64[Tensor, "val"], Int64[Tensor, "test"]]:
    """Splits `range(count)` at random into training, validation and test indices, each ascending.

    Sizes are rounded, but at least one unless the share is 0. The test part is the same whatever the share
    of the validation part, and a larger validation part contains a smaller one.

    Args:
        count: number of examples.
        val_fraction: share of the validation part.
        test_fraction: share of the test part.
        seed: of the permutation.

    Returns:
        Indices for training, validation and test: disjoint, together all of them.

    Raises:
        ValueError: when nothing would be left to train on.

    Example:
        >>> random_parts(5, 0.2, 0.4, seed=0)
        (tensor([2, 3]), tensor([1]), tensor([0, 4]))
    """
    test = _share(count, test_fraction)
    val = test + _share(count, val_fraction)
    if val >= count:
        raise ValueError(
            f"val_fraction={val_fraction} and test_fraction={test_fraction} of {count} examples leave none "
            "to train on"
        )
    order = torch.randperm(count, generator=torch.Generator().manual_seed(seed))
    return order[val:].sort().values, order[test:val].sort().values, order[:test].sort().values
