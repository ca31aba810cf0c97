"""The sparse differentiable neural computer."""

import weakref
from collections.abc import Mapping
from typing import Any, NamedTuple

import torch
from jaxtyping import Bool, Float, Int64
from torch import Tensor

from graves_memory.layers.controlled import full_precision
from graves_memory.layers.network import check_sizes
from graves_memory.layers.sparse.linked import MODES, Setting, linked_access
from graves_memory.layers.sparse.links import LinkState, SparseLinks
from graves_memory.layers.sparse.network import SparseMemoryNetwork
from graves_memory.layers.sparse.searches import Search
from graves_memory.layers.sparse.state import MemoryState
from graves_memory.layers.sparse.tape import Tape

LINK_PARTS = {"before", "before_weights", "after", "after_weights", "marks", "fades"}
"""Tensors that links are exported as."""


class SDNCState(NamedTuple):
    """The state of an `SDNC`, one batch row for each sequence.

    Args:
        hidden: the LSTM's output.
        cell: the LSTM's cell.
        words: what the heads read.
        read_weights: of the rows that they read.
        read_rows: which.
        last_weights: the precedence, how much each of a few rows is the one that the head wrote last.
        last_rows: which; the number of rows where there is none.
        link_starts: where the links of the heads are kept.
        memory: all rows.

    Example:
        >>> SDNC(3, 2, heads=1, reads=4, links=8).initial_state(5).read_rows.shape
        torch.Size([5, 1, 20])
    """

    hidden: Float[Tensor, "batch hidden"]
    cell: Float[Tensor, "batch hidden"]
    words: Float[Tensor, "batch heads width"]
    read_weights: Float[Tensor, "batch heads kept"]
    read_rows: Int64[Tensor, "batch heads kept"]
    last_weights: Float[Tensor, "batch heads links"]
    last_rows: Int64[Tensor, "batch heads links"]
    link_starts: Int64[Tensor, "batch heads 1"]
    memory: MemoryState


