"""Checks of arguments that several data sets share."""


def check_at_least(name: str, value: object, least: int = 1) -> int:
    """Returns an integer argument as it is.

    Args:
        name: of the argument.
        value: what was given.
        least: the least value that is allowed.

    Raises:
        TypeError: when the value is no integer.
        ValueError: when it is too small.

    Example:
        >>> check_at_least("level", 2)
        2
    """
    if not isinstance(value, int) or isinstance(value, bool):
        raise TypeError(f"{name} must be an integer, got {value!r}")
    if value < least:
        raise ValueError(f"{name} must be at least {least}, got {value}")
    return value


def check_seed(seed: object) -> int:
    """Returns a seed as it is.

    Raises:
        TypeError: when it is no integer.
        ValueError: when it is out of range.

    Example:
        >>> check_seed(0)
        0
    """
    checked = check_at_least("seed", seed, 0)
    if checked >= 2**32:
        raise ValueError(f"seed must lie in 0..2**32-1, got {seed}")
    return checked
