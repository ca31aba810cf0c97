"""Where a network wrote and read, as tables of the rows that it touched."""

from collections.abc import Sequence
from typing import NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor


class Link(NamedTuple):
    """A reading, and the last writing of the same row before it or in the same step.

    Attributes:
        row: place in the tables.
        written: step of the writing.
        read: step of the reading.
    """

    row: int
    written: int
    read: int


class Accesses(NamedTuple):
    """What one sequence did to the memory.

    Attributes:
        rows: numbers of the rows that were touched, in the order of their first writing; then those that were
            only read.
        writes: the largest write weight of any head.
        reads: the largest read weight of any head.
    """

    rows: Int64[Tensor, " touched"]
    writes: Float[Tensor, "touched steps"]
    reads: Float[Tensor, "touched steps"]

    def links(self, threshold: float) -> list[Link]:
        """Joins every reading to the last writing of its row; rows that were never written have none.

        Args:
            threshold: weights up to which an access does not count.
        """
        steps = torch.arange(self.writes.shape[1])
        last = torch.where(self.writes > threshold, steps, -1).cummax(1).values
        places = ((self.reads > threshold) & (last >= 0)).nonzero()
        return [Link(row, int(last[row, step]), step) for row, step in places.tolist()]


def accesses(steps: Sequence[dict[str, Tensor]], sequence: int = 0, threshold: float = 0.05) -> Accesses:
    """Reads the record of a network.

    Args:
        steps: `steps` of a `Record`, of a dense memory (weights of all rows) or a sparse one (with rows).
        sequence: which one of the batch.
        threshold: weights up to which an access does not count.

    Raises:
        ValueError: when nothing was recorded.

    Example:
        >>> write = {"write_weights": torch.tensor([[[0.0, 0.0, 0.9]]]), "read_weights": torch.zeros(1, 1, 3)}
        >>> read = {"write_weights": torch.zeros(1, 1, 3), "read_weights": torch.tensor([[[0.1, 0.0, 0.9]]])}
        >>> found = accesses([write, read])
        >>> found.rows.tolist(), found.links(threshold=0.05)
        ([2, 0], [Link(row=0, written=0, read=1)])
    """
    if not steps:
        raise ValueError("steps must hold at least one, but the network recorded nothing")
    own = [{name: tensor[sequence].cpu() for name, tensor in step.items()} for step in steps]
    known = _rows(own)
    writes, reads = (
        torch.stack([_weights(step, kind, known) for step in own], 1) for kind in ("write", "read")
    )
    wrote, did_read = writes > threshold, reads > threshold
    first = torch.where(wrote.any(1), _first(wrote), len(own) + _first(did_read))
    order = first.argsort(stable=True)
    order = order[(wrote | did_read)[order].any(1)]
    return Accesses(known[order], writes[order], reads[order])


def _rows(steps: Sequence[dict[str, Tensor]]) -> Int64[Tensor, " known"]:
    """The numbers of all rows that a record names."""
    if "read_rows" not in steps[0]:
        return torch.arange(steps[0]["read_weights"].shape[-1])
    named = [step[name].flatten() for step in steps for name in ("write_rows", "read_rows")]
    known: Tensor = torch.unique(torch.cat(named))
    return known


def _weights(step: dict[str, Tensor], kind: str, known: Int64[Tensor, " known"]) -> Float[Tensor, " known"]:
    """The largest weight of any head; those of a head that names a row twice are added."""
    weights = step[f"{kind}_weights"].float()
    if f"{kind}_rows" in step:
        places = torch.searchsorted(known, step[f"{kind}_rows"])
        weights = weights.new_zeros(len(weights), len(known)).scatter_add_(1, places, weights)
    return weights.amax(0)


def _first(happens: Bool[Tensor, "rows steps"]) -> Int64[Tensor, " rows"]:
    """The first step at which something happens; 0 where it never does."""
    return happens.int().argmax(1)
