"""Sequences of different lengths in one batch."""

from collections.abc import Mapping, Sequence

from torch import Tensor

Batch = dict[str, Tensor]


def joined(parts: Sequence[Batch], fill: Mapping[str, int] | None = None) -> Batch:
    """Puts batches together, one below the other; shorter ones are filled up at the end of their time.

    Args:
        parts: batches with the same names. Tensors with more than one axis have time as the second one.
        fill: what fills up the tensor of a name; 0 for those that are not named.

    Example:
        >>> import torch
        >>> joined([{"x": torch.ones(1, 1)}, {"x": torch.ones(1, 2)}], {"x": -1})["x"].tolist()
        [[1.0, -1.0], [1.0, 1.0]]
    """
    return {name: _stacked([part[name] for part in parts], (fill or {}).get(name, 0)) for name in parts[0]}


def _stacked(rows: Sequence[Tensor], fill: int) -> Tensor:
    first, count = rows[0], sum(len(part) for part in rows)
    longest = [max(part.shape[1] for part in rows)] if first.dim() > 1 else []
    whole = first.new_full((count, *longest, *first.shape[2:]), fill)
    at = 0
    for part in rows:
        place = whole[at : at + len(part)]
        (place[:, : part.shape[1]] if longest else place).copy_(part)
        at += len(part)
    return whole
