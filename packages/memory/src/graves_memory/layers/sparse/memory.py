"""A memory of many rows of which a step reads and writes few."""

from __future__ import annotations

import weakref
from collections.abc import Mapping
from typing import Any, get_args

import torch
from jaxtyping import Float
from torch import Tensor, nn

from graves_core.spec import Spec
from graves_memory.layers.network import check_sizes
from graves_memory.layers.sparse.access import Lease
from graves_memory.layers.sparse.episodes import StartRows
from graves_memory.layers.sparse.searches import Search, new_search
from graves_memory.layers.sparse.state import MemoryState
from graves_memory.layers.sparse.tape import Tape


class SparseMemory(Spec, nn.Module):
    """A memory of many rows whose costs do not depend on their number.

    Neither a step's time nor what the backward pass needs of it grows with the number of rows: the memory is
    changed in place, and the backward pass takes the changes back. Room for the rows themselves is used again
    from episode to episode, is no part of `state_dict`, and stays on its process in distributed training. An
    episode that somebody still holds a state or a graph of keeps its room, and the next one gets another.

    Args:
        rows: for each sequence.
        width: numbers of a row.
        search: how the rows of highest cosine are found: all are exact but "ivf", an inverted file that needs
            the extra `search`. "written" looks at the rows that the episode has used so far, "exact" at all.
            "auto" is "written".

    Raises:
        ValueError: when a size is less than 1 or `search` is none of the choices.
        ImportError: when the extra that `search` needs is missing.

    Example:
        >>> memory = SparseMemory(rows=1_000_000, width=32)
        >>> state = memory.begin(2, like=torch.zeros(()))
        >>> rows = state.oldest(1)
        >>> state = state.write(rows[..., None], torch.ones(2, 1, 1), torch.ones(2, 1, 32), erase=rows)
        >>> state.search(torch.ones(2, 1, 32), count=3)[..., 0]
        tensor([[0],
                [0]])

    Source: Rae et al. 2016, section 3.
    """

    def __init__(self, rows: int, width: int, search: Search = "auto") -> None:
        super().__init__()
        check_sizes({"rows": rows, "width": width})
        if search not in get_args(Search):
            raise ValueError(f"search must be one of {get_args(Search)}, not {search!r}")
        new_search(search)  # refuses one whose extra is missing
        self.rows = rows
        self.width = width
        self.search = search
        self._tapes: list[tuple[Tape, weakref.ref[Lease]]] = []

    def begin(
        self, batch_size: int, like: Float[Tensor, "*any"], start: Float[Tensor, " width"] | None = None
    ) -> MemoryState:
        """The state at the start of an episode.

        Args:
            batch_size: sequences.
            like: a tensor of the device to use, and of the type unless that is of less than single precision.
            start: what all rows hold, trained perhaps; zeros by default.

        Raises:
            ValueError: when there is no sequence.
        """
        if batch_size < 1:
            raise ValueError(f"batch_size must be at least 1, not {batch_size}")
        lease = self._lease(batch_size, like)
        zeros = torch.zeros(self.width, dtype=lease.tape.dtype, device=like.device)
        lease.tape.begin(zeros if start is None else start)
        if start is not None and start.requires_grad and torch.is_grad_enabled():
            token = StartRows.apply(start, lease, batch_size)  # type: ignore[no-untyped-call]
            return MemoryState(lease, token, 0, batch_size)
        return MemoryState(lease, None, 0, batch_size)

    def load(self, tensors: Mapping[str, Tensor], like: Float[Tensor, "*any"]) -> MemoryState:
        """The state that `MemoryState.export` made plain.

        Args:
            tensors: what it returned.
            like: as in `begin`.
        """
        memory, ranks, start = (tensors[name].to(like.device) for name in ("memory", "ranks", "start"))
        batch, used, _ = memory.shape
        lease = self._lease(batch, like)
        tape = lease.tape
        tape.begin(torch.zeros(self.width, device=like.device))
        tape.start[:batch] = start
        tape.use(used)
        tape.table[:batch, :used] = memory
        tape.changed(tape.places(torch.arange(batch, device=like.device), used).view(-1))
        everyone = torch.zeros(tape.batch, used, dtype=torch.int64, device=like.device)
        everyone[:batch] = ranks
        tape.usage.restore(everyone)
        return MemoryState(lease, None, 0, batch)

    def extra_repr(self) -> str:
        """The sizes, for `print`."""
        return f"rows={self.rows}, width={self.width}, search={self.search!r}"

    def _lease(self, batch_size: int, like: Tensor) -> Lease:
        """A tape that nobody uses."""
        fitting = [one for one, lease in self._tapes if lease() is None and one.serves(batch_size, like)]
        kind = "written" if self.search == "auto" else self.search
        tape = fitting[0] if fitting else Tape(batch_size, self.rows, self.width, like, kind)
        lease = Lease(tape)
        held = [(one, other) for one, other in self._tapes if other() is not None]
        free = [(one, weakref.ref(lease)) for one in fitting[:1] or [tape]]
        self._tapes = [*held, *free]
        return lease

    def __getstate__(self) -> dict[str, Any]:
        """The module without its room for rows, for copies and pickles."""
        return {**self.__dict__, "_tapes": []}
