"""The differentiable neural computer."""

from typing import NamedTuple, get_args

import torch
from jaxtyping import Float
from torch import Tensor

from graves_memory.equations import dnc
from graves_memory.equations.addressing import (
    Memory,
    Weights,
    content_weights,
    cosine_similarity,
    masked_cosine_similarity,
    read_words,
    sharpened,
)
from graves_memory.layers.controlled import full_precision
from graves_memory.layers.dense import DenseMemoryNetwork
from graves_memory.layers.dense_links import link_step
from graves_memory.layers.dnc_interface import DNCInterface, DNCSizes, Variant
from graves_memory.layers.network import check_sizes


class DNCState(NamedTuple):
    """The state of a `DNC`, one batch row for each sequence.

    Args:
        hidden: the LSTM's output.
        cell: the LSTM's cell.
        words: what the read heads read.
        memory: the rows.
        read_weights: where the read heads read.
        write_weights: where the write heads wrote.
        usage: of each row, between 0 and 1.
        links: which row was written right after which.
        precedence: how far each row is the one last written.

    Example:
        >>> DNC(3, 2, rows=16).initial_state(5).links.shape
        torch.Size([5, 1, 16, 16])
    """

    hidden: Float[Tensor, "batch hidden"]
    cell: Float[Tensor, "batch hidden"]
    words: Float[Tensor, "batch heads width"]
    memory: Float[Tensor, "batch rows width"]
    read_weights: Float[Tensor, "batch heads rows"]
    write_weights: Float[Tensor, "batch writers rows"]
    usage: Float[Tensor, "batch rows"]
    links: Float[Tensor, "batch writers rows rows"]
    precedence: Float[Tensor, "batch writers rows"]