class SDNC(SparseMemoryNetwork[SDNCState]):
    """The sparse differentiable neural computer: SAM whose heads also follow the order in which they wrote.

    Heads write as those of `SAM` do. They read by content, and along links: from the rows that a head read
    in the step before, to rows that it wrote right before or right after those. Three numbers, which add up
    to one, say how much a head reads in each way. It reads `reads` rows by content and `links` rows in each
    direction, those with the largest weights; the weights of a direction are scaled down where they are more
    than one in all. No gradient passes through the links, and a step costs the same for any number of rows.

    A state expires when the network goes on from it, because there is only one memory: `export_state` keeps
    it, `detach` cuts the graph and carries memory and links on.

    Args:
        input_size: numbers that the network reads at a step.
        output_size: numbers that it says at a step.
        hidden_size: units of the LSTM.
        rows: of the memory.
        width: numbers of a row.
        heads: each of which reads and writes.
        reads: rows that each head reads by content.
        links: entries that are kept of each row's links, K_L, and rows that a head reads in each direction.
        search: how rows are found by content; see `SparseMemory`.
        delta: up to which weight an access does not count when the oldest row is looked for.
        strengths: whether a head says how sharply it reads by content; if not, similarities are not scaled.
        learn_start: whether what all rows hold at the start is trained; zeros if not.
        clip: largest absolute value of the LSTM's cell and of the interface; None for no limit.
        batch_first: whether inputs and outputs are `(batch, time, size)` instead of `(time, batch, size)`.

    Raises:
        ValueError: when a size is less than 1, there are too few rows, or another number is out of range.

    Example:
        >>> net = SDNC(input_size=10, output_size=8, rows=100_000, heads=2)
        >>> outputs, state = net(torch.randn(25, 4, 10))
        >>> outputs.sum().backward()
        >>> outputs, state = net(torch.randn(25, 4, 10), net.detach(state))
        >>> outputs.shape, state.last_rows.shape
        (torch.Size([25, 4, 8]), torch.Size([4, 2, 8]))

    Source: Rae et al. 2016, supplement on the sparse DNC.
    """

    state_type = SDNCState

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_size: int = 100,
        rows: int = 65_536,
        width: int = 32,
        heads: int = 4,
        reads: int = 4,
        links: int = 8,
        search: Search = "auto",
        delta: float = 0.005,
        strengths: bool = True,
        learn_start: bool = False,
        clip: float | None = 20.0,
        batch_first: bool = False,
    ) -> None:
        check_sizes({"links": links})
        self.head_size = 2 * width + (3 if strengths else 2) + MODES
        super().__init__(
            input_size,
            output_size,
            hidden_size,
            rows,
            width,
            heads,
            reads,
            heads * self.head_size,
            search,
            delta,
            learn_start,
            clip,
            batch_first,
        )
        self.links = links
        self._linked: list[tuple[weakref.ref[Tape], SparseLinks]] = []

    def initial_state(self, batch_size: int) -> SDNCState:
        """The state at the start of an episode, with room for a memory that nothing else uses.

        Args:
            batch_size: number of sequences.
        """
        kept = batch_size, self.heads, self.reads + 2 * self.links
        memory = self.begin(batch_size)
        last = self.links_of(memory).begin(batch_size, memory.lease.tape.memory)
        return SDNCState(
            self.zeros(batch_size, self.hidden_size),
            self.zeros(batch_size, self.hidden_size),
            self.zeros(batch_size, self.heads, self.width),
            self.zeros(*kept),
            self.zeros(*kept, dtype=torch.int64),
            last.weights,
            last.rows,
            last.starts,
            memory,
        )

    def step(
        self, inputs: Float[Tensor, "batch prepared"], state: SDNCState
    ) -> tuple[Float[Tensor, "batch feature"], SDNCState]:
        """One time step.

        Args:
            inputs: what `prepare` made of the inputs of this step.
            state: the state before.
        """
        hidden, cell, interface = self.control(inputs, state.words, state.hidden, state.cell)
        steering = interface.view(-1, self.heads, self.head_size)
        memory = state.memory
        links = self.links_of(memory)
        setting = Setting(
            memory.lease, memory.first, links, _precedence(state), state.read_rows, self.reads, self.delta
        )
        with full_precision(hidden):
            done = linked_access(memory, steering, state.read_weights, setting)
        if self._record is not None:
            names = "write_rows", "write_weights", "read_rows", "read_weights", "modes"
            self.record({name: getattr(done, name) for name in names})
        after = SDNCState(
            hidden,
            cell,
            done.words,
            done.read_weights,
            done.read_rows,
            *done.links[1::-1],
            state.link_starts,
            done.memory,
        )
        return self.features(hidden, done.words), after

    def reset(self, state: SDNCState, done: Bool[Tensor, " batch"]) -> SDNCState:
        """The state in which some sequences begin anew.

        Args:
            state: a state.
            done: which sequences begin anew.
        """
        last = self.links_of(state.memory).reset(_precedence(state), done)
        return (
            super()
            .reset(state, done)
            ._replace(last_weights=last.weights, last_rows=last.rows, link_starts=last.starts)
        )

    def export_state(self, state: SDNCState) -> dict[str, Tensor]:
        """The state as plain tensors for a checkpoint, batch first; only rows that have been used.

        Args:
            state: a state.
        """
        tensors = super().export_state(state)
        table, used = self.links_of(state.memory).table, tensors["memory.memory"].shape[1]
        parts = table.parts(state.link_starts.flatten(), used)
        sizes = len(state.hidden), self.heads
        return tensors | {f"links.{name}": part.view(*sizes, *part.shape[1:]) for name, part in parts.items()}

    def import_state(self, tensors: Mapping[str, Tensor]) -> SDNCState:
        """The state that `export_state` made plain.

        Args:
            tensors: what `export_state` returned, on any device.

        Raises:
            ValueError: when they are not the tensors of a state of this network.
        """
        parts = {name[6:]: tensors[name].flatten(0, 1) for name in tensors if name.startswith("links.")}
        if set(parts) != LINK_PARTS:
            names = sorted(f"links.{name}" for name in LINK_PARTS)
            raise ValueError(f"tensors must have {names}, not {sorted(tensors)}")
        others = {name: tensor for name, tensor in tensors.items() if not name.startswith("links.")}
        state = super().import_state(others)
        links = self.links_of(state.memory)
        starts = links.begin(len(state.hidden), state.memory.lease.tape.memory).starts
        links.table.put(starts.flatten(), parts)
        return state._replace(link_starts=starts)

    def links_of(self, memory: MemoryState) -> SparseLinks:
        """The links of a memory, which has its own.

        Args:
            memory: any state of it.
        """
        tape = memory.lease.tape
        for reference, links in self._linked:
            if reference() is tape:
                return links
        links = SparseLinks(self.memory.rows, self.heads, self.links)
        alive = [pair for pair in self._linked if pair[0]() is not None]
        self._linked = [*alive, (weakref.ref(tape), links)]
        return links

    def __getstate__(self) -> dict[str, Any]:
        """The module without what belongs to memories, for copies and pickles."""
        return {**super().__getstate__(), "_linked": []}


def _precedence(state: SDNCState) -> LinkState:
    return LinkState(state.last_rows, state.last_weights, state.link_starts)
