"""Data in fields as columns with names."""

from collections.abc import Mapping

import torch
from jaxtyping import Bool, Shaped
from lightning.pytorch import Trainer
from torch import Tensor

from graves_bfn.flows.arrays import Data

MOST = 32
"""An example's variables are columns if they are so few; those of a picture, say, are not."""

Columns = dict[str, Shaped[Tensor, "_"]]


def columns_of(trainer: Trainer, data: Data, valid: Data | None = None) -> Columns:
    """The values of each column, under the names that the DataModule gives them, else `field[i]`.

    The variables of a field that is no table (images, long texts) make one column together, and columns
    without a valid value are left out.

    Args:
        trainer: whose DataModule may have a `spec`.
        data: in the DataModule's units.
        valid: booleans like the data, False for values to leave out.
    """
    fields = data if isinstance(data, dict) else {"data": data}
    masks = valid if isinstance(valid, dict) else {} if valid is None else {"data": valid}
    columns: Columns = {}
    for field, values in fields.items():
        values = values.cpu()
        mask = masks.get(field, torch.ones_like(values, dtype=torch.bool)).cpu()
        named = _named(field, values, mask, _names(trainer, field))
        columns |= {f"{field}.{name}" if name in columns else name: x for name, x in named.items() if len(x)}
    return columns


def _names(trainer: Trainer, field: str) -> tuple[str, ...]:
    """What a DataModule with a `spec` calls the columns of a field."""
    fields = getattr(getattr(getattr(trainer, "datamodule", None), "spec", None), "fields", {})
    only = next(iter(fields.values())) if len(fields) == 1 else None
    return tuple(getattr(fields.get(field, only), "names", ()))


def _named(
    field: str,
    values: Shaped[Tensor, "count *variables"],
    mask: Bool[Tensor, "count *variables"],
    names: tuple[str, ...],
) -> Columns:
    """The columns of one field."""
    if values.ndim != 2 or values.shape[1] > MOST:
        return {field: values[mask]}
    if len(names) != values.shape[1]:
        names = (field,) if values.shape[1] == 1 else tuple(f"{field}[{i}]" for i in range(values.shape[1]))
    return {name: values[:, i][mask[:, i]] for i, name in enumerate(names)}


def table_lines(columns: Mapping[str, Tensor]) -> list[str]:
    """Columns of equal length as lines of text, aligned, with their names above."""
    cells = {
        name: [f"{value:.4g}" if isinstance(value, float) else str(value) for value in x.tolist()]
        for name, x in columns.items()
    }
    widths = [max(map(len, [name, *column])) for name, column in cells.items()]
    rows = [list(cells), *zip(*cells.values(), strict=True)]
    return ["  ".join(cell.rjust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
