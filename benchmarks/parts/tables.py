"""Markdown tables, as every benchmark prints them."""

from collections.abc import Sequence


def print_table(head: Sequence[str], rows: Sequence[Sequence[str]]) -> None:
    """Prints a title row and the rows below it; the first column is text, the others numbers."""
    lines = [head, ["---", *["---:"] * (len(head) - 1)], *rows]
    for line in lines:
        print("| " + " | ".join(line) + " |")
    print(flush=True)


def significant(value: float) -> str:
    """Three significant digits, without an exponent from 0.001 to 999."""
    return f"{value:.0f}" if abs(value) >= 100 else f"{value:.3g}"
