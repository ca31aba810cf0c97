"""Which entries of a weight matrix are parameters, and how the matrix is made from those alone."""

import math
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int
from torch import Tensor


class Kept(NamedTuple):
    """The kept entries of a matrix of `gates * units` rows, one after another in row-major order.

    Args:
        gates: blocks of rows, one under the other.
        units: rows of a block.
        columns: entries of a row, kept or not.
        flat: position of each kept entry in the flattened matrix; None when all are kept.
        fan_in: kept entries of a row when all rows have equally many, else None.
        shared: whether all blocks keep the same entries.
    """

    gates: int
    units: int
    columns: int
    flat: Int[Tensor, " kept"] | None
    fan_in: int | None
    shared: bool

    @property
    def number(self) -> int:
        """How many entries are kept."""
        return self.gates * self.units * self.columns if self.flat is None else len(self.flat)

    def rows(self, device: torch.device) -> Int[Tensor, " kept"]:
        """The row of each kept entry."""
        return self._positions(device) // self.columns

    def sources(self, device: torch.device) -> Int[Tensor, " kept"]:
        """The column of each kept entry."""
        return self._positions(device) % self.columns

    def matrix(self, values: Float[Tensor, " kept"]) -> Float[Tensor, "rows columns"]:
        """The whole matrix, zero where nothing is kept."""
        shape = (self.gates * self.units, self.columns)
        if self.flat is None:
            return values.view(shape)
        return values.new_zeros(math.prod(shape)).scatter(0, self.flat, values).view(shape)

    def values(self, matrix: Float[Tensor, "rows columns"]) -> Float[Tensor, " kept"]:
        """The kept entries of a matrix."""
        return matrix.flatten() if self.flat is None else matrix.flatten()[self.flat]

    def _positions(self, device: torch.device) -> Int[Tensor, " kept"]:
        return torch.arange(self.number, device=device) if self.flat is None else self.flat


def kept_entries(mask: Bool[Tensor, "rows columns"], gates: int) -> Kept:
    """Reads off a mask what is kept.

    Args:
        mask: True for the entries that are parameters.
        gates: how many blocks the rows make.
    """
    rows, columns = mask.shape
    blocks = mask.view(gates, rows // gates, columns)
    per_row = mask.sum(1)
    even = len(per_row) > 0 and bool((per_row == per_row[0]).all())
    return Kept(
        gates=gates,
        units=rows // gates,
        columns=columns,
        flat=None if bool(mask.all()) else mask.flatten().nonzero()[:, 0],
        fan_in=int(per_row[0]) if even else None,
        shared=bool((blocks == blocks[0]).all()),
    )


def random_mask(
    shape: tuple[int, int, int],
    sparsity: float,
    *,
    shared: bool,
    fixed_fan_in: bool,
    generator: torch.Generator,
) -> Bool[Tensor, "rows columns"]:
    """Keeps a share of `1 - sparsity` of the entries, chosen at random.

    Args:
        shape: gates (blocks of rows), units (rows of a block), columns.
        sparsity: share of the entries that are not kept.
        shared: choose once and use it for all blocks.
        fixed_fan_in: keep equally many entries in every row, at least one, instead of so many in a block.
        generator: draws the choice.
    """
    gates, units, columns = shape
    blocks = 1 if shared else gates
    scores = torch.rand(blocks, units, columns, generator=generator)
    if not fixed_fan_in:
        scores = scores.view(blocks, 1, units * columns)
    count = max(1, round((1 - sparsity) * scores.shape[-1]))
    chosen = torch.zeros_like(scores, dtype=torch.bool).scatter_(-1, scores.topk(count).indices, value=True)
    return chosen.view(blocks, units, columns).expand(gates, -1, -1).reshape(-1, columns)


def pruned_mask(
    mask: Bool[Tensor, "rows columns"], magnitude: Float[Tensor, "rows columns"], fraction: float
) -> Bool[Tensor, "rows columns"]:
    """Drops the given share of the kept entries, those of the smallest magnitude.

    Args:
        mask: what is kept so far.
        magnitude: of every entry.
        fraction: share of the kept entries to drop.
    """
    flat = mask.flatten().nonzero()[:, 0]
    dropped = magnitude.flatten()[flat].topk(round(fraction * len(flat)), largest=False).indices
    pruned = mask.flatten().clone()
    pruned[flat[dropped]] = False
    return pruned.view_as(mask)


def checked_mask(name: str, mask: Any, shape: tuple[int, int]) -> Bool[Tensor, "rows columns"]:
    """The mask itself, if it is one for a matrix of this shape.

    Raises:
        TypeError: when it does not hold booleans.
        ValueError: when it has another shape or keeps nothing.
    """
    if not isinstance(mask, Tensor) or mask.dtype != torch.bool:
        given = mask.dtype if isinstance(mask, Tensor) else type(mask).__name__
        raise TypeError(f"the mask of {name} must be a tensor of booleans, got {given}")
    if tuple(mask.shape) != shape:
        raise ValueError(f"the mask of {name} must have the shape {shape}, got {tuple(mask.shape)}")
    if not bool(mask.any()):
        raise ValueError(f"the mask of {name} must keep at least one entry")
    return mask
