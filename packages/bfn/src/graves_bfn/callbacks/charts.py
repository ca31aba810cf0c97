"""What the callbacks that draw charts have in common."""

from collections.abc import Iterable

RANGE = 20
"""Values that differ by a larger factor are drawn on a logarithmic axis."""


def is_wide(values: Iterable[float]) -> bool:
    """Whether positive values differ so much that only a logarithmic axis shows them all."""
    values = list(values)
    return min(values) > 0 and max(values) > RANGE * min(values)
