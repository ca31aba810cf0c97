"""A step of the sparse access memory as one function, because small operations cost more than their work."""

from typing import Any, NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd import Function

from graves_memory.equations.addressing import oneplus
from graves_memory.layers.sparse.access import Lease, Token, keep, rewound
from graves_memory.layers.sparse.content import Content, content_gradients, read_content
from graves_memory.layers.sparse.gated import Written, gated_gradients, write_gated
from graves_memory.layers.sparse.state import MemoryState, find
from graves_memory.layers.sparse.tape import Tape

Steering = Float[Tensor, "batch heads interface"]
Kept = Float[Tensor, "batch heads reads"]
Rows = Int64[Tensor, "batch heads some"]


class Access(NamedTuple):
    """What a step has read and written.

    Args:
        words: what each head read.
        read_weights: of the rows that it read.
        read_rows: which.
        write_weights: of the rows that it wrote to.
        write_rows: which.
        memory: the state after.
    """

    words: Float[Tensor, "batch heads width"]
    read_weights: Kept
    read_rows: Rows
    write_weights: Float[Tensor, "batch heads written"]
    write_rows: Rows
    memory: MemoryState


def access(memory: MemoryState, steering: Steering, reads: Kept, rows: Rows, delta: float) -> Access:
    """Writes to the rows read before and to the oldest row, then reads by content.

    Args:
        memory: the state before.
        steering: for each head a query, a word to write, the logits of write gate and interpolation gate,
            and what oneplus makes the strength of, which may be missing.
        reads: with which weights was read in the step before.
        rows: which rows.
        delta: up to which weight an access does not count.
    """
    tape, others = memory.tape(), (memory.first, rows, delta)
    if torch.is_grad_enabled():
        given = memory.token, steering, reads, memory.lease, *others
        words, weights, token, *constants = Step.apply(*given)  # type: ignore[no-untyped-call]
    else:
        run, token = _Run(tape, steering, reads, *others, logged=False), memory.token
        words, weights, constants = run.content.read, run.content.weights, run.constants()
    read_rows, write_weights, write_rows = constants
    return Access(words, weights, read_rows, write_weights, write_rows, memory.next(token))


class Step(Function):
    """`access` for autograd."""

    @staticmethod
    def forward(
        ctx: Any,
        token: Token,
        steering: Steering,
        reads: Kept,
        lease: Lease,
        first: int,
        rows: Rows,
        delta: float,
    ) -> tuple[Tensor, Tensor, Token, Tensor, Tensor, Tensor]:
        """What was read, with which weights, and then what has no derivative.

        Args:
            ctx: of the function.
            token: of the last access.
            steering: as in `access`.
            reads: as in `access`.
            lease: of the memory.
            first: the first sequence.
            rows: as in `access`.
            delta: as in `access`.
        """
        keep(ctx, lease)
        run = _Run(lease.tape, steering, reads, first, rows, delta, logged=True)
        content, written = run.content, run.written
        ctx.save_for_backward(
            steering, reads, run.gates, run.strengths, run.places, *content[1:], *written[1:]
        )
        constants = run.constants()
        ctx.mark_non_differentiable(*constants)
        return content.read, content.weights, torch.zeros_like(token), *constants

    @staticmethod
    def backward(ctx: Any, of_read: Any, of_weights: Any, *_: Any) -> Any:
        """The derivatives by steering and by the weights of the step before, and the memory as it was."""
        tape = rewound(ctx)
        steering, reads, gates, strengths, places, *saved = ctx.saved_tensors
        content, written = Content(steering, *saved[:5]), Written(places, *saved[5:])
        queries, words, _ = _split(steering, tape.width)
        of_read = torch.zeros_like(queries) if of_read is None else of_read
        of_queries, of_strengths, of_rows = content_gradients(
            content, queries, strengths, of_read, of_weights
        )
        tape.add_gradient(places, of_rows)
        both = gates.narrow(2, 0, 1), gates.narrow(2, 1, 1)
        of_reads, of_words, of_gates = gated_gradients(tape, written, reads, words, both)
        parts = [of_queries, of_words, of_gates]
        if of_strengths is not None:
            parts.append(of_strengths * gates.narrow(2, 2, 1))
        return None, torch.cat(parts, 2), of_reads, None, None, None, None


class _Run:
    """The forward pass."""

    def __init__(
        self,
        tape: Tape,
        steering: Tensor,
        reads: Tensor,
        first: int,
        rows: Tensor,
        delta: float,
        logged: bool,
    ) -> None:
        queries, words, others = _split(steering, tape.width)
        self.gates, self.strengths = others.sigmoid(), _strengths(others)
        both = self.gates.narrow(2, 0, 1), self.gates.narrow(2, 1, 1)
        self.written = write_gated(tape, first, rows, reads, words, both, logged)
        self.rows = find(tape, first, queries, rows.shape[2])
        self.places = tape.flat(self.rows, first)
        self.content = read_content(tape, self.places, queries, self.strengths)
        touch_written(tape, first, self.written.rows, self.written.weights, delta)
        touch_read(tape, first, self.rows, self.content.weights, delta)

    def constants(self) -> tuple[Tensor, Tensor, Tensor]:
        """What has no derivative: where was read, and where was written with which weights."""
        return self.rows, self.written.weights, self.written.rows


def touch_written(
    tape: Tape, first: int, rows: Rows, weights: Float[Tensor, "batch heads some"], delta: float
) -> None:
    """Notes writes by ascending weight, but for the oldest rows, which count as accessed already.

    Args:
        tape: the memory.
        first: the first sequence.
        rows: which each head wrote to, the oldest row last.
        weights: with which weights.
        delta: up to which weight an access does not count.
    """
    tape.usage.touch(first, rows, weights.detach(), delta, last=False)


def touch_read(
    tape: Tape, first: int, rows: Rows, weights: Float[Tensor, "batch heads some"], delta: float
) -> None:
    """Notes reads, by ascending weight.

    Args:
        tape: the memory.
        first: the first sequence.
        rows: which each head read.
        weights: with which weights.
        delta: up to which weight an access does not count.
    """
    tape.usage.touch(first, rows, weights.detach(), delta)


def _split(steering: Tensor, width: int) -> Any:
    """Queries, words, and what is left: two gates, and what strengths are made of."""
    return steering.split_with_sizes((width, width, steering.shape[2] - 2 * width), 2)


def _strengths(others: Tensor) -> Tensor | None:
    """oneplus of the last number of each head, if there is one."""
    return oneplus(others.narrow(2, 2, 1)) if others.shape[2] > 2 else None
