"""Search in an inverted file of faiss: in a time that hardly grows with the rows, but not always the best."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.nn.functional import normalize

from graves_memory.layers.sparse.searches import ExactSearch, SearchedRows

FEW = 32_768
"""Up to so many used rows, looking at all of them is as fast."""

PROBES = 16
"""Lists of an index that a query looks into."""

SAMPLE = 64
"""Rows for each list that its centre is learned from."""


class InvertedSearch:
    """An inverted file for the used rows of every sequence, kept in step with them; exact while they are few.

    The index is built anew when as many rows have changed since as it held. Rows that were never used are all
    the same and stay outside of it. Where the lists that a query looks into hold too few rows, all rows are
    compared, as they always are on other devices than the CPU. Needs `pip install "graves-memory[search]"`.

    Args:
        few: up to how many used rows there is no index.

    Raises:
        ImportError: naming the extra that is missing.
    """

    def __init__(self, few: int = FEW) -> None:
        try:
            import faiss
        except ImportError as error:
            raise ImportError('search="ivf" needs: pip install "graves-memory[search]"') from error
        self._faiss: Any = faiss
        self.few = few
        self._exact = ExactSearch()
        self._indices: dict[int, _Index] = {}

    def begin(self) -> None:
        """Forgets the indices."""
        self._indices.clear()

    def changed(self, tape: SearchedRows, places: Int64[Tensor, " numbers"]) -> None:
        """Notes that rows have changed; arguments as in `RowSearch`."""
        for index in self._indices.values():
            index.stale.append(places)

    def find(
        self, tape: SearchedRows, first: int, queries: Float[Tensor, "batch heads width"], count: int
    ) -> Int64[Tensor, "batch heads count"]:
        """Rows of high cosine; arguments as in `RowSearch`."""
        if tape.used <= self.few or tape.device.type != "cpu":
            return self._exact.find(tape, first, queries, count)
        found = torch.stack([self._search(tape, first + b, heads, count) for b, heads in enumerate(queries)])
        missing = (found < 0).any(2, keepdim=True)
        if missing.any():
            found = torch.where(missing, self._exact.find(tape, first, queries, count), found)
        return found

    def _search(
        self, tape: SearchedRows, sequence: int, queries: Float[Tensor, "heads width"], count: int
    ) -> Int64[Tensor, "heads count"]:
        """Rows of one sequence; negative ones where there are too few."""
        index = self._indices.get(sequence)
        if index is None or index.changes >= index.built:
            index = self._indices[sequence] = _Index(self._faiss, tape, sequence)
        index.update(tape, sequence)
        directions = normalize(queries.float(), dim=1)
        cosines, rows = map(torch.from_numpy, index.lists.search(directions.numpy(), count))
        fresh = torch.arange(tape.used, min(tape.rows, tape.used + count)).expand(len(rows), -1)
        of_fresh = directions @ normalize(tape.start[sequence].float(), dim=0, eps=1e-6)
        of_fresh = of_fresh[:, None].expand(fresh.shape)
        best = torch.cat((cosines, of_fresh), 1).topk(count, dim=1).indices
        return torch.cat((rows, fresh), 1).gather(1, best)


class _Index:
    """The used rows of one sequence."""

    def __init__(self, faiss: Any, tape: SearchedRows, sequence: int) -> None:
        units = _units(tape, sequence * tape.rows + torch.arange(tape.used))
        self.built, width = units.shape
        lists = max(1, int(self.built**0.5))
        self.lists = faiss.IndexIVFFlat(faiss.IndexFlatIP(width), width, lists, faiss.METRIC_INNER_PRODUCT)
        self.lists.cp.min_points_per_centroid = 1
        self.lists.cp.max_points_per_centroid = SAMPLE
        self.lists.nprobe = min(PROBES, lists)
        self.lists.train(units)
        self.lists.set_direct_map_type(faiss.DirectMap.Array)
        self.lists.add(units)
        self.changes = 0
        self.stale: list[Tensor] = []

    def update(self, tape: SearchedRows, sequence: int) -> None:
        """Takes over what has changed since the last search, and rows that were used for the first time."""
        begin, held = sequence * tape.rows, self.lists.ntotal
        if self.stale:
            places = torch.cat(self.stale).unique()  # type: ignore[no-untyped-call]
            self.stale = []
            places = places[(places >= begin) & (places < begin + held)]
            self.lists.update_vectors((places - begin).numpy(), _units(tape, places))
            self.changes += len(places)
        if tape.used > held:
            self.lists.add(_units(tape, begin + torch.arange(held, tape.used)))
            self.changes += tape.used - held


def _units(tape: SearchedRows, places: Int64[Tensor, " numbers"]) -> Any:
    """Rows, of length 1, as faiss takes them."""
    return normalize(tape.memory.index_select(0, places).float(), dim=1, eps=1e-6).numpy()
