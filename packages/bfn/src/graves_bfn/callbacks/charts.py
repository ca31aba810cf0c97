"""What the callbacks that draw charts have in common."""

from collections.abc import Iterable

RANGE = 20
"""Values that differ by a larger factor are drawn on a logarithmic axis."""


def check_plots(user: str) -> None:
    """Refuses to go on where no chart can be drawn.

    Args:
        user: who wants to draw.

    Raises:
        ImportError: naming the extra that is missing.
    """
    from importlib.util import find_spec

    if find_spec("matplotlib") is None:
        raise ImportError(f'{user} needs: pip install "graves-bfn[plots]"')


def is_wide(values: Iterable[float]) -> bool:
    """Whether positive values differ so much that only a logarithmic axis shows them all."""
    values = list(values)
    return min(values) > 0 and max(values) > RANGE * min(values)
