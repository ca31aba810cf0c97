"""Texts in rows and columns with names."""

from collections.abc import Sequence


def labelled_lines(
    cells: Sequence[Sequence[Sequence[str]]], rows: Sequence[str], columns: Sequence[str]
) -> list[str]:
    """Lays texts out below one another, column by column and there row by row, with names.

    Args:
        cells: the texts of each row and column.
        rows: names of the rows.
        columns: names of the columns.
    """
    width = max(map(len, rows))
    lines: list[str] = []
    for j, column in enumerate(columns):
        lines += ["", column] if lines else [column]
        for name, row in zip(rows, cells, strict=True):
            lines += [f"  {name.ljust(width)}  {text}" for text in row[j]]
    return lines
