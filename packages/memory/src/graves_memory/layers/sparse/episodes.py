"""The start of an episode in a sparse memory, for all sequences or some, and their order."""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd import Function

from graves_memory.layers.sparse.access import Lease, Token, keep, rewound
from graves_memory.layers.sparse.tape import Tape

Start = Float[Tensor, " width"]


class StartRows(Function):
    """Begins an episode all of whose rows are one trained row, and gives that row its derivative."""

    @staticmethod
    def forward(ctx: Any, start: Start, lease: Lease, count: int) -> Token:
        """The token of the memory; the episode has begun already.

        Args:
            ctx: of the function.
            start: the row.
            lease: of the memory.
            count: sequences.
        """
        keep(ctx, lease)
        ctx.count = count
        return start.new_zeros((), dtype=lease.tape.dtype)

    @staticmethod
    def backward(ctx: Any, _: Any) -> Any:
        """The sum of the derivatives by all rows."""
        tape = rewound(ctx)
        sequences = torch.arange(ctx.count, device=tape.device)
        return _sum_gradients(tape, sequences), None, None


class ResetRows(Function):
    """Begins an episode of some sequences."""

    @staticmethod
    def forward(
        ctx: Any, token: Token, start: Start, lease: Lease, sequences: Int64[Tensor, " some"]
    ) -> Token:
        """Changes the memory in place.

        Args:
            ctx: of the function.
            token: of the last access.
            start: what all rows hold.
            lease: of the memory.
            sequences: their numbers.
        """
        keep(ctx, lease)
        reset_rows(lease.tape, start, sequences, logged=True)
        ctx.save_for_backward(sequences)
        return torch.zeros_like(token)

    @staticmethod
    def backward(ctx: Any, _: Any) -> Any:
        """The derivative by the start row; none goes to what was before."""
        tape = rewound(ctx)
        (sequences,) = ctx.saved_tensors
        of_start = _sum_gradients(tape, sequences)
        tape.gradient.index_fill_(0, tape.places(sequences, tape.used).view(-1), 0)
        return None, of_start, None, None


class ReorderRows(Function):
    """Puts sequences into another order."""

    @staticmethod
    def forward(ctx: Any, token: Token, lease: Lease, first: int, order: Int64[Tensor, " count"]) -> Token:
        """Changes the memory in place.

        Args:
            ctx: of the function.
            token: of the last access.
            lease: of the memory.
            first: the first sequence.
            order: for each place, the sequence that comes there, counted from the first.
        """
        keep(ctx, lease)
        reorder_rows(lease.tape, first, order, logged=True)
        ctx.first = first
        ctx.save_for_backward(order)
        return torch.zeros_like(token)

    @staticmethod
    def backward(ctx: Any, _: Any) -> Any:
        """Puts the derivatives where their sequences were."""
        tape = rewound(ctx)
        (order,) = ctx.saved_tensors
        there, here = _moves(tape, ctx.first, order, tape.used)
        tape.move_gradient(there, here)
        return None, None, None, None


def reset_rows(tape: Tape, start: Start, sequences: Int64[Tensor, " some"], logged: bool) -> None:
    """Begins an episode of some sequences, at a cost that grows with the rows that have been used.

    Args:
        tape: the memory.
        start: what all rows hold.
        sequences: their numbers.
        logged: whether a backward pass is to come.
    """
    places = tape.places(sequences, tape.filled).view(-1)
    tape.change(places, logged)
    tape.start.index_copy_(0, sequences, start.to(tape.dtype).expand(len(sequences), -1))
    tape.memory.index_copy_(0, places, start.to(tape.dtype).expand(len(places), -1))
    tape.changed(places)
    tape.usage.forget(sequences, tape.used)


def reorder_rows(tape: Tape, first: int, order: Int64[Tensor, " count"], logged: bool) -> None:
    """Puts sequences into another order, at a cost that grows with the rows that have been used.

    Args:
        tape: the memory.
        first: the first sequence.
        order: for each place, the sequence that comes there, counted from the first.
        logged: whether a backward pass is to come.
    """
    sources, places = _moves(tape, first, order, tape.filled)
    tape.change(places, logged)
    tape.memory.index_copy_(0, places, tape.memory.index_select(0, sources))
    tape.start[first : first + len(order)] = tape.start[first + order]
    tape.changed(places)
    tape.usage.reorder(first, order, tape.used)


def _moves(tape: Tape, first: int, order: Int64[Tensor, " count"], count: int) -> tuple[Tensor, Tensor]:
    """Where rows come from and where they go to."""
    places = tape.places(torch.arange(first, first + len(order), device=tape.device), count)
    return places[order].view(-1), places.view(-1)


def _sum_gradients(tape: Tape, sequences: Int64[Tensor, " some"]) -> Start:
    """The sum of the derivatives by all rows of some sequences."""
    return tape.gradient.index_select(0, tape.places(sequences, tape.used).view(-1)).sum(0)