class DNC(DenseMemoryNetwork[DNCState]):
    """The differentiable neural computer, with an LSTM.

    Its interface has the paper's order, W R + 3 W + 5 R + 3 numbers with one write head; several write heads
    have a set of links each and take free rows in turn. An episode starts with zeros everywhere. The variant
    "released" is the code that came with the paper: strengths are softplus instead of 1 + softplus, the modes
    of a read head are backward, forward, content instead of backward, content, forward, no gradient passes
    from the usage to the write weights, and the outputs are clipped too.

    Source: Graves, Wayne et al. 2016 (Nature 538); the three switches: Csordas and Schmidhuber 2019.

    Args:
        input_size: numbers that the network reads at a step.
        output_size: numbers that it says at a step.
        hidden_size: units of the LSTM.
        rows: of the memory; the links take rows squared.
        width: numbers of a row.
        heads: that read.
        write_heads: that write.
        variant: "paper", or "released" for what the released code does otherwise.
        masked_keys: whether every head learns which part of a row it compares with its key.
        erase_freed: whether freed rows lose their content, not only their usage.
        sharpen_links: whether every read head learns how sharp its links are.
        clip: largest absolute value of the LSTM's cell and of the interface; None for no limit.
        batch_first: whether inputs and outputs are `(batch, time, size)` instead of `(time, batch, size)`.

    Raises:
        ValueError: when a size is less than 1, `clip` is not positive, or `variant` is another word.

    Example:
        >>> net = DNC(input_size=10, output_size=8, rows=64, heads=2)
        >>> outputs, state = net(torch.randn(25, 4, 10))
        >>> outputs.shape, state.usage.shape
        (torch.Size([25, 4, 8]), torch.Size([4, 64]))
    """

    state_type = DNCState

    def __init__(
        self,
        input_size: int,
        output_size: int,
        hidden_size: int = 100,
        rows: int = 128,
        width: int = 32,
        heads: int = 4,
        write_heads: int = 1,
        variant: Variant = "paper",
        masked_keys: bool = False,
        erase_freed: bool = False,
        sharpen_links: bool = False,
        clip: float | None = 20.0,
        batch_first: bool = False,
    ) -> None:
        check_sizes({"write_heads": write_heads})
        if variant not in get_args(Variant):
            raise ValueError(f"variant must be one of {get_args(Variant)}, not {variant!r}")
        sizes = DNCSizes(width, heads, write_heads, masked_keys, sharpen_links)
        super().__init__(
            input_size, output_size, hidden_size, rows, width, heads, sizes.total, clip, batch_first
        )
        self.sizes = sizes
        self.write_heads = write_heads
        self.variant = variant
        self.erase_freed = erase_freed

    def initial_state(self, batch_size: int) -> DNCState:
        """The state at the start of an episode.

        Args:
            batch_size: number of sequences.
        """
        return DNCState(
            self.zeros(batch_size, self.hidden_size),
            self.zeros(batch_size, self.hidden_size),
            self.zeros(batch_size, self.heads, self.width),
            self.zeros(batch_size, self.rows, self.width),
            self.zeros(batch_size, self.heads, self.rows),
            self.zeros(batch_size, self.write_heads, self.rows),
            self.zeros(batch_size, self.rows),
            self.zeros(batch_size, self.write_heads, self.rows, self.rows),
            self.zeros(batch_size, self.write_heads, self.rows),
        )

    def step(
        self, inputs: Float[Tensor, "batch input"], state: DNCState
    ) -> tuple[Float[Tensor, "batch feature"], DNCState]:
        """One time step.

        Args:
            inputs: of this step.
            state: the state before.
        """
        hidden, cell, numbers = self.control(inputs, state.words, state.hidden, state.cell)
        with full_precision(hidden):
            interface = DNCInterface.read(numbers, self.sizes, self.variant)
            memory, writes, usage = self._write(interface, state)
            reads, links = self._read(interface, state, memory, writes)
            words = read_words(memory, reads)
            precedence = dnc.precedence_after(state.precedence, writes)
        self.record({"write_weights": writes, "read_weights": reads})
        new = DNCState(hidden, cell, words, memory, reads, writes, usage, links, precedence)
        return self.features(hidden, words), new

    def readout(self, features: Float[Tensor, "*batch feature"]) -> Float[Tensor, "*batch output"]:
        """The outputs, for all time steps at once.

        Args:
            features: what the steps returned.
        """
        outputs = super().readout(features)
        if self.variant == "released" and self.clip is not None:
            return outputs.clamp(-self.clip, self.clip)
        return outputs

    def _write(self, interface: DNCInterface, state: DNCState) -> tuple[Memory, dnc.WriteWeights, dnc.Usage]:
        """The memory after writing, where was written, and the usage that this was decided from."""
        kept = dnc.retention(interface.free_gates, state.read_weights)
        wrote = state.write_weights.detach() if self.variant == "released" else state.write_weights
        usage = dnc.usage_after(state.usage, wrote, kept)
        gates = interface.allocation_gates, interface.write_gates
        allocated = dnc.allocations(usage, gates[0] * gates[1])
        masks = None if interface.masks is None else interface.masks[:, self.heads :]
        content = _by_content(state.memory, interface.write_keys, interface.write_strengths, masks)
        writes = dnc.write_weights(allocated, content, gates[1], gates[0])
        memory = state.memory * kept[..., None] if self.erase_freed else state.memory
        return dnc.written(memory, writes, interface.erase, interface.words), writes, usage

    def _read(
        self, interface: DNCInterface, state: DNCState, memory: Memory, writes: dnc.WriteWeights
    ) -> tuple[Weights, dnc.Links]:
        """Where the read heads read, and the new links."""
        links, on, back = link_step(state.links, writes, state.precedence, state.read_weights)
        if interface.powers is not None:
            on, back = sharpened(torch.stack([on, back], dim=1), interface.powers).unbind(1)
        masks = None if interface.masks is None else interface.masks[:, : self.heads]
        content = _by_content(memory, interface.read_keys, interface.read_strengths, masks)
        if self.variant == "paper":
            ways = [*back.unbind(1), content, *on.unbind(1)]
        else:
            ways = [*back.unbind(1), *on.unbind(1), content]
        return dnc.mixed(ways, interface.modes), links


def _by_content(memory: Memory, keys: Tensor, strengths: Tensor, masks: Tensor | None) -> Weights:
    """Weights by content, of what the masks let through if there are any."""
    if masks is None:
        return content_weights(cosine_similarity(memory, keys), strengths)
    return content_weights(masked_cosine_similarity(memory, keys, masks), strengths)
