"""Writing where was read before or to the oldest row, with its derivatives."""

from typing import NamedTuple

import torch
from jaxtyping import Float, Int64
from torch import Tensor

from graves_memory.layers.sparse.access import outer
from graves_memory.layers.sparse.state import eldest
from graves_memory.layers.sparse.tape import Tape

Heads = Float[Tensor, "batch heads width"]
Gate = Float[Tensor, "batch heads 1"]
Kept = Float[Tensor, "batch heads reads"]
Rows = Int64[Tensor, "batch heads some"]


class Written(NamedTuple):
    """What heads have written, and what the backward pass needs of it.

    Args:
        rows: those that each head read before, and last the oldest one.
        weights: w_W, of these.
        again: alpha gamma.
        places: of the rows, in the matrix of all rows.
        erased: of the oldest ones.
    """

    rows: Rows
    weights: Float[Tensor, "batch heads written"]
    again: Gate
    places: Int64[Tensor, " numbers"]
    erased: Int64[Tensor, " heads"]


def write_gated(
    tape: Tape, first: int, rows: Rows, reads: Kept, words: Heads, gates: tuple[Gate, Gate], logged: bool
) -> Written:
    """Adds words with the weights alpha (gamma w_R + (1 - gamma) 1_U), after the oldest rows were erased.

    Args:
        tape: the memory.
        first: the first sequence.
        rows: which each head read before.
        reads: w_R, with which weights.
        words: of each head.
        gates: alpha and gamma.
        logged: whether a backward pass is to come.
    """
    batch, heads, _ = rows.shape
    oldest = eldest(tape, first, batch, heads).unsqueeze(2)
    named = torch.cat((rows, oldest), 2)
    again = gates[0] * gates[1]
    weights = torch.cat((again * reads, gates[0] - again), 2)
    places = tape.flat(named, first)
    erased = places.view(batch * heads, -1).select(1, -1)
    tape.change(places, logged)
    tape.memory.index_fill_(0, erased, 0)
    tape.memory.index_put_((places,), outer(weights, words), accumulate=True)
    tape.changed(places)
    return Written(named, weights, again, places, erased)


def gated_gradients(
    tape: Tape, written: Written, reads: Kept, words: Heads, gates: tuple[Gate, Gate]
) -> tuple[Kept, Heads, Float[Tensor, "batch heads 2"]]:
    """The derivatives by w_R, by the words, and by what alpha and gamma are the sigmoid of.

    Args:
        tape: the memory, whose derivatives by rows become those before the write.
        written: what was written.
        reads: as in `write_gated`.
        words: as in `write_gated`.
        gates: as in `write_gated`.
    """
    batch, heads, width = words.shape
    chains = batch * heads
    of_rows = tape.gradient.index_select(0, written.places).view(chains, -1, width)
    tape.gradient.index_fill_(0, written.erased, 0)
    of_words = torch.bmm(written.weights.view(chains, 1, -1), of_rows).view(batch, heads, width)
    of_weights = torch.bmm(of_rows, words.reshape(chains, width, 1)).view(batch, heads, -1)
    of_reads, of_fresh = of_weights.split_with_sizes((reads.shape[2], 1), 2)
    of_again = (of_reads * reads).sum(2, keepdim=True).sub_(of_fresh)
    both = torch.cat(gates, 2)
    of_gates = torch.cat((torch.addcmul(of_fresh, of_again, gates[1]), of_again * gates[0]), 2)
    return of_reads * written.again, of_words, of_gates.mul_(both).mul_(1 - both)
