"""Which rows are most similar to a query: what searches have in common, and the exact one."""

from typing import Literal, Protocol

import torch
from jaxtyping import Float, Int64
from torch import Tensor

Search = Literal["auto", "written", "exact", "ivf"]
"""How the rows of highest cosine are found."""

BLOCK = 64
"""Numbers of a block whose largest one is looked at first."""

LONG = 4096
"""From so many rows on, blocks are faster."""


class SearchedRows(Protocol):
    """What a search sees of a tape.

    Args:
        memory: all rows of all sequences, `(batch * rows, width)`.
        columns: the same as `(batch, width, rows)`.
        scales: one by the length of each row, `(batch, 1, rows)`.
        start: what unused rows hold, `(batch, width)`.
        device: of the memory.
        batch: sequences.
        rows: of each.
        used: how many rows of a sequence may have been used.
    """

    memory: Tensor
    columns: Tensor
    scales: Tensor
    start: Tensor
    device: torch.device
    batch: int
    rows: int
    used: int

    def fill(self, count: int) -> None:
        """Makes sure that the first rows of every sequence hold what they held at the start or later.

        Args:
            count: how many rows.
        """


class RowSearch(Protocol):
    """A structure that finds rows; no gradient passes through it."""

    def begin(self) -> None:
        """Forgets everything: an episode begins."""

    def changed(self, tape: SearchedRows, places: Int64[Tensor, " numbers"]) -> None:
        """Notes that rows have changed.

        Args:
            tape: the memory.
            places: in the matrix of all rows.
        """

    def find(
        self, tape: SearchedRows, first: int, queries: Float[Tensor, "batch heads width"], count: int
    ) -> Int64[Tensor, "batch heads count"]:
        """The rows of highest cosine, the highest first.

        Args:
            tape: the memory.
            first: the first sequence.
            queries: of every head.
            count: how many rows.
        """
        ...


def new_search(kind: str) -> RowSearch:
    """A search of one of the kinds of `Search`.

    Args:
        kind: which.
    """
    if kind == "ivf":
        from graves_memory.layers.sparse.inverted import InvertedSearch

        return InvertedSearch()
    return ExactSearch(everywhere=kind == "exact")


class ExactSearch:
    """Compares queries with rows one by one.

    Rows that were never used all are the same. It is enough to look at those that may have been used and at
    as many others as are to be found: the cost grows with the length of the episode, not of the memory.

    Args:
        everywhere: whether to look at all rows all the same.

    Example:
        >>> from graves_memory.layers.sparse.tape import Tape
        >>> tape = Tape(1, 8, 2, torch.zeros(()), "written")
        >>> tape.begin(torch.zeros(2))
        >>> tape.use(3)
        >>> tape.memory[:3] = torch.tensor([[0.0, 1.0], [1.0, 0.0], [1.0, 1.0]])
        >>> tape.changed(torch.arange(3))
        >>> tape.search.find(tape, 0, torch.tensor([[[2.0, 0.0]]]), 2)
        tensor([[[1, 2]]])
    """

    def __init__(self, everywhere: bool = False) -> None:
        self.everywhere = everywhere
        self._scratch: Tensor | None = None

    def begin(self) -> None:
        """Nothing is kept."""

    def changed(self, tape: SearchedRows, places: Int64[Tensor, " numbers"]) -> None:
        """Nothing is kept; arguments as in `RowSearch`."""

    def find(
        self, tape: SearchedRows, first: int, queries: Float[Tensor, "batch heads width"], count: int
    ) -> Int64[Tensor, "batch heads count"]:
        """The rows of highest cosine; arguments as in `RowSearch`."""
        batch, heads, _ = queries.shape
        limit = tape.rows if self.everywhere else min(tape.rows, tape.used + count)
        tape.fill(limit)
        blocks = -(-limit // BLOCK) if limit >= LONG else 0
        size = max(blocks * BLOCK, limit)
        scores = seen = self._scores(queries, batch * heads * size, tape.rows).view(batch, heads, size)
        if size > limit:
            seen = scores.narrow(2, 0, limit)
            scores.narrow(2, limit, size - limit).fill_(-torch.inf)
        rows, lengths = tape.columns.narrow(2, 0, limit), tape.scales.narrow(2, 0, limit)
        if batch < tape.batch:
            rows, lengths = rows.narrow(0, first, batch), lengths.narrow(0, first, batch)
        torch.bmm(queries, rows, out=seen)
        seen.mul_(lengths)
        if not blocks:
            return scores.topk(count, dim=2).indices
        return highest(scores.view(batch, heads, blocks, BLOCK), count)

    def _scores(
        self, like: Float[Tensor, "batch heads width"], size: int, rows: int
    ) -> Float[Tensor, " size"]:
        """Room for numbers that is used again, because large tensors between small ones fragment memory."""
        if self._scratch is None or self._scratch.numel() < size:
            most = like.shape[0] * like.shape[1] * (rows + BLOCK)
            with torch.inference_mode(False):
                self._scratch = like.new_empty(max(size, min(2 * size, most)))
        return self._scratch.narrow(0, 0, size)


def highest(
    blocks: Float[Tensor, "batch heads blocks numbers"], count: int
) -> Int64[Tensor, "batch heads count"]:
    """Where the highest of many numbers are, the highest first.

    They lie in the blocks with the highest maxima, of which no more are needed than there are numbers.

    Args:
        blocks: the numbers.
        count: how many.
    """
    size = blocks.shape[-1]
    count_blocks = min(count, blocks.shape[2])
    best = blocks.amax(-1).topk(count_blocks, dim=-1).indices
    inside = (
        blocks.gather(2, best[..., None].expand(*best.shape, size)).flatten(2).topk(count, dim=-1).indices
    )
    return best.gather(2, inside // size) * size + inside % size
