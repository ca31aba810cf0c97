"""Reading and writing rows of a sparse memory, with a backward pass that takes the writes back.

Every function takes and returns a token, a tensor without elements of interest. It makes autograd go backward
in the reverse order of going forward. The memory itself is no tensor that autograd knows of.

Source: Rae et al. 2016, section 3.4.
"""

from typing import Any

import torch
from jaxtyping import Float, Int64
from torch import Tensor
from torch.autograd import Function

from graves_memory.layers.sparse.tape import TWICE, Tape

DOUBLE = "second derivatives (create_graph=True) do not pass through a sparse memory; those of a dense one do"

Token = Float[Tensor, ""]
Rows = Int64[Tensor, "batch heads some"]
Erased = Int64[Tensor, "batch erased 1"]
Weights = Float[Tensor, "batch heads some"]
Words = Float[Tensor, "batch heads width"]


class Lease:
    """The right to use a tape, which states and graphs hold as long as they may come back to it.

    Args:
        tape: the memory.
    """

    __slots__ = ("__weakref__", "tape")

    def __init__(self, tape: Tape) -> None:
        self.tape = tape


def keep(ctx: Any, lease: Lease) -> None:
    """Notes at the beginning of a function's forward pass where the memory is.

    Args:
        ctx: of the function.
        lease: of the memory.
    """
    ctx.set_materialize_grads(False)
    ctx.lease, ctx.generation, ctx.position = lease, lease.tape.generation, lease.tape.position


def rewound(ctx: Any) -> Tape:
    """The memory as it was when the function began, for its backward pass.

    Args:
        ctx: of the function.

    Raises:
        RuntimeError: when the memory cannot be brought there.
    """
    if torch.is_grad_enabled():
        raise RuntimeError(DOUBLE)
    lease: Lease | None = ctx.lease
    if lease is None:
        raise RuntimeError(TWICE)
    ctx.lease = None
    lease.tape.rewind(ctx.generation, ctx.position)
    return lease.tape


def put(
    tape: Tape,
    places: Int64[Tensor, " numbers"],
    erased: Int64[Tensor, " some"],
    words: Float[Tensor, "numbers width"],
    logged: bool,
) -> None:
    """Erases rows, then adds to rows; all in a memory that nothing else is to see.

    Args:
        tape: the memory.
        places: rows that are added to, in the matrix of all rows.
        erased: rows that are set to 0 before.
        words: what is added to each row; a row that is named several times is added to as often.
        logged: whether a backward pass is to come.
    """
    changed = torch.cat((places, erased))
    tape.change(changed, logged)
    tape.memory.index_fill_(0, erased, 0)
    tape.memory.index_put_((places,), words, accumulate=True)
    tape.changed(changed)


class WriteRows(Function):
    """Erases some rows and adds to some, with weights: M <- (1 - R) M + w a^T."""

    @staticmethod
    def forward(
        ctx: Any,
        token: Token,
        weights: Weights,
        words: Words,
        lease: Lease,
        first: int,
        rows: Rows,
        erased: Erased,
    ) -> Token:
        """Changes the memory in place.

        Args:
            ctx: of the function.
            token: of the last access.
            weights: of each row of each head.
            words: what each head adds.
            lease: of the memory.
            first: the first sequence.
            rows: which each head adds to.
            erased: which are set to 0 before.
        """
        keep(ctx, lease)
        tape = lease.tape
        places, gone = tape.flat(rows, first), tape.flat(erased, first)
        put(tape, places, gone, outer(weights, words), logged=True)
        ctx.save_for_backward(weights, words, places, gone)
        return torch.zeros_like(token)

    @staticmethod
    def backward(ctx: Any, _: Any) -> Any:
        """The derivatives by weights and words, and the memory as it was."""
        tape = rewound(ctx)
        weights, words, places, gone = ctx.saved_tensors
        of_rows = tape.gradient.index_select(0, places).view(*weights.shape, tape.width)
        tape.gradient.index_fill_(0, gone, 0)
        of_weights = torch.matmul(of_rows, words.unsqueeze(3)).squeeze(3)
        of_words = torch.matmul(weights.unsqueeze(2), of_rows).squeeze(2)
        return None, of_weights, of_words, None, None, None, None


class ReadRows(Function):
    """Takes some rows out of the memory."""

    @staticmethod
    def forward(
        ctx: Any, token: Token, lease: Lease, first: int, rows: Rows
    ) -> tuple[Float[Tensor, "batch heads some width"], Token]:
        """The rows.

        Args:
            ctx: of the function.
            token: of the last access.
            lease: of the memory.
            first: the first sequence.
            rows: which each head reads.
        """
        keep(ctx, lease)
        tape = lease.tape
        tape.clock += 1
        places = tape.flat(rows, first)
        ctx.save_for_backward(places)
        return tape.memory.index_select(0, places).view(*rows.shape, tape.width), torch.zeros_like(token)

    @staticmethod
    def backward(ctx: Any, of_words: Any, _: Any) -> Any:
        """Adds to the derivatives by the rows."""
        tape = rewound(ctx)
        if of_words is not None:
            tape.add_gradient(ctx.saved_tensors[0], of_words.reshape(-1, tape.width))
        return None, None, None, None


def outer(weights: Weights, words: Words) -> Float[Tensor, "numbers width"]:
    """Every weight times the words of its head, one row for each weight.

    Args:
        weights: of each head.
        words: of each head.
    """
    return (weights.unsqueeze(3) * words.unsqueeze(2)).view(-1, words.shape[-1])
