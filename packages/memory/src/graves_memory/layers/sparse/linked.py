"""A step of the sparse differentiable neural computer: that of SAM, and reading along temporal links."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd import Function

from graves_memory.equations.addressing import oneplus
from graves_memory.equations.links import distinct
from graves_memory.layers.sparse.access import Lease, Token, keep, rewound
from graves_memory.layers.sparse.content import Content, content_gradients, read_content
from graves_memory.layers.sparse.fused import touch_read, touch_written
from graves_memory.layers.sparse.gated import Written, gated_gradients, write_gated
from graves_memory.layers.sparse.links import Linked, LinkState, SparseLinks
from graves_memory.layers.sparse.state import MemoryState, find
from graves_memory.layers.sparse.tape import Tape

MODES = 3
"""Backward in time, by content, forward in time."""

Steering = Float[Tensor, "batch heads interface"]
Heads = Float[Tensor, "batch heads width"]
Kept = Float[Tensor, "batch heads kept"]
Rows = Int64[Tensor, "batch heads kept"]
Modes = Float[Tensor, "batch heads 3"]


class LinkedAccess(NamedTuple):
    """What a step has read and written.

    Args:
        words: what each head read.
        read_weights: of the rows that it read; a row that was found twice has all of its weight at one place.
        read_rows: which, by content, then backward and forward in time.
        write_weights: of the rows that it wrote to.
        write_rows: which.
        modes: how much each head reads backward in time, by content, and forward in time.
        memory: the state after.
        links: the state after.
    """

    words: Heads
    read_weights: Kept
    read_rows: Rows
    write_weights: Float[Tensor, "batch heads written"]
    write_rows: Int64[Tensor, "batch heads written"]
    modes: Modes
    memory: MemoryState
    links: LinkState


class Setting(NamedTuple):
    """What a step is given that has no derivative.

    Args:
        lease: of the memory.
        first: the first sequence.
        links: of the memory.
        state: of the links.
        rows: that were read in the step before.
        reads: how many rows each head finds by content.
        delta: up to which weight an access does not count.
    """

    lease: Lease
    first: int
    links: SparseLinks
    state: LinkState
    rows: Rows
    reads: int
    delta: float


class Mixture(NamedTuple):
    """What was read along the links, and what the backward pass needs of it.

    Args:
        modes: how much each head reads in each way.
        owners: for each place of the rows read, the place that stands for its row.
        links: weights of the rows that the links lead to, backward and forward.
        words: these rows.
    """

    modes: Modes
    owners: Rows
    links: Float[Tensor, "batch heads 2 links"]
    words: Float[Tensor, "chains linked width"]


def linked_access(memory: MemoryState, steering: Steering, weights: Kept, setting: Setting) -> LinkedAccess:
    """Writes to the rows read before and to the oldest row, then reads by content and along the links.

    Args:
        memory: the state before.
        steering: for each head a query, a word to write, the logits of write gate and interpolation gate,
            what oneplus makes the strength of, which may be missing, and the logits of the modes.
        weights: with which was read in the step before.
        setting: all else.
    """
    memory.tape()
    if torch.is_grad_enabled():
        given = memory.token, steering, weights, setting
        read, weights, token, *constants = LinkedStep.apply(*given)  # type: ignore[no-untyped-call]
    else:
        run = LinkedRun(steering, weights, setting, logged=False)
        read, weights, token, constants = run.read, run.weights, memory.token, run.constants()
    rows, write_weights, write_rows, modes, last_rows, last_weights = constants
    links = LinkState(last_rows, last_weights, setting.state.starts)
    return LinkedAccess(read, weights, rows, write_weights, write_rows, modes, memory.next(token), links)


class LinkedStep(Function):
    """`linked_access` for autograd. No gradient passes through the links."""

    @staticmethod
    def forward(
        ctx: Any, token: Token, steering: Steering, weights: Kept, setting: Setting
    ) -> tuple[Tensor, ...]:
        """What was read, with which weights, and then what has no derivative.

        Args:
            ctx: of the function.
            token: of the last access.
            steering: as in `linked_access`.
            weights: as in `linked_access`.
            setting: as in `linked_access`.
        """
        keep(ctx, setting.lease)
        run = LinkedRun(steering, weights, setting, logged=True)
        saved = steering, weights, run.gates, run.places, *run.content, *run.written[1:], *run.mixture
        ctx.save_for_backward(*saved)
        constants = run.constants()
        ctx.mark_non_differentiable(*constants)
        return run.read, run.weights, torch.zeros_like(token), *constants

    @staticmethod
    def backward(ctx: Any, of_read: Any, of_weights: Any, *_: Any) -> Any:
        """The derivatives by steering and by the weights of the step before, and the memory as it was."""
        tape = rewound(ctx)
        steering, reads, gates, places, *saved = ctx.saved_tensors
        content, written, mixture = Content(*saved[:6]), Written(places, *saved[6:10]), Mixture(*saved[10:])
        width = tape.width
        queries, words = steering[..., :width], steering[..., width : 2 * width]
        of_read = torch.zeros_like(queries) if of_read is None else of_read
        of_weights = None if of_weights is None else of_weights.gather(2, mixture.owners)
        of_modes, of_linked = _mixture_gradients(content, mixture, of_read, of_weights)
        by_content = mixture.modes[..., 1:2]
        of_first = None if of_weights is None else of_weights[..., : content.weights.shape[2]] * by_content
        strengths = _strengths(steering, width)
        of_queries, of_strengths, of_rows = content_gradients(
            content, queries, strengths, of_read * by_content, of_first
        )
        chains = len(of_linked)
        of_rows = torch.cat((of_rows.view(chains, -1, width), of_linked), 1)
        tape.add_gradient(places, of_rows.view(-1, width))
        both = gates[..., :1], gates[..., 1:2]
        of_reads, of_words, of_gates = gated_gradients(tape, written, reads, words, both)
        parts = [of_queries, of_words, of_gates]
        if of_strengths is not None:
            parts.append(of_strengths * gates[..., 2:])
        return None, torch.cat((*parts, of_modes), 2), of_reads, None


class LinkedRun:
    """The forward pass.

    Args:
        steering: as in `linked_access`.
        weights: as in `linked_access`.
        setting: as in `linked_access`.
        logged: whether a backward pass is to come.
    """

    def __init__(self, steering: Steering, weights: Kept, setting: Setting, logged: bool) -> None:
        tape, first, links = setting.lease.tape, setting.first, setting.links
        width = tape.width
        queries, words = steering[..., :width], steering[..., width : 2 * width]
        self.gates = steering[..., 2 * width : -MODES].sigmoid()
        both = self.gates[..., :1], self.gates[..., 1:2]
        self.written = write_gated(tape, first, setting.rows, weights, words, both, logged)
        found = find(tape, first, queries, setting.reads)
        none = torch.zeros_like(self.gates[..., :1])
        read_before = torch.cat((weights, none), 2)
        self.links, linked = links.advance(
            setting.state, self.written.rows, self.written.weights, read_before
        )
        self.rows = torch.cat((found, linked.rows.flatten(2)), 2)
        self.places = tape.flat(self.rows, first)
        here = self.places.view(-1, self.rows.shape[2])
        self.content = read_content(
            tape, here[:, : setting.reads].reshape(-1), queries, _strengths(steering, width)
        )
        self._mix(tape, here[:, setting.reads :], steering, linked, links.owners(self.links, self.rows))
        touch_written(tape, first, self.written.rows, self.written.weights, setting.delta)
        touch_read(tape, first, self.rows, self.weights, setting.delta)

    def constants(self) -> tuple[Tensor, ...]:
        """What has no derivative: where was read and written, modes, and the rows written last."""
        written, links = self.written, self.links
        modes = self.mixture.modes.clone()
        return self.rows, written.weights, written.rows, modes, links.rows, links.weights

    def _mix(
        self, tape: Tape, linked_places: Tensor, steering: Tensor, linked: Linked, owners: Tensor
    ) -> None:
        """Adds up what is read in the three ways."""
        batch, heads, _ = owners.shape
        modes = steering[..., -MODES:].softmax(2)
        words = tape.memory.index_select(0, linked_places.reshape(-1))
        words = words.view(batch * heads, -1, tape.width)
        by_links = (linked.weights * modes[..., ::2, None]).flatten(2)
        by_content = modes[..., 1:2]
        self.weights = distinct(torch.cat((self.content.weights * by_content, by_links), 2), owners)
        read = torch.bmm(by_links.view(batch * heads, 1, -1), words).view(batch, heads, -1)
        self.read = torch.addcmul(read, self.content.read, by_content)
        self.mixture = Mixture(modes, owners, linked.weights, words)


def _mixture_gradients(
    content: Content, mixture: Mixture, of_read: Heads, of_weights: Kept | None
) -> tuple[Modes, Float[Tensor, "chains linked width"]]:
    """The derivatives by the logits of the modes, and by the rows that the links lead to."""
    modes, _, links, words = mixture
    batch, heads, width = of_read.shape
    through = torch.bmm(words, of_read.reshape(-1, width, 1)).view_as(links)
    of_content = (content.read * of_read).sum(2, keepdim=True)
    if of_weights is not None:
        reads = content.weights.shape[2]
        through = through + of_weights[..., reads:].view_as(links)
        of_content = of_content + (of_weights[..., :reads] * content.weights).sum(2, keepdim=True)
    of_links = (through * links).sum(3)
    of_modes = torch.cat((of_links[..., :1], of_content, of_links[..., 1:]), 2).mul_(modes)
    of_logits = torch.addcmul(of_modes, modes, of_modes.sum(2, keepdim=True), value=-1)
    by_links = (links * modes[..., ::2, None]).view(batch * heads, -1, 1)
    return of_logits, by_links * of_read.reshape(-1, 1, width)


def _strengths(steering: Tensor, width: int) -> Tensor | None:
    """The strengths of content, if heads have some."""
    given = steering[..., 2 * width + 2 : -MODES]
    return oneplus(given) if given.shape[2] else None
