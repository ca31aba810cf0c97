"""Checks of constructor arguments that several networks share."""

from collections.abc import Sequence


def check_positive(name: str, value: int) -> None:
    """Refuses a count below one.

    Raises:
        ValueError: when `value` is below 1.
    """
    if value < 1:
        raise ValueError(f"{name} must be at least 1, got {value}")


def check_divides(name: str, divisor: int, target: str, value: int) -> None:
    """Refuses a `divisor` that does not divide `value` without remainder.

    Raises:
        ValueError: when it does not, or when `divisor` is below 1.
    """
    check_positive(name, divisor)
    if value % divisor:
        raise ValueError(f"{name} must divide {target} = {value}, got {divisor}")


def check_dropout(dropout: float) -> None:
    """Refuses a dropout probability outside [0, 1).

    Raises:
        ValueError: when it is outside.
    """
    if not 0.0 <= dropout < 1.0:
        raise ValueError(f"dropout must lie in [0, 1), got {dropout}")


def check_channels(channels: int, groups: int) -> None:
    """Refuses a number of features that time features (in pairs) or normalisation groups do not divide.

    Raises:
        ValueError: when `channels` is odd or below 1, or `groups` does not divide it.
    """
    check_positive("channels", channels)
    check_divides("groups", groups, "channels", channels)
    if channels % 2:
        raise ValueError(f"channels must be even, got {channels}")


def check_image_shape(shape: Sequence[int]) -> tuple[int, int, int]:
    """Reads `(height, width, channels)`.

    Raises:
        ValueError: when `shape` does not have exactly three numbers.
    """
    if len(shape) != 3:
        raise ValueError(f"shape must be (height, width, channels) of an image, got {tuple(shape)}")
    height, width, channels = shape
    return height, width, channels
